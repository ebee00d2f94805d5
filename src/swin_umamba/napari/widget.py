"""The widget: segments image layers of the viewer in a thread and shows the result."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from typing import Any

from napari.layers import Image
from napari.qt.threading import create_worker
from napari.utils import progress
from napari.utils.notifications import show_error, show_info
from qtpy.compat import isalive
from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QLabel, QProgressBar, QPushButton, QVBoxLayout, QWidget

from swin_umamba.errors import SwinUMambaError, printable
from swin_umamba.napari.form import SegmentForm, plain_text, side_by_side
from swin_umamba.napari.models import ModelShelf, model_name
from swin_umamba.napari.segment import (
    RESULT_KEY,
    ModelDescription,
    Segmentation,
    describe,
    format_spacing,
    segment,
)

OnProgress = Callable[[float], None]
Work = Callable[[OnProgress], Any]

STEPS = 1000  # of the progress bars


class SegmentWidget(QWidget):
    """Segments image layers of a viewer with a trained model.

    Parameters
    ----------
    napari_viewer
        Viewer whose layers are offered and that receives the results.

    Attributes
    ----------
    form
        The controls.
    progressed
        Signal: the fraction of the prediction done, 0 to 1; sent by the predicting thread.
    """

    progressed = Signal(float)

    def __init__(self, napari_viewer: Any) -> None:
        super().__init__()
        self._viewer = napari_viewer
        self._shelf = ModelShelf()
        self._worker: Any = None
        self._bar: Any = None
        self._show: Callable[[Any], None] = self._show_model
        self._started = 0.0
        self.form = SegmentForm()
        self.run_button, self.cancel_button = QPushButton("Segment"), QPushButton("Cancel")
        self.progress_bar = QProgressBar()
        self.message, self.legend = plain_text(), QLabel()
        self._lay_out()
        self._connect()
        self._refresh_layers()

    def run(self) -> None:
        """Segment the chosen layers in a thread, and add the labels as a new layer."""
        form = self.form
        try:
            choice = form.choice()
            if not form.channels:  # an earlier load failed
                self._load_model()
                return
            layers = form.chosen_layers()
        except SwinUMambaError as error:
            self._show_error(error)
            return
        options = {
            "model_name": model_name(choice.path),
            "channel_axis": form.chosen_channel_axis(),
            "use_scale": form.use_scale.isChecked(),
            "confidence": form.confidence.isChecked(),
            "objects": form.objects.isChecked(),
        }

        def work(on_progress: OnProgress) -> Segmentation:
            return segment(self._shelf.load(choice), layers, on_progress=on_progress, **options)

        self._start(work, self._show_segmentation, f"Segmenting {layers[0].name}")

    def cancel(self) -> None:
        """End the prediction after its current tiles."""
        if self._worker is not None:
            self._worker.quit()
            self.message.setText("Cancelling …")

    def _lay_out(self) -> None:
        self.legend.setTextFormat(Qt.TextFormat.RichText)
        column = QVBoxLayout(self)
        for widget in (
            self.form,
            side_by_side(self.run_button, self.cancel_button),
            self.progress_bar,
            self.message,
            self.legend,
        ):
            column.addWidget(widget)
        column.addStretch(1)
        self._set_busy(False)

    def _connect(self) -> None:
        self.form.model_chosen.connect(self._load_model)
        self.run_button.clicked.connect(self.run)
        self.cancel_button.clicked.connect(self.cancel)
        self.progressed.connect(self._show_progress)
        events = self._viewer.layers.events
        for event in (events.inserted, events.removed, events.reordered):
            event.connect(self._refresh_layers)

    def _refresh_layers(self) -> None:
        images = [layer for layer in self._viewer.layers if isinstance(layer, Image)]
        layers = [layer for layer in images if RESULT_KEY not in layer.metadata]
        for layer in layers:
            layer.events.name.connect(self._refresh_layers)  # a second time changes nothing
        self.form.set_layers(layers, self._viewer.layers.selection.active)

    def _load_model(self) -> None:
        self.form.set_channels([])
        self.form.offer_objects(False)
        self.legend.clear()
        if self.form.model.currentData() is None:
            return
        try:
            choice = self.form.choice()
        except SwinUMambaError as error:
            self._show_error(error)
            return
        self._start(lambda _: describe(self._shelf.load(choice)), self._show_model, "Loading the model")

    # One thread at a time.

    def _start(self, work: Work, show: Callable[[Any], None], title: str) -> None:
        """Do the work in a thread and show its result."""

        def guarded() -> _Outcome | None:
            try:
                return _Outcome(result=work(on_progress))
            except SwinUMambaError as error:
                return _Outcome(error=error)
            except _CancelledError:
                return None

        def on_progress(part: float) -> None:
            if worker.abort_requested or not isalive(self):
                raise _CancelledError
            self.progressed.emit(part)

        worker = create_worker(guarded)
        worker.returned.connect(self._finish)
        worker.finished.connect(self._end)
        self._worker, self._show, self._started = worker, show, time.monotonic()
        self._bar = progress(total=STEPS, desc=printable(title))
        worker.finished.connect(self._bar.close)
        self.message.setText(f"{printable(title)} …")
        self._set_busy(True)
        worker.start()

    def _finish(self, outcome: _Outcome) -> None:
        if outcome.error is not None:
            self._show_error(outcome.error)
        else:
            self._show(outcome.result)

    def _end(self) -> None:
        if self._worker.abort_requested:
            self.message.setText("Cancelled.")
            show_info("Swin-UMamba: cancelled")
        self._worker = self._bar = None
        self._set_busy(False)

    def _set_busy(self, busy: bool) -> None:
        self.form.setEnabled(not busy)
        self.run_button.setEnabled(not busy)
        self.cancel_button.setEnabled(busy)
        self.progress_bar.setVisible(busy)
        self.progress_bar.setRange(0, 0)  # busy: progress is known only after the first tiles

    # What the user sees of it.

    def _show_progress(self, part: float) -> None:
        steps = round(STEPS * part)
        self.progress_bar.setRange(0, STEPS)
        self.progress_bar.setValue(steps)
        if self._bar is not None:
            self._bar.update(steps - self._bar.n)

    def _show_error(self, error: SwinUMambaError) -> None:
        self.message.setText(str(error))
        show_error(str(error))

    def _show_model(self, model: ModelDescription) -> None:
        self.form.set_channels(model.channel_names)
        self.form.offer_objects(model.can_find_objects, model.keeps_objects_apart)
        self._refresh_layers()
        self.message.setText(f"{model.title}, ready")
        self.legend.setText(_legend([(colour, name, "") for name, colour in model.classes]))

    def _show_segmentation(self, result: Segmentation) -> None:
        labels = self._viewer.add_labels(result.labels.data, **result.labels.options)
        if result.uncertainty is not None:
            self._viewer.add_image(result.uncertainty.data, **result.uncertainty.options)
        if result.objects is not None:
            labels = self._viewer.add_labels(result.objects.data, **result.objects.options)
        self._viewer.layers.selection.active = labels
        size = "the model's own" if result.spacing is None else format_spacing(result.spacing)
        lines = [f"Done in {time.monotonic() - self._started:.1f} s. Pixel size: {size}."]
        if result.objects is not None:
            lines.append(f"{result.num_objects:,} objects; the features of their layer are their table.")
        if result.uncertainty is not None:
            lines.append(f"Estimated Dice: {_estimate(result)}")
        self.message.setText("\n".join(lines))
        rows = []
        for found in result.classes.values():
            share = f"{found.pixels / result.size:.1%}"
            estimated = "" if found.quality is None else f", Dice {found.quality:.2f}"
            rows.append((found.colour, found.name, share + estimated))
        self.legend.setText(_legend(rows))


class _CancelledError(Exception):
    """Ends a prediction from within."""


@dataclass(frozen=True)
class _Outcome:
    """Outcome of a thread; an exception leaving the thread would show the user a traceback."""

    result: Any = None
    error: SwinUMambaError | None = None


def _estimate(result: Segmentation) -> str:
    if result.quality is not None:
        return f"{result.quality:.2f} (agreement of {result.num_members} predictions)"
    return "no class was found" if result.num_members > 1 else "needs mirrored images or several folds"


def _legend(rows: list[tuple[tuple[int, int, int], str, str]]) -> str:
    """Return a table of colours, names and other details of the classes, in Qt's HTML."""
    lines = [
        f'<tr><td bgcolor="#{red:02x}{green:02x}{blue:02x}">&nbsp;&nbsp;&nbsp;&nbsp;</td>'
        f"<td>&nbsp;{escape(printable(name))}</td><td>&nbsp;&nbsp;{escape(more)}</td></tr>"
        for (red, green, blue), name, more in rows
    ]
    return f"<table cellspacing='2'>{''.join(lines)}</table>"
