"""Options of predicting large images in blocks."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from swin_umamba.errors import UsageError
from swin_umamba.options import Options, option

_ADDRESS = re.compile(r"local|(?:tcp|tls)://[^\s/]+:\d{1,5}")
_PART = re.compile(r"(?:(\d+):(\d+),)?(\d+):(\d+),(\d+):(\d+)")


@dataclass(frozen=True)
class BlockOptions(Options):
    """How large images are predicted."""

    blocks: bool = option(
        False,
        "predict in blocks, in little memory; OME-Zarr, whole slides, pyramids of more than 32 MiB and "
        "pictures of more than 2^27 pixels always are, see docs/large_images.md",
    )
    workers: int = option(
        1, "processes that predict the cases of a folder, or the blocks of a large image", metavar="N"
    )
    scheduler: str | None = option(
        None,
        "predict cases and blocks on a Dask cluster: tcp://HOST:PORT or tls://HOST:PORT of its scheduler, or "
        "local for --workers of this machine; see docs/cluster.md",
        metavar="ADDRESS",
    )
    level: int = option(0, "level of a pyramid to predict, 0 for the largest", metavar="N")
    rescale: bool = option(
        False,
        "predict the level whose pixels are nearest in size to those of the model's training images; refused "
        "if they still differ by more than 10 %, as other images are without it",
    )
    roi: str | None = option(
        None,
        "predict only these pixels of the level; labels are those of the whole image",
        metavar="[Z0:Z1,]Y0:Y1,X0:X1",
    )
    statistics: Literal["image", "tissue", "field"] | None = option(
        None,
        "pixels by whose mean and deviation an image in blocks is normalized: all, those of tissue, or of a "
        "field around each tile, as large as a training image (default: tissue for pyramids, else image)",
    )
    tissue: bool = option(False, "leave out what is not tissue: it becomes background")
    label_format: Literal["tiff", "zarr"] | None = option(
        None, "format of label maps of images in blocks (default: zarr for OME-Zarr, else tiff)"
    )

    def __post_init__(self) -> None:
        if self.scheduler is not None and not _ADDRESS.fullmatch(self.scheduler):
            raise UsageError(
                f"the scheduler {self.scheduler!r}",
                where="--scheduler",
                hint="give tcp://HOST:PORT, tls://HOST:PORT, or local",
            )
        if self.workers < 1:
            raise UsageError(f"{self.workers} workers", hint="give 1 or more")
        if self.level < 0:
            raise UsageError(f"level {self.level}", hint="give 0 or more")
        if self.rescale and self.level:
            raise UsageError("--rescale chooses a level, and --level names one", hint="leave one of them out")
        if self.roi is not None and _PART.fullmatch(self.roi) is None:
            raise UsageError(
                f"the region {self.roi!r}",
                where="--roi",
                hint="give Y0:Y1,X0:X1, for example 0:4096,1000:5096",
            )

    @property
    def in_blocks(self) -> bool:
        """Whether an option asks for blocks."""
        given = (self.roi, self.statistics, self.label_format)
        asked = self.blocks or self.tissue or self.rescale or self.level > 0
        return asked or any(each is not None for each in given)

    def region(self, size: tuple[int, int, int]) -> tuple[slice, slice, slice]:
        """Return the part of an image ``(Z, Y, X)`` to predict.

        Raises
        ------
        UsageError
            If it leads out of the image, or is empty.
        """
        if self.roi is None:
            return slice(0, size[0]), slice(0, size[1]), slice(0, size[2])
        match = _PART.fullmatch(self.roi)
        assert match is not None
        numbers = [int(each) if each else None for each in match.groups()]
        z, y, x = (
            slice(first or 0, length if last is None else last)
            for first, last, length in zip(numbers[::2], numbers[1::2], size, strict=True)
        )
        for part, length in zip((z, y, x), size, strict=True):
            if not part.start < part.stop <= length:
                raise UsageError(
                    f"the region {self.roi} is not in the image",
                    where="--roi",
                    hint=f"the image has {size[1]} x {size[2]} pixels (Y, X) in {size[0]} slices",
                )
        return z, y, x
