"""One case of a folder: kept or predicted, written, recorded."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from swin_umamba.data.image_io import Image, read_case, read_labels, write_image, write_labels
from swin_umamba.errors import OutputError, SwinUMambaError, UsageError, unexpected
from swin_umamba.exchange.source import SourceImages, read_source
from swin_umamba.fingerprint import fingerprint_of
from swin_umamba.inference.blocks.large_image import predict_large
from swin_umamba.inference.blocks.object_files import ObjectsInBlocks
from swin_umamba.inference.case_result import CaseResult, summary_of
from swin_umamba.inference.cases import Case
from swin_umamba.inference.ensemble_files import write_for_ensemble
from swin_umamba.inference.finished import (
    entropy_path,
    hashes_of,
    is_finished,
    made_from,
    preview_path,
    wanted_files,
)
from swin_umamba.inference.objects import instances_path, write_case_objects
from swin_umamba.inference.options import FolderOptions, ObjectOptions
from swin_umamba.inference.parts import Part, not_predicted
from swin_umamba.inference.read_ahead import ReadAhead
from swin_umamba.inference.records import PredictionRecords
from swin_umamba.inference.segmentation_files import write_case_segmentation
from swin_umamba.report.objects import told_apart
from swin_umamba.report.preview import write_preview

if TYPE_CHECKING:
    from swin_umamba.inference.prediction import Prediction
    from swin_umamba.inference.predictor import Predictor

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class CaseWork:
    """A case to predict, with everything this needs.

    Attributes
    ----------
    predictor
        The model.
    case
        The images.
    path
        The label map to write.
    options
        Options of the prediction, among them what else to write.
    records
        Those of the folder; None for a single file.
    reader
        Reads the image of a case that is not predicted in blocks; None reads it when it is needed.
    part
        If only its blocks of a large image are to be predicted.
    """

    predictor: Predictor
    case: Case
    path: Path
    options: FolderOptions
    records: PredictionRecords | None = None
    reader: ReadAhead | None = None
    part: Part | None = None

    @property
    def claimed(self) -> Path:
        """What no other process may make meanwhile."""
        if self.part is None or not self.case.in_blocks:
            return self.path
        return self.path.with_name(f"{self.path.name}.{self.part.number}-of-{self.part.count}")

    def result(self) -> CaseResult:
        """Predict the case unless it is finished, record it, and return the outcome."""
        start = time.perf_counter()
        if self.records is not None and (news := self.records.news_of(self.case.shown)):
            # Another process has just made it.
            if news.get("status") == "failed":
                return self._failed_elsewhere(news)
            return replace(self, options=replace(self.options, overwrite=False))._result(start)
        return self._result(start)

    def failed(self, error: SwinUMambaError) -> CaseResult:
        """Record that the case could not be predicted, and return that."""
        result = CaseResult(self.case.shown, self.case.files, self.path, "failed", error=error)
        if self.records is not None:
            self.records.add(result, self.predictor)
        return result

    def _failed_elsewhere(self, record: Mapping[str, Any]) -> CaseResult:
        parts = record.get("error")
        what, hint = (parts.get(name) if isinstance(parts, dict) else None for name in ("what", "hint"))
        error = SwinUMambaError(str(what), where=self.case.files[0], hint=None if hint is None else str(hint))
        return CaseResult(self.case.shown, self.case.files, self.path, "failed", error=error)

    def _result(self, start: float) -> CaseResult:
        origin = made_from(self.predictor, self.case.files, self.options)
        known = {} if self.records is None else self.records.of_case.get(self.case.shown, {})
        status: Literal["written", "kept", "begun", "failed"] = "failed"
        confidence, failure = None, None
        try:
            status, confidence = self._keep_or_predict(known, origin)
        except OutputError:
            raise
        except SwinUMambaError as error:
            failure = error
        except Exception as error:
            logger.debug("case %s", self.case.shown, exc_info=True)
            failure = unexpected(error, where=self.case.files[0], hint="look at it with --debug")
        if failure is not None:
            _forget_frames(failure)
        seconds = time.perf_counter() - start
        result = CaseResult(self.case.shown, self.case.files, self.path, status, seconds, failure, confidence)
        if self.records is not None and status == "kept":
            return replace(result, confidence=self.records.confidence_of(self.case.shown))
        is_new = status == "written" or not self.options.merge
        if self.records is not None and is_new and status != "begun":
            source, files = known.get("made_from"), known.get("files")  # existing files stay as they were
            if status == "written":
                source, files = origin, hashes_of(wanted_files(self.path, self.options))
            self.records.add(result, self.predictor, source, files)
        return result

    def _keep_or_predict(
        self, known: Mapping[str, Any], origin: Mapping[str, str] | None
    ) -> tuple[Literal["written", "kept", "begun"], Mapping[str, Any] | None]:
        options, files = self.options, self.case.files
        redraw = options.preview and not preview_path(self.path).exists()
        # Segments may overlap, and cannot be drawn from their file.
        keep = not options.overwrite and not (redraw and options.format is not None)
        if keep and is_finished(known, origin, wanted_files(self.path, options)):
            if redraw:
                image = read_case(files, nonfinite=options.nonfinite, series=options.series)
                there = instances_path(self.path) if options.with_objects else self.path
                self._draw(image, read_labels(there).data[0])
            return "kept", None
        if options.merge and not self.case.in_blocks:
            raise not_predicted(files[0])
        if self.records is not None and not options.merge:
            self.records.begin(self.case.shown, origin)
        if self.case.in_blocks:
            return self._predict_blocks(fingerprint_of(origin))
        # Before the work: the headers may not be those of a series that a segmentation can refer to.
        source = None if options.format is None else read_source(files, options.series)
        prediction = self.predictor.predict(
            files if self.reader is None else self.reader.image_of(files),
            probabilities=options.probabilities or options.seg_type == "fractional",
            confidence=options.confidence,
            nonfinite=options.nonfinite,
            series=options.series,
            instances=ObjectOptions.of(options) if options.with_objects else False,
        )
        assert prediction.image is not None
        if options.with_objects:
            write_case_objects(prediction, prediction.image, self.path, self.case.shown, options)
        confidence = self._write(prediction, prediction.image, source)
        if options.preview:
            shown = prediction.labels if prediction.instances is None else prediction.instances
            self._draw(prediction.image, shown)
        return "written", confidence

    def _write(
        self, prediction: Prediction, image: Image, source: SourceImages | None
    ) -> Mapping[str, Any] | None:
        """Write all that a prediction holds, the label map last: a case with a label map is complete."""
        path, options = self.path, self.options
        if prediction.confidence is not None:
            write_image(entropy_path(path), image.with_data(prediction.confidence.entropy[None]))
        if options.probabilities and prediction.probabilities is not None:
            write_for_ensemble(prediction.probabilities, prediction.labels, image, path, self.predictor.plans)
        if source is None:
            write_labels(path, prediction.labels, like=image)
        else:
            write_case_segmentation(prediction, source, path, self.predictor, options)
        return None if prediction.confidence is None else summary_of(prediction.confidence)

    def _predict_blocks(self, identity: str) -> tuple[Literal["written", "begun"], None]:
        options = self.options
        asked = {
            "--probabilities": options.probabilities,
            "--confidence": options.confidence,
            "--preview": options.preview,
            "--format": options.format is not None,
        }
        if wanted := [name for name, value in asked.items() if value]:
            raise UsageError(
                f"not for images in blocks: {', '.join(wanted)}",
                where=self.case.files[0],
                hint="leave it out",
            )
        if self.part is not None and options.overwrite and self.path.exists():
            raise UsageError(
                "a part of an image does not replace the result of all",
                where=self.path,
                hint="remove it, or predict the image without --part",
            )
        is_finished = predict_large(
            self.predictor,
            self.case.files[0],
            self.path,
            options,
            identity,
            nonfinite=options.nonfinite,
            series=options.series,
            part=self.part,
            merge=options.merge,
            objects=ObjectsInBlocks(self.predictor, self.path, self.case.shown, options)
            if options.with_objects
            else None,
        )
        return "written" if is_finished else "begun", None

    def _draw(self, image: Image, labels: np.ndarray) -> None:
        shown = told_apart(labels) if self.options.with_objects else labels
        write_preview(preview_path(self.path), image, shown)


def _forget_frames(error: BaseException | None) -> None:
    """Let go of what the functions that an error has passed still hold: images, sums, a GPU's memory.

    Results keep their errors until the folder is done, and an error knows those functions' variables.
    """
    while error is not None:
        error.__traceback__ = None
        error = error.__cause__ or error.__context__
