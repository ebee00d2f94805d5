"""Writing whatever the format: what comes back, what cannot be written, failures that change nothing."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage

from swin_umamba.data.image_io import (
    Image,
    check_same_grid,
    read_image,
    read_labels,
    write_labels,
    write_probabilities,
)
from swin_umamba.errors import DataError, OutputError


@pytest.fixture
def picture(tmp_path: Path) -> Image:
    """A grey picture of 6 x 8 pixels."""
    PillowImage.fromarray(np.zeros((6, 8), np.uint8)).save(tmp_path / "picture.png")
    return read_image(tmp_path / "picture.png")


@pytest.mark.parametrize("suffix", [".png", ".tif", ".bmp", ".nii.gz"])
def test_labels_come_back(tmp_path: Path, picture: Image, suffix: str) -> None:
    labels = np.random.default_rng(0).integers(0, 200, picture.spatial_shape)
    write_labels(tmp_path / f"labels{suffix}", labels, picture)
    back = read_labels(tmp_path / f"labels{suffix}")
    np.testing.assert_array_equal(back.data[0], labels)
    assert back.data.dtype == np.uint8
    check_same_grid(back, picture)


def test_labels_above_255_are_16_bit(tmp_path: Path, picture: Image) -> None:
    labels = np.full(picture.spatial_shape, 300)
    write_labels(tmp_path / "labels.png", labels, picture)
    assert read_labels(tmp_path / "labels.png").data.dtype == np.uint16
    for suffix in (".bmp", ".jpg"):
        with pytest.raises(DataError, match="cannot hold labels"):
            write_labels(tmp_path / f"labels{suffix}", labels, picture)
    with pytest.raises(DataError, match="cannot hold labels"):
        write_labels(tmp_path / "labels.png", labels * 300, picture)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.zeros((6, 1), np.uint8), "do not fit"),
        (np.zeros((6, 8), np.float32), "integers"),
        (np.full((6, 8), -1), "from -1"),
        (np.full((6, 8), 2**40), "cannot be written"),
    ],
)
def test_labels_that_cannot_be_written(
    tmp_path: Path, picture: Image, labels: np.ndarray, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        write_labels(tmp_path / "labels.png", labels, picture)
    assert not (tmp_path / "labels.png").exists()


def test_failed_write_keeps_the_old_file(
    tmp_path: Path, picture: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "labels.png"
    write_labels(path, np.zeros((6, 8), np.uint8), picture)
    before = path.read_bytes()

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match="No space left"):
        write_labels(path, np.ones((6, 8), np.uint8), picture)
    assert path.read_bytes() == before
    assert sorted(file.name for file in tmp_path.iterdir()) == ["labels.png", "picture.png"]


def test_probabilities_come_back(tmp_path: Path) -> None:
    probabilities = np.random.default_rng(0).random((3, 4, 5)).astype(np.float32)
    path = tmp_path / "new" / "a.npz"
    write_probabilities(path, probabilities)
    np.testing.assert_array_equal(np.load(path)["probabilities"], probabilities)
    first = path.read_bytes()
    write_probabilities(path, probabilities)
    assert path.read_bytes() == first
