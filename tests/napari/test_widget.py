"""The widget in napari: ``QT_QPA_PLATFORM=offscreen python -m pytest -m napari tests/napari``.

Needs napari, a Qt backend and pytest-qt. The window of the viewer needs a display with OpenGL, too: xvfb-run.
"""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("napari.qt")
pytest.importorskip("pytestqt")

from napari.components import ViewerModel
from napari.layers import Image, Labels
from napari.utils.notifications import notification_manager
from qtpy.compat import isalive
from qtpy.QtGui import QGuiApplication

from smooth_pictures import picture
from swin_umamba.inference.predictor import Predictor
from swin_umamba.napari.widget import SegmentWidget
from swin_umamba.report.palette import class_colour, uncertainty_colours

pytestmark = pytest.mark.napari

MakeModel = Callable[..., Path]
PATIENCE = 20_000  # milliseconds


@dataclass
class HeldPrediction:
    """A prediction that waits at each batch of tiles."""

    at_a_tile: threading.Event = field(default_factory=threading.Event)
    go_on: threading.Event = field(default_factory=threading.Event)
    parts: list[float] = field(default_factory=list)


@pytest.fixture
def notes() -> Iterator[list[tuple[str, str]]]:
    """Severity and text of all notifications of the test."""
    received: list[tuple[str, str]] = []

    def receive(event: Any) -> None:
        received.append((str(event.severity), event.message))

    notification_manager.notification_ready.connect(receive)
    yield received
    notification_manager.notification_ready.disconnect(receive)


@pytest.fixture
def viewer() -> ViewerModel:
    return ViewerModel()


@pytest.fixture
def widget(qtbot: Any, viewer: ViewerModel, monkeypatch: pytest.MonkeyPatch) -> SegmentWidget:
    monkeypatch.delenv("nnUNet_results", raising=False)
    made = SegmentWidget(viewer)
    qtbot.addWidget(made)
    made.form.device.setCurrentText("cpu")
    made.form.mirroring.setChecked(False)
    return made


def wait(qtbot: Any, widget: SegmentWidget) -> None:
    qtbot.waitUntil(lambda: widget.run_button.isEnabled(), timeout=PATIENCE)


def choose(qtbot: Any, widget: SegmentWidget, model: Path) -> Predictor:
    """Choose a model in the widget, wait until it is loaded, and return a predictor to compare with."""
    widget.form.model.choose(model)
    assert not widget.run_button.isEnabled()
    wait(qtbot, widget)
    return Predictor.from_folder(model, device="cpu", mirroring=False)


def run(qtbot: Any, widget: SegmentWidget) -> None:
    widget.run_button.click()
    wait(qtbot, widget)


def test_labels_land_on_the_image(
    qtbot: Any, viewer: ViewerModel, widget: SegmentWidget, make_model: MakeModel
) -> None:
    data = picture(3, 40, 50)
    image = viewer.add_image(
        data,
        name="scan",
        scale=(4, 0.5, 2),
        translate=(1, 2, 3),
        rotate=(10, 20, 30),
        shear=(0.1, 0, 0.2),
        units=("mm", "mm", "mm"),
        affine=np.diag([1, -1, 1, 1]),
    )
    predictor = choose(qtbot, widget, make_model(file_ending=".nii.gz"))
    assert "small" in widget.legend.text()
    run(qtbot, widget)
    labels = viewer.layers[-1]
    assert isinstance(labels, Labels)
    assert labels.name == "scan: Tiny"
    spacing = [
        np.linalg.norm(np.subtract(image.data_to_world(step), image.data_to_world((0, 0, 0))))
        for step in np.eye(3)
    ]
    np.testing.assert_array_equal(labels.data, predictor.predict(data[None], spacing=spacing).labels)
    for corner in ((0, 0, 0), (2, 39, 49), (1, 39, 0), (2, 0, 49)):
        np.testing.assert_allclose(labels.data_to_world(corner), image.data_to_world(corner), atol=1e-9)
    np.testing.assert_allclose(labels.scale, image.scale)
    np.testing.assert_allclose(labels.translate, image.translate)
    assert labels.units == image.units
    for value in (1, 2):
        np.testing.assert_allclose(
            labels.get_color(value)[:3], np.divide(class_colour(value), 255), atol=1e-6
        )
    assert labels.get_color(0) is None  # transparent


def test_colours_with_alpha_and_the_drop_down_of_trained_models(
    qtbot: Any, viewer: ViewerModel, make_model: MakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make_model(channels=("R", "G", "B"))
    monkeypatch.setenv("nnUNet_results", str(model.parents[1]))
    widget = SegmentWidget(viewer)
    qtbot.addWidget(widget)
    assert widget.form.model.count() == 2
    data = picture(40, 50, 4)
    viewer.add_image(data, name="slide", rgb=True)
    widget.form.mirroring.setChecked(False)
    widget.form.model.setCurrentIndex(1)
    wait(qtbot, widget)
    run(qtbot, widget)
    expected = Predictor.from_folder(model, mirroring=False).predict(np.moveaxis(data, -1, 0)[:3]).labels
    assert not widget.form.channel_axis.isVisibleTo(widget)
    labels = viewer.layers["slide: Tiny"]
    np.testing.assert_array_equal(labels.data, expected)
    under_the_mouse = labels.get_status(np.argwhere(expected == 2)[0])
    assert under_the_mouse["value"] == "2; class: large"


def test_one_layer_for_each_channel(
    qtbot: Any, viewer: ViewerModel, widget: SegmentWidget, make_model: MakeModel
) -> None:
    data = picture(2, 40, 50)
    viewer.add_image(data[1], name="weighted T2")
    viewer.add_image(data[0], name="weighted T1")
    predictor = choose(qtbot, widget, make_model(channels=("T1", "T2")))
    assert widget.form.arrangement.currentText() == "T1, T2 in one layer"
    widget.form.arrangement.setCurrentIndex(1)
    assert [box.currentText() for box in widget.form.layer_boxes] == ["weighted T1", "weighted T2"]
    run(qtbot, widget)
    np.testing.assert_array_equal(viewer.layers["weighted T1: Tiny"].data, predictor.predict(data).labels)


def test_channels_on_an_axis_and_levels_of_a_lazy_image(
    qtbot: Any, viewer: ViewerModel, widget: SegmentWidget, make_model: MakeModel
) -> None:
    dask_array = pytest.importorskip("dask.array")
    data = picture(2, 40, 50)
    fine = dask_array.from_array(data, chunks=(1, 20, 50))
    viewer.add_image([fine, fine[:, ::2, ::2]], multiscale=True, name="lazy", scale=(1, 3, 3))
    predictor = choose(qtbot, widget, make_model(channels=("T1", "T2")))
    assert widget.form.channel_axis.isVisibleTo(widget)
    run(qtbot, widget)
    labels = viewer.layers["lazy: Tiny"]
    np.testing.assert_array_equal(labels.data, predictor.predict(data).labels)
    np.testing.assert_array_equal(labels.scale, (3, 3))


def test_the_model_stays_loaded_while_the_choice_does(
    qtbot: Any,
    viewer: ViewerModel,
    widget: SegmentWidget,
    make_model: MakeModel,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loads: list[Path] = []
    from_folder = Predictor.from_folder

    def counted(path: Path, **options: Any) -> Predictor:
        loads.append(path)
        return from_folder(path, **options)

    viewer.add_image(picture(40, 50))
    monkeypatch.setattr(Predictor, "from_folder", counted)
    widget.form.model.choose(make_model())
    wait(qtbot, widget)
    run(qtbot, widget)
    run(qtbot, widget)
    assert len(loads) == 1
    assert len([layer for layer in viewer.layers if isinstance(layer, Labels)]) == 2
    widget.form.mirroring.setChecked(True)
    run(qtbot, widget)
    assert len(loads) == 2


@pytest.fixture
def held_prediction(monkeypatch: pytest.MonkeyPatch) -> HeldPrediction:
    held, predict = HeldPrediction(), Predictor.predict

    def slow(self: Predictor, image: np.ndarray, *, on_progress: Callable, **options: Any) -> Any:
        def report(part: float) -> None:
            held.at_a_tile.set()
            assert held.go_on.wait(PATIENCE / 1000)
            held.parts.append(part)
            on_progress(part)

        return predict(self, image, on_progress=report, **options)

    monkeypatch.setattr(Predictor, "predict", slow)
    return held


def test_a_prediction_can_be_cancelled(
    qtbot: Any,
    viewer: ViewerModel,
    widget: SegmentWidget,
    make_model: MakeModel,
    notes: list[tuple[str, str]],
    held_prediction: HeldPrediction,
) -> None:
    viewer.add_image(picture(3, 100, 100), name="long")
    choose(qtbot, widget, make_model())
    widget.run_button.click()
    qtbot.waitUntil(held_prediction.at_a_tile.is_set, timeout=PATIENCE)
    assert not widget.run_button.isEnabled()
    viewer.add_image(picture(4, 4), name="meanwhile")
    widget.cancel_button.click()
    held_prediction.go_on.set()
    wait(qtbot, widget)
    assert len(held_prediction.parts) == 1
    assert [layer.name for layer in viewer.layers] == ["long", "meanwhile"]
    assert widget.message.text() == "Cancelled."
    assert ("info", "Swin-UMamba: cancelled") in notes
    widget.form.layer_boxes[0].setCurrentText("long")
    run(qtbot, widget)
    assert viewer.layers[-1].name == "long: Tiny"


def test_closing_the_widget_ends_its_prediction(
    qtbot: Any,
    viewer: ViewerModel,
    monkeypatch: pytest.MonkeyPatch,
    make_model: MakeModel,
    notes: list[tuple[str, str]],
    held_prediction: HeldPrediction,
) -> None:
    monkeypatch.delenv("nnUNet_results", raising=False)
    viewer.add_image(picture(3, 100, 100), name="long")
    widget = SegmentWidget(viewer)
    choose(qtbot, widget, make_model())
    widget.run_button.click()
    qtbot.waitUntil(held_prediction.at_a_tile.is_set, timeout=PATIENCE)
    finished: list[bool] = []
    widget._worker.finished.connect(lambda: finished.append(True))
    widget.deleteLater()
    qtbot.waitUntil(lambda: not isalive(widget), timeout=PATIENCE)
    held_prediction.go_on.set()
    qtbot.waitUntil(lambda: bool(finished), timeout=PATIENCE)
    assert len(held_prediction.parts) == 1
    assert [layer.name for layer in viewer.layers] == ["long"]
    assert notes == []
    viewer.add_image(picture(8, 8))  # nothing of the closed widget is asked any more
    assert notes == []


def test_uncertainty_is_a_layer_over_the_labels(
    qtbot: Any, viewer: ViewerModel, widget: SegmentWidget, make_model: MakeModel
) -> None:
    data = picture(40, 50)
    viewer.add_image(data, name="cells", translate=(5, 6))
    model = make_model()
    choose(qtbot, widget, model)
    widget.form.confidence.setChecked(True)
    run(qtbot, widget)
    assert "needs mirrored images or several folds" in widget.message.text()
    widget.form.mirroring.setChecked(True)
    run(qtbot, widget)
    expected = Predictor.from_folder(model, device="cpu").predict(data, confidence=True).confidence
    assert expected is not None
    uncertainty = viewer.layers[-1]
    assert isinstance(uncertainty, Image)
    assert uncertainty.name.startswith("cells: Tiny, uncertainty")
    np.testing.assert_array_equal(uncertainty.data, expected.entropy)
    np.testing.assert_array_equal(uncertainty.translate, (5, 6))
    values = np.array([0, 0.25, 0.5, 1])
    colours = uncertainty.colormap.map(values)
    np.testing.assert_allclose(colours, uncertainty_colours(values) / 255, atol=2e-3)
    assert f"Estimated Dice: {expected.quality:.2f} (agreement of 4 predictions)" in widget.message.text()
    assert f"Dice {expected.class_quality['small']:.2f}" in widget.legend.text()
    assert isinstance(viewer.layers.selection.active, Labels)
    offered = widget.form.layer_boxes[0]
    assert [offered.itemText(number) for number in range(offered.count())] == ["cells"]


def test_objects_are_a_layer_over_the_classes(
    qtbot: Any, viewer: ViewerModel, widget: SegmentWidget, make_model: MakeModel
) -> None:
    data = np.kron(picture(6, 8), np.ones((8, 8), np.uint8))
    viewer.add_image(data, name="cells", scale=(0.5, 0.5), units=("micrometer", "micrometer"))
    box = widget.form.objects
    assert not box.isVisibleTo(widget)
    labels = {"background": 0, "interior": 1, "boundary": 2}
    predictor = choose(qtbot, widget, make_model(labels=labels))
    assert box.isVisibleTo(widget)
    assert box.isChecked()
    run(qtbot, widget)
    expected = predictor.predict(data, spacing=(5e-4, 5e-4), instances=True)
    assert expected.instances is not None
    classes, objects = viewer.layers["cells: Tiny"], viewer.layers["cells: Tiny, objects"]
    assert (classes.visible, objects.visible) == (False, True)
    assert viewer.layers.selection.active is objects
    np.testing.assert_array_equal(objects.data, expected.instances)
    count = int(expected.instances.max())
    assert len(objects.features) == count > 1
    assert objects.features["area_um2"].tolist() == pytest.approx(expected.objects.size_um.tolist())
    under_the_mouse = objects.get_status(np.argwhere(expected.instances == 2)[0])["value"]
    assert under_the_mouse.startswith("2; object: 2, class: object, area_px: ")
    assert f"{count} objects" in widget.message.text()
    offered = widget.form.layer_boxes[0]
    assert [offered.itemText(number) for number in range(offered.count())] == ["cells"]


def test_errors_are_notifications_that_say_what_to_do(
    qtbot: Any,
    viewer: ViewerModel,
    widget: SegmentWidget,
    make_model: MakeModel,
    notes: list[tuple[str, str]],
    tmp_path: Path,
) -> None:
    widget.run_button.click()
    assert notes.pop() == (
        "error",
        "no model is chosen\n  what to do: choose one in the list, or with Folder or File",
    )
    widget.form.model.choose(tmp_path / "nothing.pth")
    wait(qtbot, widget)
    severity, text = notes.pop()
    assert severity == "error"
    assert "the model does not exist" in text
    assert "what to do: check the path" in text
    widget.form.folds.setText("first")
    widget.form.model.choose(make_model())
    assert "'first' is not a fold" in notes.pop()[1]
    widget.form.folds.clear()
    run(qtbot, widget)
    assert widget.form.channels == ["grey"]
    widget.run_button.click()
    assert "there is no image layer" in notes.pop()[1]
    viewer.add_image(np.full((40, 50), np.nan, np.float32), name="holes", contrast_limits=(0, 1))
    widget.form.folds.setText("first")
    widget.run_button.click()
    assert "'first' is not a fold" in notes.pop()[1]
    widget.form.folds.clear()
    run(qtbot, widget)
    assert "NaN or infinity" in notes.pop()[1]
    assert "NaN or infinity" in widget.message.text()
    assert notes == []
    assert [layer.name for layer in viewer.layers] == ["holes"]


def test_the_drop_downs_follow_the_layers(viewer: ViewerModel, widget: SegmentWidget) -> None:
    box = widget.form.layer_boxes[0]
    assert box.count() == 0
    first = viewer.add_image(picture(8, 8), name="first")
    viewer.add_labels(np.zeros((8, 8), int), name="not an image")
    viewer.add_image(picture(8, 8), name="second")
    names = [box.itemText(number) for number in range(box.count())]
    assert names == ["first", "second"]
    box.setCurrentText("first")
    first.name = "renamed"
    assert box.currentText() == "renamed"
    viewer.layers.remove(first)
    assert box.currentText() == "second"


def test_names_from_a_model_are_no_html(qtbot: Any, widget: SegmentWidget, make_model: MakeModel) -> None:
    choose(qtbot, widget, make_model(labels={"background": 0, "<img src=x>": 1, "b": 2}))
    assert "&lt;img src=x&gt;" in widget.legend.text()


@pytest.fixture
def display(qapp: Any) -> None:
    if QGuiApplication.platformName() == "offscreen":
        pytest.skip("the window needs OpenGL, which the platform offscreen has not")


def test_the_viewer_finds_and_docks_the_widget(
    qtbot: Any, display: None, make_napari_viewer: Callable[[], Any], make_model: MakeModel
) -> None:
    viewer = make_napari_viewer()
    _, widget = viewer.window.add_plugin_dock_widget("swin-umamba", "Segment")
    assert isinstance(widget, SegmentWidget)
    data = picture(40, 50)
    viewer.add_image(data, name="cells")
    widget.form.device.setCurrentText("cpu")
    widget.form.mirroring.setChecked(False)
    predictor = choose(qtbot, widget, make_model())
    run(qtbot, widget)
    np.testing.assert_array_equal(viewer.layers["cells: Tiny"].data, predictor.predict(data).labels)
    assert isinstance(viewer.layers["cells"], Image)
    viewer.window.remove_dock_widget(widget)
    viewer.add_image(data)  # nothing of the closed widget is asked any more


LOAD_AFTER_THE_WINDOW = """
import os, sys
from pathlib import Path
import napari, numpy
viewer = napari.Viewer()
viewer.add_image(numpy.zeros((8, 8)))
assert "torch" not in sys.modules
from swin_umamba.napari.models import ModelChoice, ModelShelf
print(ModelShelf().load(ModelChoice(Path(sys.argv[1]), device="cpu")).channel_names, flush=True)
os._exit(0)
"""


def test_a_model_is_loaded_beside_the_opengl_driver(display: None, make_model: MakeModel) -> None:
    """In a process that has not imported PyTorch before: Mesa's LLVM and Triton's must not meet."""
    command = [sys.executable, "-c", LOAD_AFTER_THE_WINDOW, str(make_model())]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "['grey']"), done.stderr
