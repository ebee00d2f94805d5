"""MetaImages: what is refused, what is never opened, and what is written."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import pytest

from data.metaimage_files import VOXELS, save
from swin_umamba.data.image import Image
from swin_umamba.data.image_io import check_same_grid, read_image, read_labels, write_image, write_labels
from swin_umamba.errors import DataError


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"ObjectType": "Tube"}, "holds a Tube"),
        ({"NDims": "5", "DimSize": "4 3 2 1 1"}, "5 axes"),
        ({"NDims": "1_0"}, "NDims must be 1 whole numbers"),
        ({"DimSize": "4 3"}, "DimSize must be 3"),
        ({"DimSize": "4 0 2"}, "impossible size"),
        ({"DimSize": "4 -3 -2"}, "impossible size"),
        ({"DimSize": "40000 30000 20000"}, "the limit is"),
        ({"DimSize": "4 3 3"}, "holds 24 bytes of data and should hold 36"),
        ({"DimSize": "4 3 1"}, "more data"),
        ({"ElementType": "MET_STRING"}, "not supported"),
        ({"ElementNumberOfChannels": "0"}, "impossible size"),
        ({"ElementSpacing": "1 1 nan"}, "3 numbers"),
        ({"ElementSpacing": "1 1 0"}, "spacing must be positive"),
        ({"ElementSpacing": "1 1 1", "elementspacing": "1 1 2"}, "contradicts itself about elementspacing"),
        ({"Offset": "1 2 3", "Origin": "1 2 4"}, "contradicts itself about Offset"),
        ({"Offset": "1 2 inf"}, "3 numbers"),
        ({"TransformMatrix": "1 0 0 0 1 0 1 0 0"}, "0 degrees apart"),
        ({"TransformMatrix": "1 0 0 0 1 0 0 0.001 0.9999995"}, "89.94 degrees apart"),
        ({"TransformMatrix": "2 0 0 0 1 0 0 0 1"}, "lengths"),
        ({"TransformMatrix": "1 0 0 0 1 0 0 0 0"}, "lengths"),
        ({"DistanceUnits": "furlong"}, "not supported"),
        ({"ElementToIntensityFunctionSlope": "2"}, "not supported"),
        ({"ElementToIntensityFunctionOffset": "-1024"}, "not supported"),
        ({"CompressedData": "maybe"}, "True or False"),
        ({"CompressedData": "True"}, "compressed voxels are damaged"),
        ({"CompressedData": "True", "CompressedDataSize": "7"}, "24 bytes follow"),
        ({"CompressedData": "True", "BinaryData": "False"}, "not supported"),
        ({"CompressedData": "True", "HeaderSize": "-1"}, "not supported"),
        ({"HeaderSize": "3"}, "not supported"),
        ({"BinaryData": "False"}, "numbers"),
    ],
)
def test_headers_that_contradict_themselves_or_are_unusual(
    tmp_path: Path, fields: dict[str, str], why: str
) -> None:
    with pytest.raises(DataError, match=why):
        read_image(save(tmp_path / "a.mha", **fields))


def test_files_that_are_no_metaimages(tmp_path: Path) -> None:
    for content in (b"\0" * 1000, b"\x89PNG\r\n", b"NRRD0004\n", b"NDims = 3\n", b"x" * 2**25, b"= 4\n= 5\n"):
        (tmp_path / "a.mha").write_bytes(content)
        with pytest.raises(DataError, match=r"no header of a MetaImage|does not end"):
            read_image(tmp_path / "a.mha")


@pytest.mark.parametrize(
    "values", ["1 2 3 4 5 6 7", "1 2 3 4 5 x", "1 2 3 4 5 256", "1 2 3 4 5 6.5", "1 2 3 4 5 1_0"]
)
def test_text_that_does_not_hold_the_voxels(tmp_path: Path, values: str) -> None:
    path = save(tmp_path / "a.mha", values.encode(), DimSize="3 2 1", BinaryData="False")
    with pytest.raises(DataError, match=r"numbers|voxels from"):
        read_image(path)


def test_compressed_voxels_are_checked_to_the_last_byte(tmp_path: Path) -> None:
    packed = zlib.compress(VOXELS.tobytes())
    wrong = bytearray(packed)
    wrong[-1] ^= 1
    for content in (
        packed[:-1],
        bytes(wrong),
        packed + b"x",
        zlib.compress(bytes(25)),
        zlib.compress(bytes(23)),
    ):
        with pytest.raises(DataError, match="voxels"):
            read_image(save(tmp_path / "a.mha", content, CompressedData="True"))
    assert read_image(save(tmp_path / "a.mha", packed, CompressedData="True")).data.sum() == VOXELS.sum()


def test_a_link_within_the_folder_is_followed(tmp_path: Path) -> None:
    (tmp_path / "b.raw").write_bytes(VOXELS.tobytes())
    (tmp_path / "a.raw").symlink_to("b.raw")
    image = read_image(save(tmp_path / "a.mhd", b"", "a.raw"))
    np.testing.assert_array_equal(image.data.ravel(), VOXELS)


@pytest.mark.parametrize(
    "pattern", ["a%s.raw 1 2 1", "a%99999999d.raw 1 2 1", "a%d%d.raw 1 2 1", "a%d.raw 1 2 0"]
)
def test_patterns_that_stand_for_something_else(tmp_path: Path, pattern: str) -> None:
    with pytest.raises(DataError, match="pattern"):
        read_image(save(tmp_path / "a.mhd", b"", pattern))


def test_a_pattern_or_list_of_too_many_files(tmp_path: Path) -> None:
    for place, names in (("a%d.raw 1 99999999999 1", b""), ("LIST", b"a.raw\n" * 99999), ("LIST", b"")):
        with pytest.raises(DataError, match="files"):
            read_image(save(tmp_path / "a.mhd", names, place))


def oblique(shape: tuple[int, ...], path: Path) -> Image:
    """An image whose grid needs all digits of its numbers."""
    rows, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))
    data = np.random.default_rng(0).normal(size=(1, *shape)).astype(np.float32)
    return Image(
        data, (1 / 3, 0.7, np.pi), (-100 / 7, 1e-9, 12345.678901234567), tuple(map(tuple, rows)), path
    )


@pytest.mark.parametrize("suffix", [".mha", ".mhd", ".nrrd", ".nhdr", ".seg.nrrd"])
def test_what_is_written_keeps_every_digit(tmp_path: Path, suffix: str) -> None:
    sitk = pytest.importorskip("SimpleITK")
    image = oblique((3, 4, 5), tmp_path)
    labels = np.arange(60).reshape(3, 4, 5)
    write_labels(tmp_path / f"labels{suffix}", labels, like=image)
    again = read_labels(tmp_path / f"labels{suffix}")
    np.testing.assert_array_equal(again.data[0], labels)
    assert again.data.dtype == np.uint8
    np.testing.assert_allclose(again.spacing, image.spacing, rtol=1e-15)
    np.testing.assert_allclose(again.origin, image.origin, rtol=1e-15)
    np.testing.assert_allclose(again.direction, image.direction, atol=1e-15)
    seen = sitk.ReadImage(str(tmp_path / f"labels{suffix}"))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(seen), labels)
    np.testing.assert_allclose(seen.GetSpacing(), image.spacing[::-1], rtol=1e-15)
    np.testing.assert_allclose(np.array(seen.GetOrigin()) * (-1, -1, 1), image.origin, rtol=1e-15)
    axes = np.reshape(seen.GetDirection(), (3, 3)).T * (-1, -1, 1)
    np.testing.assert_allclose(axes[::-1], image.direction, atol=1e-15)
    if suffix == ".seg.nrrd":
        with pytest.raises(DataError, match="cannot hold an image"):
            write_image(tmp_path / f"image{suffix}", image)
        return
    write_image(tmp_path / f"image{suffix}", image)
    np.testing.assert_array_equal(read_image(tmp_path / f"image{suffix}").data, image.data)


@pytest.mark.parametrize("suffix", [".mha", ".nrrd"])
@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "u4", "i4", "f4", "f8"])
def test_every_type_of_voxel_is_written(tmp_path: Path, suffix: str, dtype: str) -> None:
    data = np.array([[[0, 1], [2, 100]]]).astype(dtype)
    path = tmp_path / f"a{suffix}"
    write_image(path, Image.without_geometry(data, tmp_path))
    again = read_image(path)
    assert again.data.dtype == dtype
    np.testing.assert_array_equal(again.data, data)
    assert (again.has_spacing, again.has_orientation) == (False, False)
    with pytest.raises(DataError, match="cannot hold an image"):
        write_image(path, Image.without_geometry(np.zeros((2, 3, 3), np.uint8), tmp_path))


@pytest.mark.parametrize("suffix", [".mha", ".nrrd"])
def test_flat_images(tmp_path: Path, suffix: str) -> None:
    """In the plane of x and y ITK can read them; in others only NRRD says where they lie."""
    sitk = pytest.importorskip("SimpleITK")
    data = np.arange(6, dtype=np.uint8).reshape(1, 2, 3)
    path = tmp_path / f"a{suffix}"
    flat = Image(data, (0.5, 0.25), (-3.0, -4.0, 0.0), ((0.0, -1.0, 0.0), (-1.0, 0.0, 0.0)), tmp_path)
    write_image(path, flat)
    check_same_grid(flat, read_image(path))
    seen = sitk.ReadImage(str(path))
    assert (seen.GetSpacing(), seen.GetOrigin()) == ((0.25, 0.5), (3.0, 4.0))
    assert seen.GetDirection() == (1.0, 0.0, 0.0, 1.0)
    coronal = Image(data, (0.5, 0.25), (-3.0, -4.0, 7.0), ((0.0, 0.0, 1.0), (-1.0, 0.0, 0.0)), tmp_path)
    if suffix == ".mha":
        with pytest.raises(DataError, match="no place in the third dimension"):
            write_image(path, coronal)
    else:
        write_image(path, coronal)
        again = read_image(path)
        assert (again.origin, again.direction) == (coronal.origin, coronal.direction)
