"""How label maps are read where a file leaves a choice."""

from __future__ import annotations

from dataclasses import dataclass

from swin_umamba.errors import UsageError
from swin_umamba.options import Options, option


@dataclass(frozen=True)
class LabelOptions(Options):
    """How label maps are read."""

    fraction: float | None = option(
        None,
        "for DICOM segmentations of fractions, which are refused without it: probability or occupancy, above "
        "0 and up to 1, from which on a voxel belongs to a segment",
        metavar="X",
    )

    def __post_init__(self) -> None:
        if self.fraction is not None and not 0 < self.fraction <= 1:
            raise UsageError(f"a fraction of {self.fraction}", hint="give a number above 0 and up to 1")
