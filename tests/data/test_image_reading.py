"""Reading whatever the format: NaN, labels, cases, refusals."""

from __future__ import annotations

import contextlib
import os
import struct
import zlib
from pathlib import Path

import nibabel
import numpy as np
import pytest
import tifffile
from PIL import Image as PillowImage

from swin_umamba.data.formats import format_of
from swin_umamba.data.image_io import (
    Image,
    image_suffixes,
    num_channels_of,
    read_case,
    read_image,
    read_labels,
    shape_of,
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


SHAPES = [(1, 5, 4), (3, 5, 4), (1, 6, 5, 4), (2, 6, 5, 4), (1, 1, 5, 4)]
"""(channels, [z,] y, x)"""


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("suffix", [each for each in image_suffixes() if format_of(f"a{each}").encode])
def test_the_shape_is_that_of_what_is_read(
    tmp_path: Path, suffix: str, shape: tuple[int, ...], dtype: type[np.integer]
) -> None:
    path = tmp_path / f"a{suffix}"
    data = np.random.default_rng(0).integers(0, 255, shape).astype(dtype)
    like = Image.without_geometry(data, path)
    content = format_of(path).encode(data, like, suffix)  # type: ignore[misc]
    if content is None:
        pytest.skip("the format holds no such image")
    path.write_bytes(content)
    assert shape_of(path) == read_image(path).data.shape
    path.write_bytes(content[: len(content) // 2])  # of the voxels, or of the header
    with contextlib.suppress(DataError):
        assert shape_of(path) == shape


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
@pytest.mark.parametrize("suffix", [".png", ".bmp", ".jpg", ".tif"])
def test_the_channels_of_pictures_are_those_that_are_read(tmp_path: Path, suffix: str, mode: str) -> None:
    grey = PillowImage.fromarray(np.full((7, 5), 255, np.uint8))
    picture = PillowImage.new("I;16", (5, 7)) if mode == "I;16" else grey.convert(mode)
    try:
        picture.save(tmp_path / f"a{suffix}")
    except OSError:
        pytest.skip("the format holds no such picture")
    assert shape_of(tmp_path / f"a{suffix}") == read_image(tmp_path / f"a{suffix}").data.shape


@pytest.mark.parametrize(
    ("photometric", "extra", "samples"),
    [("rgb", ("unassalpha",), 4), ("minisblack", ("unspecified",), 2), ("minisblack", ("assocalpha",), 2)],
)
def test_the_channels_of_tiff_files_with_extra_samples(
    tmp_path: Path, photometric: str, extra: tuple[str, ...], samples: int
) -> None:
    path = tmp_path / "a.tif"
    pixels = np.full((9, 8, samples), 255, np.uint8)
    tifffile.imwrite(path, pixels, photometric=photometric, extrasamples=extra, planarconfig="contig")
    assert shape_of(path) == read_image(path).data.shape


def test_headers_that_claim_too_much_are_refused(tmp_path: Path) -> None:
    nrrd = "NRRD0004\ntype: uchar\ndimension: 3\nsizes: 99999 99999 99999\nencoding: gzip\n\n"
    (tmp_path / "a.nrrd").write_text(nrrd)
    mha = "ObjectType = Image\nNDims = 3\nDimSize = 99999 99999 99999\nElementType = MET_UCHAR\n"
    (tmp_path / "a.mha").write_text(mha + "ElementDataFile = LOCAL\n")
    picture = save_png(tmp_path / "a.png", np.zeros((4, 5), np.uint8)).read_bytes()
    ihdr = b"IHDR" + struct.pack(">IIBBBBB", 2**31 - 1, 2**31 - 1, 8, 0, 0, 0, 0)
    changed = picture[:12] + ihdr + struct.pack(">I", zlib.crc32(ihdr)) + picture[33:]
    (tmp_path / "a.png").write_bytes(changed)
    for name in ("a.nrrd", "a.mha", "a.png"):
        with pytest.raises(DataError, match=name) as caught:
            shape_of(tmp_path / name)
        with pytest.raises(DataError) as as_read:
            read_image(tmp_path / name)
        assert caught.value.what == as_read.value.what
    assert shape_of(tmp_path) is None


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
