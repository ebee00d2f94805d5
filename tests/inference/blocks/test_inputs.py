"""Which images are predicted in blocks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from swin_umamba.inference.blocks.inputs import goes_in_blocks
from swin_umamba.inference.blocks.options import BlockOptions


def write_tiff(path: Path, edge: int, levels: int) -> Path:
    """Write glass, which deflate makes small, in as many levels."""
    glass = np.full((edge, edge), 240, np.uint8)
    with tifffile.TiffWriter(path) as file:
        for level in range(levels):
            file.write(
                glass[:: 2**level, :: 2**level],
                subifds=levels - 1 if level == 0 else None,
                subfiletype=min(level, 1),
                tile=(256, 256),
                compression="deflate",
            )
    return path


@pytest.mark.parametrize(
    ("edge", "levels", "expected"), [(2900, 3, True), (2900, 1, False), (1024, 3, False), (11600, 1, True)]
)
def test_pixels_and_levels_decide_and_not_compression(
    tmp_path: Path, edge: int, levels: int, expected: bool
) -> None:
    path = write_tiff(tmp_path / "slide.tif", edge, levels)
    assert path.stat().st_size < 2**20
    assert goes_in_blocks([path], BlockOptions()) is expected
    assert goes_in_blocks([path], BlockOptions(blocks=True))


def test_what_cannot_be_opened_by_region_is_left_to_the_reader(tmp_path: Path) -> None:
    path = write_tiff(tmp_path / "slide.tif", 2900, 3)
    content = path.read_bytes()
    for damaged in (content[:5000], b"no TIFF", b"\0" * 2**25):
        path.write_bytes(damaged)
        assert not goes_in_blocks([path], BlockOptions())
    assert not goes_in_blocks([tmp_path / "missing.tif"], BlockOptions())
