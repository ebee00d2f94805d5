"""Overlays: contrast, fill, contours."""

from __future__ import annotations

import numpy as np
import pytest

from swin_umamba.errors import GeometryError
from swin_umamba.report.overlay import (
    FILL_OPACITY,
    HALO_OPACITY,
    contours,
    contrast_window,
    fullest_slice,
    overlay,
    to_rgb,
)
from swin_umamba.report.palette import class_colour


@pytest.fixture
def labels() -> np.ndarray:
    """A 6 x 6 square of class 1 in the middle of 12 x 12."""
    labels = np.zeros((12, 12), np.uint8)
    labels[3:9, 3:9] = 1
    return labels


def test_colours_stay_as_they_are() -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (3, 5, 6), np.uint8)
    np.testing.assert_array_equal(to_rgb(rgb), rgb.transpose(1, 2, 0))


def test_contrast_ignores_single_bright_voxels() -> None:
    image = np.linspace(-100, 300, 10_000).reshape(1, 100, 100)
    image[0, 0, 0] = 1e6
    picture = to_rgb(image)
    assert picture.dtype == np.uint8
    assert (picture[..., 0] == picture[..., 2]).all()
    assert picture[0, 0, 0] == 255
    assert picture[0, 1, 0] == 0
    assert abs(int(picture[50, 0, 0]) - 128) < 3


@pytest.mark.parametrize("image", [np.full((1, 4, 4), 7), np.full((1, 4, 4), 1e30)])
def test_constant_image_is_black(image: np.ndarray) -> None:
    assert not to_rgb(image).any()


def test_sparse_image_is_not_black() -> None:
    image = np.zeros((1, 100, 100))
    image[0, 5, 5] = 3
    assert to_rgb(image)[5, 5, 0] == 255


def test_contours_lie_inside_the_class(labels: np.ndarray) -> None:
    expected = labels.astype(bool)
    expected[4:8, 4:8] = False
    np.testing.assert_array_equal(contours(labels), expected)


def test_contours_between_classes_and_at_the_border() -> None:
    labels = np.repeat([[1, 1, 1, 2, 2, 2]], 4, axis=0)
    expected = np.repeat([[False, False, True, True, False, False]], 4, axis=0)
    np.testing.assert_array_equal(contours(labels), expected)


def test_fill_and_contour(labels: np.ndarray) -> None:
    picture = overlay(np.full((3, 12, 12), 100, np.uint8), labels)
    colour = np.array(class_colour(1))
    assert (picture[0, 0] == 100).all()
    assert (picture[3, 5] == colour).all()
    np.testing.assert_array_equal(picture[5, 5], np.round(100 + FILL_OPACITY * (colour - 100.0)))


def test_wide_contours_stay_inside(labels: np.ndarray) -> None:
    picture = overlay(np.full((3, 12, 12), 100, np.uint8), labels, contour_width=2)
    drawn = (picture == class_colour(1)).all(axis=-1)
    expected = labels.astype(bool)
    expected[5:7, 5:7] = False
    np.testing.assert_array_equal(drawn, expected)


def test_a_dark_halo_lies_outside_of_all_classes(labels: np.ndarray) -> None:
    labels[3:9, 6:9] = 2
    picture = overlay(np.full((3, 12, 12), 100, np.uint8), labels)
    dark = (picture == round(100 * (1 - HALO_OPACITY))).all(axis=-1)
    expected = np.zeros((12, 12), bool)
    expected[2, 3:9] = expected[9, 3:9] = expected[3:9, 2] = expected[3:9, 9] = True
    np.testing.assert_array_equal(dark, expected)


def test_labels_of_another_shape() -> None:
    with pytest.raises(GeometryError, match="do not match"):
        overlay(np.zeros((1, 4, 4)), np.zeros((4, 1), int))


def test_fullest_slice() -> None:
    labels = np.zeros((3, 4, 4), int)
    labels[1, :2] = 2
    labels[2, :1] = 1
    assert fullest_slice(labels) == 1


def test_a_window_of_the_whole_volume_keeps_slices_comparable() -> None:
    volume = np.array([[[0, 50]], [[50, 100]]], np.int16)
    low, high = contrast_window(volume)
    assert (low, high) == (0.75, 99.25)
    pictures = [to_rgb(part[None], (low, high))[0, :, 0].tolist() for part in volume]
    assert pictures == [[0, 128], [128, 255]]
    assert contrast_window(np.full(3, 7)) == (7, 7)
    assert (to_rgb(np.full((1, 2, 2), 7)) == 0).all()
