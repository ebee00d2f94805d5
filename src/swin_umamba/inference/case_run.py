"""The stages of one case of a folder: kept, or read, predicted and written."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from swin_umamba.data.image_io import Image, read_case, read_labels, write_image, write_labels
from swin_umamba.errors import OutputError, SwinUMambaError, UsageError, unexpected
from swin_umamba.exchange.segmentation import check_source
from swin_umamba.exchange.source import SourceImages, read_source
from swin_umamba.fingerprint import fingerprint_of
from swin_umamba.inference.blocks.large_image import predict_large
from swin_umamba.inference.blocks.object_files import ObjectsInBlocks
from swin_umamba.inference.case_result import CaseResult, summary_of
from swin_umamba.inference.case_work import CaseWork
from swin_umamba.inference.ensemble_files import write_for_ensemble
from swin_umamba.inference.finished import (
    entropy_path,
    hashes_of,
    is_finished,
    made_from,
    preview_path,
    remove_replaced,
    to_be_replaced,
    wanted_files,
)
from swin_umamba.inference.inputs import as_volume
from swin_umamba.inference.objects import instances_path, write_case_objects
from swin_umamba.inference.parts import not_predicted
from swin_umamba.inference.records import Outcome, folder_removed
from swin_umamba.inference.segmentation_files import write_case_segmentation
from swin_umamba.inference.stages import Passed, Prepared, conclude, pass_through, prepare
from swin_umamba.memory import is_out_of_memory
from swin_umamba.report.objects import told_apart
from swin_umamba.report.preview import write_preview

if TYPE_CHECKING:
    from swin_umamba.inference.prediction import Prediction

logger = logging.getLogger(__name__)


class CaseRun:
    """One case on its way through the stages of its prediction, which may run in different threads.

    A stage does nothing if the outcome is known already: the case is finished, or has failed.

    Parameters
    ----------
    work
        The case.

    Attributes
    ----------
    failure
        The error of the stage that failed; None if none has.
    """

    def __init__(self, work: CaseWork) -> None:
        self.work = work
        self.failure: SwinUMambaError | None = None
        self._seconds = 0.0
        self._status: Literal["written", "kept", "begun", "failed"] | None = None
        self._confidence: Mapping[str, Any] | None = None
        self._origin: Mapping[str, str] | None = None
        self._known: Mapping[str, Any] = {}
        self._made_elsewhere = False
        self._begun = 0
        self._replaced: Sequence[Path] = ()
        self._source: SourceImages | None = None
        self._prepared: Prepared | None = None
        self._passed: Passed | None = None

    @property
    def is_decided(self) -> bool:
        """Whether the outcome is known."""
        return self._status is not None

    @property
    def lacks_memory(self) -> bool:
        """Whether a stage failed for lack of memory."""
        error: BaseException | None = self.failure
        while error is not None and not is_out_of_memory(error):
            error = error.__cause__
        return error is not None

    def look(self) -> None:
        """Find out whether the case is finished; else record that it is begun."""
        with self._stage():
            records, case = self.work.records, self.work.case
            news = None if records is None else records.news_of(case.shown)
            if news and news.get("status") == "failed":
                self._made_elsewhere = True
                raise _error_of(news, case.files[0])
            # Another process has just made what there is news of.
            overwrite = self.work.options.overwrite and not news
            self._origin = made_from(self.work.predictor, case, self.work.options)
            self._known = {} if records is None else records.of_case.get(case.shown, {})
            self._keep_or_begin(overwrite)

    def prepare(self) -> None:
        """Read and preprocess the image."""
        with self._stage():
            if self.is_decided or self.work.case.in_blocks:
                return
            options, predictor, files = self.work.options, self.work.predictor, self.work.case.files
            # First: the headers may not be those of a series that a segmentation can refer to.
            if options.format is not None:
                self._source = read_source(files, self.work.series)
                check_source(self._source, options.seg_type)
            image = read_case(files, nonfinite=options.nonfinite, series=self.work.series)
            self._prepared = prepare(predictor, as_volume(image, None, predictor.channel_names))

    def predict(self, on_progress: Callable[[float], None] | None = None) -> None:
        """Run the network on the image; ``on_progress`` gets which part of it is done, unless in blocks."""
        with self._stage():
            if self.is_decided:
                return
            if self.work.case.in_blocks:
                self._will_replace()
                self._status = self._predict_blocks(fingerprint_of(self._origin))
                if self._status == "written":
                    remove_replaced(self._replaced)
                return
            assert self._prepared is not None
            self._passed = pass_through(self.work.predictor, self._prepared, self.work.wanted, on_progress)
            self._prepared = None

    def finish(self) -> None:
        """Decide on the labels, and write everything."""
        with self._stage():
            if self.is_decided:
                return
            assert self._passed is not None
            work, options = self.work, self.work.options
            prediction = conclude(work.predictor, self._passed, work.wanted)
            self._passed = None
            assert prediction.image is not None
            self._will_replace()
            if options.with_objects:
                write_case_objects(prediction, prediction.image, work.path, work.case.shown, options)
            self._confidence = self._write(prediction, prediction.image)
            if options.preview:
                shown = prediction.labels if prediction.instances is None else prediction.instances
                self._draw(prediction.image, shown)
            remove_replaced(self._replaced)
            self._status = "written"

    def try_again(self) -> None:
        """Read the image again, and run the network on it."""
        self.failure = self._status = None
        self.prepare()
        self.predict()

    def outcome(self) -> Outcome:
        """Return the outcome once all stages are done."""
        work, status = self.work, self._status
        assert status is not None
        confidence = self._confidence
        if work.records is not None and status == "kept":
            confidence = work.records.confidence_of(work.case.shown)
        result = CaseResult(
            work.case.shown, work.case.files, work.path, status, self._seconds, self.failure, confidence
        )
        is_news = status == "written" or (status == "failed" and not work.options.merge)
        source, files = self._known.get("made_from"), self._known.get("files")
        if status == "written":
            try:
                source, files = self._origin, hashes_of(wanted_files(work.path, work.options))
            except FileNotFoundError as error:
                raise folder_removed(work.path.parent) from error
        # Otherwise existing files stay as they were.
        return Outcome(result, source, files, is_news=is_news and not self._made_elsewhere)

    @contextmanager
    def _stage(self) -> Iterator[None]:
        """Measure the time of a stage, and keep its error; but raise that of an unwritable result."""
        start = time.perf_counter()
        failure = None
        try:
            yield
        except OutputError:
            raise
        except SwinUMambaError as error:
            failure = error
        except Exception as error:
            logger.debug("case %s", self.work.case.shown, exc_info=True)
            failure = unexpected(error, where=self.work.case.files[0], hint="look at it with --debug")
        finally:
            self._seconds += time.perf_counter() - start
        if failure is not None:
            _forget_frames(failure)
            self.failure, self._status = failure, "failed"
            self._prepared = self._passed = None

    def _write(self, prediction: Prediction, image: Image) -> Mapping[str, Any] | None:
        """Write all that a prediction holds, the label map last: a case with a label map is complete."""
        path, options, predictor = self.work.path, self.work.options, self.work.predictor
        if prediction.confidence is not None:
            write_image(entropy_path(path), image.with_data(prediction.confidence.entropy[None]))
        if options.probabilities and prediction.probabilities is not None:
            write_for_ensemble(prediction.probabilities, prediction.labels, image, path, predictor.plans)
        if self._source is None:
            write_labels(path, prediction.labels, like=image)
        else:
            write_case_segmentation(prediction, self._source, path, predictor, options)
        return None if prediction.confidence is None else summary_of(prediction.confidence)

    def _will_replace(self) -> None:
        """See to it that not even a power cut lets new files pass for those of the last record."""
        if self.work.records is not None:
            self.work.records.sync(self._begun)

    def _keep_or_begin(self, overwrite: bool) -> None:
        work, options, files = self.work, self.work.options, self.work.case.files
        if work.records is not None:  # beside a single file there may be anything
            self._replaced = to_be_replaced(
                work.path, work.case.shown, self._known, options, overwrite=overwrite
            )
        redraw = options.preview and not preview_path(work.path).exists()
        # Segments may overlap, and cannot be drawn from their file.
        keep = not overwrite and not (redraw and options.format is not None)
        if keep and is_finished(self._known, self._origin, wanted_files(work.path, options)):
            if redraw:
                image = read_case(files, nonfinite=options.nonfinite, series=work.series)
                there = instances_path(work.path) if options.with_objects else work.path
                self._draw(image, read_labels(there).data[0])
            self._status = "kept"
            return
        if options.merge and not work.case.in_blocks:
            raise not_predicted(files[0])
        if work.records is not None and not options.merge:
            self._begun = work.records.begin(work.case.shown, self._origin)

    def _predict_blocks(self, identity: str) -> Literal["written", "begun"]:
        work, options = self.work, self.work.options
        asked = {
            "--probabilities": options.probabilities,
            "--confidence": options.confidence,
            "--preview": options.preview,
            "--format": options.format is not None,
        }
        if wanted := [name for name, value in asked.items() if value]:
            raise UsageError(
                f"not for images in blocks: {', '.join(wanted)}",
                where=work.case.files[0],
                hint="leave it out",
            )
        if work.part is not None and options.overwrite and work.path.exists():
            raise UsageError(
                "a part of an image does not replace the result of all",
                where=work.path,
                hint="remove it, or predict the image without --part",
            )
        is_finished = predict_large(
            work.predictor,
            work.case.files[0],
            work.path,
            options,
            identity,
            work.part,
            ObjectsInBlocks(work.predictor, work.path, work.case.shown, options)
            if options.with_objects
            else None,
        )
        return "written" if is_finished else "begun"

    def _draw(self, image: Image, labels: np.ndarray) -> None:
        shown = told_apart(labels) if self.work.options.with_objects else labels
        write_preview(preview_path(self.work.path), image, shown)


def recorded_result(work: CaseWork) -> CaseResult | None:
    """Return the outcome of a case that the records tell of; None if they do not."""
    assert work.records is not None
    record, case = work.records.of_case.get(work.case.shown, {}), work.case
    if record.get("status") == "failed":
        error = _error_of(record, case.files[0])
        return CaseResult(case.shown, case.files, work.path, "failed", error=error)
    if record.get("status") != "written" or not work.path.exists():
        return None
    confidence = work.records.confidence_of(case.shown)
    return CaseResult(case.shown, case.files, work.path, "kept", confidence=confidence)


def _error_of(record: Mapping[str, Any], where: Path) -> SwinUMambaError:
    """Return the error that another process has recorded."""
    parts = record.get("error")
    what, hint = (parts.get(name) if isinstance(parts, dict) else None for name in ("what", "hint"))
    return SwinUMambaError(str(what), where=where, hint=None if hint is None else str(hint))


def _forget_frames(error: BaseException | None) -> None:
    """Let go of what the functions that an error has passed still hold: images, sums, a GPU's memory.

    Results keep their errors until the folder is done, and an error knows those functions' variables.
    """
    while error is not None:
        error.__traceback__ = None
        error = error.__cause__ or error.__context__


def result_of(work: CaseWork) -> CaseResult:
    """Predict a case unless it is finished, record it, and return the outcome."""
    run = CaseRun(work)
    for stage in (run.look, run.prepare, run.predict, run.finish):
        stage()
    outcome = run.outcome()
    if work.records is not None and outcome.is_news:
        work.records.add_all([outcome], work.predictor)
    return outcome.result
