"""Reading whatever the format: NaN, labels, cases, refusals."""

from __future__ import annotations

import os
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image as PillowImage

from swin_umamba.data.image_io import (
    Image,
    num_channels_of,
    read_case,
    read_image,
    read_labels,
    write_image,
)
from swin_umamba.errors import DataError, GeometryError, UsageError


def save_nifti(path: Path, array: np.ndarray, spacing: tuple[float, ...] = (1, 1, 1)) -> Path:
    nibabel.save(nibabel.Nifti1Image(array, np.diag([*spacing, 1.0])), path)
    return path


def save_png(path: Path, array: np.ndarray) -> Path:
    PillowImage.fromarray(array).save(path)
    return path


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize(
    "shape",
    [(4, 5), (4, 5, 6), (4, 5, 1), (4, 5, 6, 3), (4, 5, 1, 2), (4, 5, 6, 1, 3), (4, 5, 6, 1), (3, 3, 3)],
)
def test_channels_are_counted_as_they_are_read(tmp_path: Path, shape: tuple[int, ...], suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    nibabel.save(nibabel.Nifti1Image(np.zeros(shape, np.float32), np.eye(4)), path)
    assert num_channels_of(path) == read_image(path).num_channels
    coloured = save_png(tmp_path / "a.png", np.zeros((4, 5, 3), np.uint8))
    assert num_channels_of(coloured) == 3


def test_voxels_are_not_read_to_count_channels(tmp_path: Path) -> None:
    path = save_nifti(tmp_path / "a.nii.gz", np.random.default_rng(0).random((40, 40, 40)))
    path.write_bytes(path.read_bytes()[:2000])
    assert num_channels_of(path) == 1
    with pytest.raises(DataError, match="damaged"):
        read_image(path)


@pytest.mark.parametrize("content", [b"", b"\x1f\x8b", b"no image at all" * 100])
def test_channels_of_what_is_no_image(tmp_path: Path, content: bytes) -> None:
    for name in ("a.nii", "a.nii.gz"):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=name):
            num_channels_of(tmp_path / name)
    with pytest.raises(DataError, match="no such file"):
        num_channels_of(tmp_path / "b.nii")


@pytest.mark.parametrize(
    ("value", "named"), [(0.6, "0.6"), (-1.0, "-1.0"), (1e10, "10000000000.0"), (np.nan, "nan")]
)
def test_labels_that_are_no_class_numbers(tmp_path: Path, value: float, named: str) -> None:
    array = np.ones((4, 5, 6), np.float64)
    array[0, 0, 0] = value
    with pytest.raises(DataError, match=f"1 voxels hold {named}"):
        read_labels(save_nifti(tmp_path / "a.nii.gz", array))


def test_many_wrong_labels_are_counted(tmp_path: Path) -> None:
    array = -np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    with pytest.raises(DataError, match="23 voxels hold -23, -22, -21, -20, -19 and 18 more values"):
        read_labels(save_nifti(tmp_path / "a.nii", array))


def test_whole_floats_are_labels(tmp_path: Path) -> None:
    array = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    labels = read_labels(save_nifti(tmp_path / "a.nii", array)).data
    assert labels.dtype == np.int32
    np.testing.assert_array_equal(labels[0], array.transpose(2, 1, 0))


def test_colours_are_no_labels(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="this file has 3"):
        read_labels(save_png(tmp_path / "a.png", np.zeros((4, 4, 3), np.uint8)))


def test_case_of_one_file_per_channel(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=(4, 5, 6)).astype(np.float32) for _ in range(2)]
    paths = [save_nifti(tmp_path / f"a_000{i}.nii.gz", array) for i, array in enumerate(arrays)]
    case = read_case(paths)
    np.testing.assert_array_equal(case.data, np.stack([array.transpose(2, 1, 0) for array in arrays]))
    assert case.path == paths[0]


def test_case_of_one_colour_picture(tmp_path: Path) -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)
    np.testing.assert_array_equal(
        read_case([save_png(tmp_path / "a_0000.png", rgb)]).data, rgb.transpose(2, 0, 1)
    )


def test_case_on_two_grids(tmp_path: Path) -> None:
    array = np.zeros((4, 5, 6), np.float32)
    paths = [
        save_nifti(tmp_path / "a_0000.nii", array),
        save_nifti(tmp_path / "a_0001.nii", array, (1, 1, 2)),
    ]
    with pytest.raises(GeometryError, match="spacing"):
        read_case(paths)


def test_case_that_mixes_colours_and_channels(tmp_path: Path) -> None:
    paths = [
        save_png(tmp_path / "a_0000.png", np.zeros((4, 4), np.uint8)),
        save_png(tmp_path / "a_0001.png", np.zeros((4, 4, 3), np.uint8)),
    ]
    with pytest.raises(DataError, match="must hold one channel, not 3"):
        read_case(paths)
    with pytest.raises(UsageError):
        read_case([])


@pytest.mark.parametrize("name", ["a.nii.gz", "a.nii", "a.png", "a.jpg", "a.bmp", "a.tif"])
@pytest.mark.parametrize("content", [b"", b"\0", b"not an image at all" * 40])
def test_files_that_are_no_images(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    for read in (read_image, read_labels):
        if read is read_labels and name == "a.jpg":
            continue
        with pytest.raises(DataError) as caught:
            read(tmp_path / name)
        assert caught.value.where == str(tmp_path / name)
        assert caught.value.hint


def test_folders_pipes_and_absent_files(tmp_path: Path) -> None:
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(DataError, match="not a file"):
        read_image(tmp_path / "folder.png")
    with pytest.raises(DataError, match="no such file"):
        read_image(tmp_path / "absent.png")
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.png")
        with pytest.raises(DataError, match="not a file"):  # reading would wait for ever
            read_image(tmp_path / "pipe.png")


def test_unreadable_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_png(tmp_path / "a.png", np.zeros((4, 4), np.uint8))

    def refuse(*_: object) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(DataError, match="Permission denied"):
        read_image(tmp_path / "a.png")


@pytest.mark.parametrize("name", ["a.nii.gz", "a.nii", "a.png", "a.tif"])
def test_a_caller_can_lower_the_limit_of_voxels(name: str, tmp_path: Path) -> None:
    image = Image.without_geometry(np.arange(12, dtype=np.uint8).reshape(1, 3, 4), tmp_path / "none")
    write_image(tmp_path / name, image)
    assert read_case([tmp_path / name], max_voxels=12).data.tolist() == image.data.tolist()
    with pytest.raises(DataError, match="the limit is 11"):
        read_case([tmp_path / name], max_voxels=11)
