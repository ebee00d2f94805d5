"""The class colours."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from swin_umamba.report.palette import class_colour, object_colours, uncertainty_colours


def test_colours_are_valid_distinct_and_neither_black_nor_white() -> None:
    colours = [class_colour(label) for label in range(1, 61)]
    assert len(set(colours)) == len(colours)
    for colour in colours:
        assert all(0 <= part <= 255 for part in colour)
        assert 60 < sum(colour) < 3 * 245


def test_first_colours_are_far_apart() -> None:
    for one, other in itertools.combinations([class_colour(label) for label in range(1, 21)], 2):
        assert sum((a - b) ** 2 for a, b in zip(one, other, strict=True)) > 45**2


def test_neighbouring_classes_are_told_apart() -> None:
    for label in range(1, 60):
        one, other = class_colour(label), class_colour(label + 1)
        assert sum((a - b) ** 2 for a, b in zip(one, other, strict=True)) > 100**2


def test_a_class_keeps_its_colour() -> None:
    assert class_colour(1) == (230, 159, 0)
    assert class_colour(2) == (86, 180, 233)
    assert class_colour(8) == class_colour(8)


@pytest.mark.parametrize("label", [0, -1])
def test_background_has_no_colour(label: int) -> None:
    with pytest.raises(ValueError, match="background"):
        class_colour(label)


def test_an_object_keeps_its_colour() -> None:
    colours = object_colours(np.array([[0, 3], [70_000, 3]], np.uint32))
    assert colours.tolist() == [
        [[0, 0, 0, 0], [*class_colour(3), 255]],
        [[*class_colour(70_000), 255], [*class_colour(3), 255]],
    ]
    assert object_colours(np.zeros((0, 4), np.uint16)).shape == (0, 4, 4)


def test_uncertainty_is_told_apart_by_lightness_alone() -> None:
    colours = uncertainty_colours(np.linspace(0, 1, 11)).astype(float)
    lightness = colours[:, :3] @ np.array([0.2126, 0.7152, 0.0722])
    assert (np.diff(lightness) > 5).all()
    assert colours[0, 3] == 0  # a certain pixel shows the picture
    assert (np.diff(colours[:, 3]) >= 0).all()
    assert colours[-1].tolist() == [250, 240, 60, 230]
