"""Regions of an image in memory, and what is refused of all sources."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from swin_umamba.data.image_io import Image, write_image
from swin_umamba.errors import DataError, UsageError
from swin_umamba.regions.opening import open_region_source
from swin_umamba.regions.source import ArraySource, Level, Placement, check_chunk, check_levels, check_shape

VOXELS = np.arange(2 * 3 * 5 * 7, dtype=np.int16).reshape(2, 3, 5, 7)
ALL = slice(None)


@pytest.mark.parametrize(
    "region",
    [(ALL, ALL, ALL), (slice(0, 1), slice(4, 5), slice(6, 7)), (slice(1, 3), slice(None, 2), slice(3, None))],
)
def test_a_region_is_a_part_of_the_array(region: tuple[slice, slice, slice]) -> None:
    with ArraySource(VOXELS) as source:
        assert (source.shape, source.dtype, source.spacing) == (VOXELS.shape, np.int16, None)
        part = source.read(*region)
    assert part.flags.c_contiguous
    assert np.array_equal(part, VOXELS[(ALL, *region)])


@pytest.mark.parametrize("part", [slice(0, 8), slice(-1, 5), slice(2, 2), slice(0, 4, 2), slice(7, 8)])
def test_regions_that_do_not_exist_are_refused(part: slice) -> None:
    with pytest.raises(ValueError, match="no part of an axis of 7 voxels"):
        ArraySource(VOXELS).read(ALL, ALL, part)


def test_a_flat_image_has_one_slice() -> None:
    source = ArraySource(VOXELS[:, 0])
    assert (source.shape, source.flat, source.levels[0].shape) == ((2, 1, 5, 7), True, (1, 5, 7))


def test_the_size_of_a_voxel_is_known_in_full_or_not_at_all() -> None:
    image = Image.without_geometry(VOXELS, Path("a"))
    assert ArraySource(image).spacing is None
    assert ArraySource(replace(image, spacing=(3.0, 0.5, 0.25), has_spacing=True)).spacing == (3.0, 0.5, 0.25)
    flat = replace(Image.without_geometry(VOXELS[:, 0], Path("a")), spacing=(0.5, 0.25), has_spacing=True)
    assert ArraySource(flat).spacing == (1.0, 0.5, 0.25)
    assert Placement((1.0, 0.5, 0.25), units=("millimeter", "micrometer", "micrometer")).spacing == (
        1.0,
        0.0005,
        0.00025,
    )
    for units in [("meter", "meter", None), ("meter", "parsec", "meter"), (None, None, None)]:
        assert Placement(units=units).spacing is None
    assert Placement((1.0, 0.0, 1.0), units=("meter",) * 3).spacing is None


def test_a_source_pickles(tmp_path: Path) -> None:
    copy = pickle.loads(pickle.dumps(ArraySource(VOXELS)))
    assert np.array_equal(copy.read(ALL, ALL, ALL), VOXELS)
    image = Image.without_geometry(VOXELS[:1], tmp_path / "image.nii.gz")
    write_image(tmp_path / "image.nii.gz", image)
    source = open_region_source(tmp_path / "image.nii.gz")
    stored = pickle.dumps(source)
    assert len(stored) < 500  # the place, and no voxels
    assert np.array_equal(pickle.loads(stored).read(ALL, ALL, ALL), VOXELS[:1])


def test_an_image_without_levels_has_level_0(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", Image.without_geometry(np.zeros((1, 4, 4), np.uint8), tmp_path / "a.png"))
    with pytest.raises(UsageError, match="no level 1"):
        open_region_source(tmp_path / "a.png", level=1)
    with pytest.raises(UsageError, match="holds one image"):
        open_region_source(tmp_path / "a.png", series="2")


def test_sizes_of_no_image_are_refused() -> None:
    for shape in [(1, 0, 4, 4), (1, 1, 2**40, 4), (0, 1, 4, 4), (2**20, 1, 4, 4)]:
        with pytest.raises(DataError, match="claims"):
            check_shape(Path("a"), shape)
    for chunk in [(1, 2**15, 2**15), (0, 4, 4)]:
        with pytest.raises(DataError, match="stored in parts"):
            check_chunk(Path("a"), chunk, 2)


@pytest.mark.parametrize(
    ("shapes", "steps", "agrees"),
    [
        ([(1, 101, 99), (1, 50, 50), (1, 25, 25)], [1, 2, 4], True),
        ([(1, 101, 99), (1, 101, 99)], [1, 1], False),
        ([(1, 100, 100), (1, 50, 120)], [1, 2], False),
        ([(1, 100, 100), (1, 50, 50)], [1, 4], False),
        ([(1, 100, 100), (1, 200, 200)], [1, 0.5], False),
    ],
)
def test_levels_become_smaller(shapes: list[tuple[int, int, int]], steps: list[float], agrees: bool) -> None:
    levels = tuple(Level(shape, (1.0, step, step)) for shape, step in zip(shapes, steps, strict=True))
    if agrees:
        check_levels(Path("a"), levels)
    else:
        with pytest.raises(DataError, match="levels of the pyramid disagree: level 1"):
            check_levels(Path("a"), levels)
