"""The comparison of two image grids."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from swin_umamba.data.image import Image, check_same_grid
from swin_umamba.errors import GeometryError


@pytest.fixture
def volume() -> Image:
    return Image(
        data=np.zeros((1, 4, 5, 6), np.uint8),
        spacing=(5.0, 0.7, 0.7),
        origin=(100.0, -50.0, 20.0),
        direction=((0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0)),
        path=Path("a.nii.gz"),
    )


def test_same_grid_with_other_channels(volume: Image) -> None:
    check_same_grid(volume, volume.with_data(np.zeros((3, 4, 5, 6))))


def test_rounding_of_headers_is_no_difference(volume: Image) -> None:
    rounded = replace(
        volume,
        spacing=tuple(float(np.float32(length)) for length in volume.spacing),
        origin=(100.0004, -50.0, 20.0),
        direction=((0.0, 3e-4, 1.0), (0.0, 1.0, -3e-4), (1.0, 0.0, 0.0)),
    )
    check_same_grid(volume, rounded)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"spacing": (5.0, 0.7, 0.71)}, r"spacing \(5.0, 0.7, 0.7\) and \(5.0, 0.7, 0.71\)"),
        ({"origin": (100.0, -50.0, 20.5)}, "origin"),
        ({"direction": ((0.0, 0.0, 1.0), (0.0, -1.0, 0.0), (1.0, 0.0, 0.0))}, "direction"),
        ({"data": np.zeros((1, 4, 5, 1), np.uint8)}, r"shape \(4, 5, 6\) and \(4, 5, 1\)"),
    ],
)
def test_each_difference_is_named(volume: Image, change: dict, named: str) -> None:
    other = replace(volume, path=Path("b.nii.gz"), **change)
    with pytest.raises(GeometryError, match=named) as caught:
        check_same_grid(volume, other)
    others = {"shape", "spacing", "origin", "direction"} - {named.split()[0].rstrip("\\")}
    assert not any(word in caught.value.what for word in others)
    assert caught.value.where == "a.nii.gz and b.nii.gz"


def test_all_differences_are_named_together(volume: Image) -> None:
    other = replace(volume, spacing=(1.0, 1.0, 1.0), origin=(0.0, 0.0, 0.0))
    with pytest.raises(GeometryError, match=r"spacing.*origin"):
        check_same_grid(volume, other)


def test_picture_and_volume(volume: Image) -> None:
    picture = Image.without_geometry(np.zeros((3, 5, 6), np.uint8), Path("a.png"))
    assert picture.spacing == (1.0, 1.0)
    assert picture.direction == ((0.0, 1.0, 0.0), (1.0, 0.0, 0.0))
    with pytest.raises(GeometryError, match="shape"):
        check_same_grid(picture, volume)


def test_what_one_image_does_not_know_is_no_difference(volume: Image) -> None:
    plain = Image.without_geometry(volume.data, Path("a.tif"))
    check_same_grid(volume, plain)
    check_same_grid(plain, volume)
    sized = replace(plain, spacing=(5.0, 0.7, 0.8), has_spacing=True)
    with pytest.raises(GeometryError, match="spacing") as caught:
        check_same_grid(volume, sized)
    assert "origin" not in caught.value.what


def test_the_size_of_a_pixel_is_the_determinant_of_its_axes(volume: Image) -> None:
    assert volume.pixel_size == 5.0 * 0.7 * 0.7
    c, s = np.cos(0.3), np.sin(0.3)
    skewed = replace(volume, direction=((0.0, s, c), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0)))
    assert skewed.pixel_size == pytest.approx(5.0 * 0.7 * 0.7 * c, rel=1e-12)
    turned = replace(volume, direction=((0.0, 0.0, -1.0), (s, c, 0.0), (c, -s, 0.0)))
    assert turned.pixel_size == pytest.approx(5.0 * 0.7 * 0.7, rel=1e-12)
    flat = replace(
        volume, data=np.zeros((1, 5, 6)), spacing=(2.0, 3.0), direction=((0.0, s, c), (1.0, 0.0, 0.0))
    )
    assert flat.pixel_size == pytest.approx(6.0, rel=1e-12)
    assert Image.without_geometry(np.zeros((1, 5, 6)), Path("a.png")).pixel_size == 1
