"""One case of a folder, with everything that its prediction needs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from swin_umamba.data.dicom import ChosenSeries
from swin_umamba.errors import SwinUMambaError
from swin_umamba.inference.case_result import CaseResult
from swin_umamba.inference.cases import Case
from swin_umamba.inference.options import FolderOptions, ObjectOptions
from swin_umamba.inference.parts import Part
from swin_umamba.inference.records import PredictionRecords
from swin_umamba.inference.stages import Wanted

if TYPE_CHECKING:
    from swin_umamba.inference.predictor import Predictor


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
    part
        If only its blocks of a large image are to be predicted.
    """

    predictor: Predictor
    case: Case
    path: Path
    options: FolderOptions
    records: PredictionRecords | None = None
    part: Part | None = None

    @property
    def series(self) -> ChosenSeries | None:
        """The series to take from folders of DICOM files."""
        return self.options.series if self.case.series is None else self.case.series

    @property
    def claimed(self) -> Path:
        """What no other process may make meanwhile."""
        if self.part is None or not self.case.in_blocks:
            return self.path
        return self.path.with_name(f"{self.path.name}.{self.part.number}-of-{self.part.count}")

    @property
    def wanted(self) -> Wanted:
        """What the prediction of an image that is not in blocks holds."""
        options = self.options
        objects = ObjectOptions.of(options) if options.with_objects else None
        probabilities = options.probabilities or options.seg_type == "fractional"
        return Wanted(probabilities, options.confidence, objects)

    def failed(self, error: SwinUMambaError) -> CaseResult:
        """Record that the case could not be predicted, and return that."""
        result = CaseResult(self.case.shown, self.case.files, self.path, "failed", error=error)
        if self.records is not None:
            self.records.add(result, self.predictor)
        return result
