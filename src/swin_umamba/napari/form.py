"""The controls of the widget: the user's choices, but not what is done with them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFileDialog,
    QFormLayout,
    QFrame,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QWidget,
)

from swin_umamba.errors import UsageError, printable
from swin_umamba.napari.models import (
    DEVICES,
    RESULTS_VARIABLE,
    ModelChoice,
    find_models,
    model_name,
    parse_folds,
)

MODEL_FILES = "Models (*.pth *.safetensors)"
AnyBox = TypeVar("AnyBox", bound=QComboBox)

CHANNEL_AXES = {"found by itself": None, "0": 0, "1": 1, "2": 2, "3": 3}


class SegmentForm(QWidget):
    """Choice of a model, its options and the layers of its channels.

    Attributes
    ----------
    model_chosen
        Signal that another model was chosen.
    channels
        Names of the model's channels; empty until it is loaded.
    """

    model_chosen = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.channels: list[str] = []
        self._layers: list[Any] = []
        self.model = _narrowing(ModelBox(), 30)
        self.folds = QLineEdit()
        self.folds.setPlaceholderText("all that were trained")
        self.folds.setToolTip("Folds that are averaged, such as 0 1 2")
        self.device = QComboBox()
        self.device.addItems(DEVICES)
        self.arrangement = _narrowing(QComboBox())
        self.arrangement.addItems(["in one layer", "one layer each"])
        self.channel_axis = QComboBox()
        for title, axis in CHANNEL_AXES.items():
            self.channel_axis.addItem(title, axis)
        self.layer_boxes: list[QComboBox] = []
        self.use_scale = _check_box(
            "Take the pixel size from the layer",
            True,
            "Switched off, pixels are as large as those the model works at",
        )
        self.mirroring = _check_box(
            "Average over mirrored images",
            True,
            "Four times slower in 2D, eight times in 3D, and often a little better",
        )
        self.confidence = _check_box(
            "Show where the model is unsure",
            False,
            "Adds a layer of the uncertainty, and an estimate of the Dice",
        )
        self.objects = _check_box(
            "Find separate objects",
            False,
            "Adds a layer with a number for each object (cells, lesions), and the table of their "
            "sizes, places, shapes and intensities",
        )
        self.objects.setVisible(False)
        self._rows = QFormLayout(self)
        self._lay_out()
        self.model.currentIndexChanged.connect(self.model_chosen)
        self.arrangement.currentIndexChanged.connect(self._show_layer_boxes)
        self.set_channels([])

    def choice(self) -> ModelChoice:
        """Return the model and its options.

        Raises
        ------
        UsageError
            If there is no model yet, or the folds are invalid.
        """
        path = self.model.currentData()
        if path is None:
            raise UsageError("no model is chosen", hint="choose one in the list, or with Folder or File")
        return ModelChoice(
            path, parse_folds(self.folds.text()), self.device.currentText(), self.mirroring.isChecked()
        )

    def chosen_layers(self) -> list[Any]:
        """Return the layers of the channels in the model's order, or the one that holds them all.

        Raises
        ------
        UsageError
            If a layer is missing.
        """
        layers = [box.currentData() for box in self.layer_boxes]
        if None in layers:
            raise UsageError("there is no image layer", hint="open an image in the viewer, and choose it")
        return layers

    def chosen_channel_axis(self) -> int | None:
        """Return the axis of the channels; None to detect it."""
        return None if self._one_each() or len(self.channels) < 2 else self.channel_axis.currentData()

    def set_channels(self, names: Sequence[str]) -> None:
        """Ask for the layers of these channels."""
        self.channels = list(names)
        self._set_row_visible(self.arrangement, len(self.channels) > 1)
        self.arrangement.setItemText(0, printable(f"{', '.join(self.channels)} in one layer"))
        self._show_layer_boxes()

    def offer_objects(self, possible: bool, by_default: bool = False) -> None:
        """Ask whether to find objects, if the model can."""
        self.objects.setVisible(possible)
        self.objects.setChecked(possible and by_default)

    def set_layers(self, layers: Sequence[Any], preferred: Any = None) -> None:
        """Offer these layers; keep the chosen ones, else choose the preferred one."""
        self._layers = list(layers)
        for number, box in enumerate(self.layer_boxes):
            chosen = box.currentData()
            wanted = chosen if chosen in self._layers else self._default_layer(number, preferred)
            box.clear()
            for layer in self._layers:
                box.addItem(printable(layer.name), layer)
            if wanted is not None:
                box.setCurrentIndex(self._layers.index(wanted))

    def _default_layer(self, number: int, preferred: Any) -> Any:
        """Return the layer for a box: with one layer per channel by the channel's name, else by order."""
        if self._one_each():
            name = self.channels[number].lower()
            named = [layer for layer in self._layers if name in layer.name.lower()]
            rest = self._layers[number : number + 1] or self._layers[-1:]
            return (named or rest or [None])[0]
        return preferred if preferred in self._layers else (self._layers or [None])[-1]

    def _one_each(self) -> bool:
        return len(self.channels) > 1 and self.arrangement.currentIndex() == 1

    def _set_row_visible(self, field: QWidget, visible: bool) -> None:
        field.setVisible(visible)  # Qt 5 has no QFormLayout.setRowVisible
        self._rows.labelForField(field).setVisible(visible)

    def _show_layer_boxes(self) -> None:
        for box in self.layer_boxes:
            self._rows.removeRow(box)
        titles = self.channels if self._one_each() else ["Image"]
        self.layer_boxes = [_narrowing(QComboBox()) for _ in titles]
        row, _ = self._rows.getWidgetPosition(self.arrangement)
        for number, (title, box) in enumerate(zip(titles, self.layer_boxes, strict=True)):
            self._rows.insertRow(row + 1 + number, plain_text(title), box)
            box.currentIndexChanged.connect(self._show_channel_axis)
        self.set_layers(self._layers)
        self._show_channel_axis()

    def _show_channel_axis(self) -> None:
        """Ask for the channel axis only if unclear: for one layer without colours, with several channels."""
        layer = self.layer_boxes[0].currentData()
        colours = layer is not None and layer.rgb
        asked = len(self.channels) > 1 and not self._one_each() and not colours
        self._set_row_visible(self.channel_axis, asked)

    def _lay_out(self) -> None:
        rows = self._rows
        rows.setContentsMargins(0, 0, 0, 0)
        rows.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        buttons = side_by_side(_button("Folder…", self._ask_folder), _button("File…", self._ask_file))
        rows.addRow("Model", buttons)
        rows.addRow(self.model)
        rows.addRow("Folds", self.folds)
        rows.addRow("Device", self.device)
        rows.addRow(_line())
        rows.addRow("Channels", self.arrangement)
        rows.addRow("Channel axis", self.channel_axis)
        for box in (self.use_scale, self.mirroring, self.confidence, self.objects):
            rows.addRow(box)

    def _ask_folder(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Model folder: TRAINER__PLANS__CONFIGURATION")
        if folder:
            self.model.choose(Path(folder))

    def _ask_file(self) -> None:
        file, _ = QFileDialog.getOpenFileName(self, "Checkpoint or exported model", filter=MODEL_FILES)
        if file:
            self.model.choose(Path(file))


class ModelBox(QComboBox):
    """The trained models in nnU-Net's results folder, read whenever the list opens, and chosen paths."""

    def __init__(self) -> None:
        super().__init__()
        self._chosen: dict[str, Path] = {}
        self.refresh()

    def refresh(self) -> None:
        """List the models, keeping the current one."""
        current = self.currentData()
        models = {**find_models(), **self._chosen}
        self.blockSignals(True)
        self.clear()
        self.addItem("choose a model" if models else f"none below {RESULTS_VARIABLE}", None)
        for title, path in models.items():
            self.addItem(printable(title), path)
            self.setItemData(self.count() - 1, str(path), Qt.ItemDataRole.ToolTipRole)
        self.setCurrentIndex(max(0, self.findData(current)) if current is not None else 0)
        self.blockSignals(False)

    def choose(self, path: Path) -> None:
        """Add a model from anywhere, and choose it."""
        self._chosen[f"{model_name(path)} ({path.name})"] = path
        self.refresh()
        self.setCurrentIndex(self.findData(path))

    def showPopup(self) -> None:
        """Open the list."""
        self.refresh()
        super().showPopup()


def plain_text(text: str = "") -> QLabel:
    """Return a label that never treats text as HTML: names come from untrusted files."""
    label = QLabel()
    label.setTextFormat(Qt.TextFormat.PlainText)
    label.setText(printable(text))
    label.setWordWrap(True)
    return label


def side_by_side(*widgets: QWidget) -> QWidget:
    """Return the widgets in a row."""
    row = QWidget()
    layout = QHBoxLayout(row)
    layout.setContentsMargins(0, 0, 0, 0)
    for widget in widgets:
        layout.addWidget(widget)
    return row


def _button(title: str, clicked: Callable[[], None]) -> QPushButton:
    button = QPushButton(title)
    button.clicked.connect(clicked)
    return button


def _check_box(title: str, checked: bool, tip: str) -> QCheckBox:
    box = QCheckBox(title)
    box.setChecked(checked)
    box.setToolTip(tip)
    return box


def _narrowing(box: AnyBox, letters: int = 12) -> AnyBox:
    """Let a box be narrower than its longest entry: file names would push the viewer aside."""
    box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    box.setMinimumContentsLength(letters)
    return box


def _line() -> QFrame:
    line = QFrame()
    line.setFrameShape(QFrame.Shape.HLine)
    return line
