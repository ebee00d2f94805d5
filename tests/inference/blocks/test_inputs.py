"""Which images are predicted in blocks."""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest
import tifffile

from swin_umamba.inference.blocks import inputs
from swin_umamba.inference.blocks.inputs import goes_in_blocks
from swin_umamba.inference.blocks.options import BlockOptions


def write_tiff(path: Path, edge: int, levels: int, compression: str | None = "deflate") -> Path:
    """Write glass in as many levels."""
    glass = np.full((edge, edge), 240, np.uint8)
    with tifffile.TiffWriter(path) as file:
        for level in range(levels):
            file.write(
                glass[:: 2**level, :: 2**level],
                subifds=levels - 1 if level == 0 else None,
                subfiletype=min(level, 1),
                tile=(256, 256),
                compression=compression,
            )
    return path


@pytest.mark.parametrize(
    ("edge", "levels", "expected"), [(2900, 3, False), (7000, 3, True), (7000, 1, False), (11600, 1, True)]
)
def test_bytes_decide_whether_levels_and_pixels_do(
    tmp_path: Path, edge: int, levels: int, expected: bool
) -> None:
    path = write_tiff(tmp_path / "slide.tif", edge, levels, compression=None)
    assert goes_in_blocks([path], BlockOptions()) is expected
    assert goes_in_blocks([path], BlockOptions(blocks=True))


def test_what_cannot_be_opened_by_region_is_left_to_the_reader(tmp_path: Path) -> None:
    path = write_tiff(tmp_path / "slide.tif", 2900, 3)
    content = path.read_bytes()
    for damaged in (content[:5000].ljust(2**25), b"no TIFF", b"\0" * 2**25):
        path.write_bytes(damaged)
        assert not goes_in_blocks([path], BlockOptions())


def test_a_file_that_may_not_be_read_is_left_to_the_reader(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(path: Path) -> NoReturn:
        raise PermissionError(13, "Permission denied", str(path))

    path = tmp_path / "slide.tif"
    path.write_bytes(b"\0" * 2**25)
    monkeypatch.setattr(inputs, "open_region_source", refused)
    assert not goes_in_blocks([path], BlockOptions())
    assert not goes_in_blocks([tmp_path / "missing.tif"], BlockOptions())
