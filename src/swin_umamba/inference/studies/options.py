"""Options of predicting a tree of DICOM studies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from swin_umamba.errors import UsageError
from swin_umamba.options import Options, option


@dataclass(frozen=True)
class StudyOptions(Options):
    """Which series of a tree of DICOM studies are predicted."""

    studies: bool = option(
        False,
        "the input is a folder of DICOM studies, as from a disc or an archive: one result for each series, "
        "and studies.csv and studies.json with what became of each; implied by the options of this group",
    )
    series_modality: Sequence[str] | None = option(
        None, "only series of these modalities, such as CT or MR", metavar="MODALITY"
    )
    series_description: Sequence[str] | None = option(
        None,
        "only series with a description like one of these, with * for any letters, such as '*T2*'; upper and "
        "lower case are alike",
        metavar="PATTERN",
    )
    min_slices: int | None = option(None, "only series of at least N images", metavar="N")
    max_slices: int | None = option(None, "only series of at most N images", metavar="N")
    plane: Sequence[str] | None = option(
        None,
        "only series whose images lie in one of these planes, up to 37 degrees",
        choices=("axial", "coronal", "sagittal", "oblique"),
    )
    dry_run: bool = option(
        False, "predict and write nothing: list which series would be predicted, and why not"
    )

    def __post_init__(self) -> None:
        for name in ("min_slices", "max_slices"):
            self._check_numbers([name], lambda number: number >= 1, "give 1 or more")
        if self.min_slices and self.max_slices and self.min_slices > self.max_slices:
            raise UsageError(
                f"at least {self.min_slices} and at most {self.max_slices} slices",
                hint="give a --min-slices that is not above --max-slices",
            )

    @property
    def with_studies(self) -> bool:
        """Whether the input is a tree of studies."""
        chosen = (self.series_modality, self.series_description, self.min_slices, self.max_slices, self.plane)
        return self.studies or self.dry_run or any(each is not None for each in chosen)
