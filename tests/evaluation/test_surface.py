"""Neighbour codes and the areas of surface elements."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from swin_umamba.evaluation.surface import element_areas, neighbour_codes

SPACING = (3.0, 1.3, 0.8)


def code_of(corners: list[tuple[int, ...]]) -> int:
    return sum(1 << (7 - (4 * z + 2 * y + x)) for z, y, x in corners)


def test_codes_of_one_voxel() -> None:
    codes = neighbour_codes(np.ones((1, 1), bool))
    assert codes.tolist() == [[0b0001, 0b0010], [0b0100, 0b1000]]
    codes = neighbour_codes(np.ones((1, 1, 1), bool))
    assert codes.ravel().tolist() == [1, 2, 4, 8, 16, 32, 64, 128]


def test_codes_have_the_order_of_the_neighbourhood() -> None:
    mask = np.random.default_rng(0).random((3, 4, 5)) < 0.5
    padded = np.pad(mask, 1)
    codes = neighbour_codes(mask)
    for index in np.ndindex(codes.shape):
        window = padded[tuple(slice(i, i + 2) for i in index)]
        assert codes[index] == int("".join(str(int(bit)) for bit in window.ravel()), 2)


def test_contour_lengths() -> None:
    lengths = element_areas((2.0, 3.0))
    diagonal = math.hypot(2, 3) / 2
    expected = {
        0b0000: 0,
        0b1111: 0,
        0b0001: diagonal,
        0b1011: diagonal,
        0b1001: 2 * diagonal,
        0b0110: 2 * diagonal,
        0b1100: 3.0,
        0b0011: 3.0,
        0b1010: 2.0,
        0b0101: 2.0,
    }
    assert {code: pytest.approx(lengths[code]) for code in expected} == expected


def test_areas_of_flat_and_cut_corner_elements() -> None:
    areas = element_areas(SPACING)
    depth, height, width = SPACING
    assert areas[0] == areas[255] == 0
    assert areas[0b11110000] == pytest.approx(height * width)
    assert areas[0b11001100] == pytest.approx(depth * width)
    assert areas[0b10101010] == pytest.approx(depth * height)
    # One corner is cut off by a triangle through the midpoints of three edges.
    triangle = np.linalg.norm([height * width, depth * width, depth * height]) / 8
    for bit in range(8):
        assert areas[1 << bit] == pytest.approx(triangle)
    # Two corners along the last axis are cut off by a rectangle.
    assert areas[code_of([(0, 0, 0), (0, 0, 1)])] == pytest.approx(width * math.hypot(depth, height) / 2)
    # Opposite corners are cut off separately.
    assert areas[code_of([(0, 0, 0), (1, 1, 1)])] == pytest.approx(2 * triangle)
    assert areas[code_of([(0, 0, 0), (0, 1, 1), (1, 0, 1), (1, 1, 0)])] == pytest.approx(4 * triangle)


def test_areas_of_elements_that_are_not_flat() -> None:
    """The areas of Nikolov et al.'s surface Dice where a polygon can be cut in several ways."""
    areas = element_areas((1.0, 1.0, 1.0))
    three = code_of([(1, 0, 1), (1, 1, 0), (1, 1, 1)])
    assert areas[three] == pytest.approx(0.5 + 3 * math.sqrt(3) / 8)
    chain = code_of([(0, 1, 1), (1, 0, 0), (1, 1, 0), (1, 1, 1)])
    assert areas[chain] == pytest.approx(math.sqrt(3) / 2 + math.sqrt(2) / 2)


def test_inside_and_outside_have_one_surface() -> None:
    areas = element_areas(SPACING)
    np.testing.assert_allclose(areas, areas[::-1])


def test_mirrored_and_turned_elements_have_the_same_area() -> None:
    areas = element_areas((1.0, 1.0, 1.0))
    corners = list(itertools.product((0, 1), repeat=3))
    for code in range(256):
        inside = [corner for corner in corners if code >> (7 - corners.index(corner)) & 1]
        for order in itertools.permutations(range(3)):
            turned = code_of([tuple(corner[axis] for axis in order) for corner in inside])
            assert areas[turned] == pytest.approx(areas[code])
        mirrored = code_of([(1 - z, y, x) for z, y, x in inside])
        assert areas[mirrored] == pytest.approx(areas[code])


def test_area_of_a_ball() -> None:
    radius, step = 10.0, (0.5, 1.0, 0.8)
    axes = [np.arange(-12, 12, length) for length in step]
    ball = sum(axis**2 for axis in np.meshgrid(*axes, indexing="ij")) < radius**2
    codes = neighbour_codes(ball)
    # The steps of a mask make its surface about a tenth larger than that of the smooth ball.
    assert 1.05 < element_areas(step)[codes].sum() / (4 * math.pi * radius**2) < 1.12
