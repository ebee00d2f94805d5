"""Previews: which slice, which size, and what is drawn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage

from swin_umamba.data.image import Image
from swin_umamba.errors import GeometryError, UsageError
from swin_umamba.report.palette import class_colour
from swin_umamba.report.preview import informative_slice, picture_size, write_preview


def image_of(data: np.ndarray) -> Image:
    """Return an image that says nothing of its place and pixels."""
    return Image.without_geometry(data, Path("none"))


@pytest.fixture
def volume() -> np.ndarray:
    """One channel, 4 x 6 x 8, black but for noise in slice 3."""
    volume = np.zeros((1, 4, 6, 8))
    volume[0, 3] = np.random.default_rng(0).random((6, 8))
    return volume


def test_the_slice_with_most_labels_or_most_contrast(volume: np.ndarray) -> None:
    labels = np.zeros(volume.shape[1:], np.uint8)
    assert informative_slice(volume, None) == informative_slice(volume, labels) == 3
    labels[1, :2, :2] = 2
    assert informative_slice(volume, labels) == 1


def test_size_follows_the_spacing_within_bounds() -> None:
    assert picture_size((100, 200), None, shortest=50, longest=1000) == (200, 100)
    assert picture_size((100, 200), (2.0, 1.0), shortest=50, longest=1000) == (200, 200)
    assert picture_size((10, 20), (3.0, 1.0, 1.0), shortest=50, longest=1000) == (50, 25)
    assert picture_size((3000, 1500), None, shortest=50, longest=1000) == (500, 1000)


def test_classes_have_their_colours(tmp_path: Path, volume: np.ndarray) -> None:
    labels = np.zeros(volume.shape[1:], np.uint8)
    labels[1, 1:4, 1:4] = 2
    picture = np.asarray(PillowImage.open(write_preview(tmp_path / "a.png", image_of(volume), labels)))
    assert picture.shape == (384, 512, 3)
    edge = (picture == class_colour(2)).all(axis=2)
    assert edge[64:256, 64:256].any()
    edge[64:256, 64:256] = False
    assert not edge.any()
    assert not picture[300:, 300:].any()


def test_one_slice_and_no_labels(tmp_path: Path, volume: np.ndarray) -> None:
    image = image_of(volume)
    black, grey = (
        np.asarray(PillowImage.open(write_preview(tmp_path / "a.png", image, slice_index=index)))[:-40]
        for index in (0, None)  # the lowest rows say that there is no orientation
    )
    assert not black.any()
    assert grey.max() == 255


@pytest.mark.parametrize("index", [-1, 4])
def test_no_such_slice(tmp_path: Path, volume: np.ndarray, index: int) -> None:
    with pytest.raises(UsageError, match="no slice"):
        write_preview(tmp_path / "a.png", image_of(volume), slice_index=index)


def test_wrong_labels_and_slices_of_flat_images(tmp_path: Path, volume: np.ndarray) -> None:
    with pytest.raises(GeometryError, match="do not match"):
        write_preview(tmp_path / "a.png", image_of(volume), np.zeros((4, 6, 7), np.uint8))
    with pytest.raises(UsageError, match="no slices"):
        write_preview(tmp_path / "a.png", image_of(volume[:, 0]), slice_index=0)
    assert not any(tmp_path.iterdir())
