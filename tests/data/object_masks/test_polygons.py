"""Polygons as masks, against the even-odd rule at each centre of a pixel."""

from __future__ import annotations

import numpy as np
import pytest

from swin_umamba.data.object_masks import polygons
from swin_umamba.data.object_masks.object_map import OneObject
from swin_umamba.data.object_masks.polygons import ellipse, polygon_object


def in_image(found: OneObject, shape: tuple[int, int]) -> np.ndarray:
    mask = np.zeros(shape, bool)
    for (row, column), inside in np.ndenumerate(found.mask):
        y, x = row + found.corner[0], column + found.corner[1]
        if inside and 0 <= y < shape[0] and 0 <= x < shape[1]:
            mask[y, x] = True
    return mask


def even_odd(rings: list[np.ndarray], shape: tuple[int, int]) -> np.ndarray:
    mask = np.zeros(shape, bool)
    for y, x in np.ndindex(shape):
        crossings = 0
        for ring in rings:
            for (x0, y0), (x1, y1) in zip(ring, np.roll(ring, -1, axis=0), strict=True):
                if (y0 <= y + 0.5) != (y1 <= y + 0.5):
                    crossings += x0 + (y + 0.5 - y0) / (y1 - y0) * (x1 - x0) <= x + 0.5
        mask[y, x] = crossings % 2
    return mask


@pytest.mark.parametrize("seed", range(40))
def test_random_polygons(seed: int) -> None:
    rng = np.random.default_rng(seed)
    shape = (int(rng.integers(3, 20)), int(rng.integers(3, 20)))
    # Some with holes, crossing themselves, on the grid of pixels, reaching beyond the image.
    rings = [rng.uniform(-4, 22, (int(rng.integers(3, 9)), 2)) for _ in range(int(rng.integers(1, 4)))]
    if seed % 3 == 0:
        rings = [np.round(ring * 2) / 2 for ring in rings]
    np.testing.assert_array_equal(
        in_image(polygon_object(rings, shape, None, "it"), shape), even_odd(rings, shape)
    )


def test_a_closed_ring_and_an_open_one_are_the_same() -> None:
    ring = np.array([[1.0, 1], [6, 1], [6, 5], [1, 5]])
    opened = polygon_object([ring], (9, 9), None, "it")
    closed = polygon_object([np.concatenate([ring, ring[:1]])], (9, 9), None, "it")
    np.testing.assert_array_equal(in_image(opened, (9, 9)), in_image(closed, (9, 9)))
    assert in_image(opened, (9, 9)).sum() == 20


def test_neighbours_share_no_pixel_and_leave_none() -> None:
    """A centre on an edge belongs to one side."""
    left = polygon_object([np.array([[0, 0], [4.5, 0], [2.5, 8], [0, 8]])], (8, 8), None, "left")
    right = polygon_object([np.array([[4.5, 0], [8, 0], [8, 8], [2.5, 8]])], (8, 8), None, "right")
    total = in_image(left, (8, 8)).astype(int) + in_image(right, (8, 8))
    np.testing.assert_array_equal(total, 1)


def test_an_ellipse_has_its_area() -> None:
    mask = in_image(polygon_object([ellipse(50, 40, 30, 20)], (100, 100), None, "it"), (100, 100))
    assert mask.sum() == pytest.approx(np.pi * 30 * 20, rel=5e-3)


@pytest.mark.parametrize(
    ("rings", "message"),
    [
        ([], "no points"),
        ([np.zeros((2, 2))], "three points"),
        ([np.zeros(6)], "three points"),
        ([np.array([[0, 0], [np.nan, 1], [2, 2]])], "nowhere: nan"),
        ([np.array([[0, 0], [1e300, 1], [2, 2]])], r"nowhere: 1e\+300"),
    ],
)
def test_what_is_no_polygon(rings: list[np.ndarray], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        polygon_object(rings, (8, 8), None, "it")


def test_too_many_edges(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(polygons, "MOST_CROSSINGS", 1000)
    zigzag = np.stack([np.arange(300) / 30, np.arange(300) % 2 * 10.0], axis=1)
    with pytest.raises(ValueError, match="too many edges: they cross lines of pixels 3000 times"):
        polygon_object([zigzag], (10, 10), None, "it")
