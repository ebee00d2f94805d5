"""Options of results in the forms that hospitals exchange."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from swin_umamba.errors import UsageError
from swin_umamba.options import Options, option


@dataclass(frozen=True)
class SegmentationOptions(Options):
    """Whether label maps are written as DICOM segmentations, and of which kind."""

    format: Literal["dicom-seg"] | None = option(
        None,
        "write each label map as a DICOM segmentation CASE.dcm of its series, and what is in it as "
        "CASE.seg.json; see docs/dicom.md",
    )
    seg_type: Literal["binary", "labelmap", "fractional"] = option(
        "binary",
        "with --format dicom-seg: binary, which viewers read; labelmap, with one frame a slice, which few "
        "read yet; or fractional, with the probabilities",
    )
    derived_uids: bool = option(
        False,
        "with --format dicom-seg: derive its UIDs from those of the images, the model and the options, so "
        "that the same again has the same, instead of new ones",
    )

    def __post_init__(self) -> None:
        if self.format is None and (self.seg_type != "binary" or self.derived_uids):
            raise UsageError(
                "--seg-type and --derived-uids are of DICOM segmentations", hint="add --format dicom-seg"
            )
