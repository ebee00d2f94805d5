"""NIfTI files: values, geometry, and what happens to damaged and hostile ones."""

from __future__ import annotations

import gzip
import struct
import tracemalloc
from pathlib import Path

import nibabel
import numpy as np
import pytest

from swin_umamba.data.image_io import read_image, read_labels, write_labels
from swin_umamba.errors import DataError

OBLIQUE = np.array([[0.0, -1.4, 0.1, 10], [0.8, 0.0, 0.0, -20], [0.0, 0.05, 5.0, 30], [0, 0, 0, 1]])


@pytest.fixture
def voxels() -> np.ndarray:
    """An (x, y, z) volume with another value in each voxel."""
    return np.arange(4 * 5 * 3, dtype=np.int16).reshape(4, 5, 3)


def save(path: Path, array: np.ndarray, affine: np.ndarray | None = None) -> Path:
    nibabel.save(nibabel.Nifti1Image(array, np.eye(4) if affine is None else affine), path)
    return path


def header_field(path: Path, offset: int, form: str, *values: float) -> None:
    """Overwrite a field of the header of a ``.nii`` file."""
    content = bytearray(path.read_bytes())
    struct.pack_into(form, content, offset, *values)
    path.write_bytes(content)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_axes_and_geometry_are_those_of_simpleitk(tmp_path: Path, voxels: np.ndarray, suffix: str) -> None:
    sitk = pytest.importorskip("SimpleITK")
    affine = np.diag([-0.8, 1.4, 5.0, 1.0])
    affine[:3, 3] = 10, -20, 30
    path = save(tmp_path / f"a{suffix}", voxels, affine)
    image = read_image(path)
    np.testing.assert_array_equal(image.data[0], sitk.GetArrayFromImage(sitk.ReadImage(str(path))))
    assert image.data.dtype == np.int16
    assert image.data.shape == (1, 3, 5, 4)
    assert image.spacing == pytest.approx((5.0, 1.4, 0.8))
    assert image.origin == pytest.approx((10, -20, 30))
    np.testing.assert_allclose(image.direction, [[0, 0, 1], [0, 1, 0], [-1, 0, 0]], atol=1e-6)


def test_fourth_axis_becomes_channels(tmp_path: Path) -> None:
    array = np.random.default_rng(0).normal(size=(4, 5, 3, 2)).astype(np.float32)
    image = read_image(save(tmp_path / "a.nii.gz", array))
    np.testing.assert_array_equal(image.data, array.transpose(3, 2, 1, 0))
    assert len(image.spacing) == 3


def test_two_axes_and_trailing_ones(tmp_path: Path, voxels: np.ndarray) -> None:
    image = read_image(save(tmp_path / "flat.nii", voxels[..., 0]))
    np.testing.assert_array_equal(image.data, voxels[..., 0].T[None])
    assert len(image.spacing) == len(image.direction) == 2
    image = read_image(save(tmp_path / "one.nii", voxels[..., None, None]))
    np.testing.assert_array_equal(image.data, voxels.transpose(2, 1, 0)[None])


def test_big_endian_and_nifti2(tmp_path: Path, voxels: np.ndarray) -> None:
    swapped = nibabel.Nifti1Image(voxels, np.eye(4), nibabel.Nifti1Header(endianness=">"))
    nibabel.save(swapped, tmp_path / "big.nii")
    assert (tmp_path / "big.nii").read_bytes()[:4] == b"\x00\x00\x01\x5c"
    nibabel.save(nibabel.Nifti2Image(voxels, np.eye(4)), tmp_path / "two.nii.gz")
    for name in ("big.nii", "two.nii.gz"):
        data = read_image(tmp_path / name).data
        np.testing.assert_array_equal(data[0], voxels.transpose(2, 1, 0))
        assert data.dtype.isnative


def test_intensity_scaling_is_applied(tmp_path: Path, voxels: np.ndarray) -> None:
    path = save(tmp_path / "a.nii", voxels)
    header_field(path, 112, "<2f", 0.5, -3.0)
    image = read_image(path)
    np.testing.assert_array_equal(image.data[0], voxels.transpose(2, 1, 0) * np.float32(0.5) - 3)
    assert image.data.dtype == np.float32


def test_decompression_bomb_stops_at_the_size_of_the_header(tmp_path: Path, voxels: np.ndarray) -> None:
    content = save(tmp_path / "a.nii", voxels).read_bytes()
    bomb = tmp_path / "bomb.nii.gz"
    bomb.write_bytes(gzip.compress(content + bytes(200_000_000), compresslevel=1))
    tracemalloc.start()
    with pytest.raises(DataError, match="more data"):
        read_image(bomb)
    assert tracemalloc.get_traced_memory()[1] < 20e6
    tracemalloc.stop()


def test_voxel_limit(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii", np.zeros((2, 2, 2), np.uint8))
    header_field(path, 40, "<4h", 3, 30000, 30000, 30000)
    with pytest.raises(DataError, match="limit"):
        read_image(path)


@pytest.mark.parametrize(
    ("offset", "form", "values", "message"),
    [
        (0, "<i", (349,), "header"),
        (344, "<4s", (b"ni1\0",), "single-file"),
        (40, "<h", (0,), "shape"),
        (40, "<h", (9,), "shape"),
        (42, "<h", (0,), "shape"),
        (42, "<h", (-4,), "shape"),
        (42, "<h", (3,), "more data"),
        (42, "<h", (5,), "does not hold"),
        (70, "<h", (32,), "not supported"),
        (70, "<h", (128,), "not supported"),
        (70, "<h", (77,), "unknown voxel type"),
        (72, "<h", (8,), "contradicts itself"),
        (80, "<f", (float("nan"),), "spacing"),
        (80, "<f", (-1.0,), "spacing"),
        (80, "<f", (2.5,), "contradicts itself"),
        (108, "<f", (100.0,), "places the voxels"),
        (108, "<f", (float("inf"),), "places the voxels"),
        (112, "<f", (float("inf"),), "scaling"),
        (280, "<4f", (0.0, 0.0, 0.0, 0.0), "singular"),
        (280, "<4f", (float("nan"), 0.0, 0.0, 0.0), "NaN or infinity"),
    ],
)
def test_damaged_header_fields(
    tmp_path: Path, voxels: np.ndarray, offset: int, form: str, values: tuple, message: str
) -> None:
    path = save(tmp_path / "a.nii", voxels)
    header_field(path, offset, form, *values)
    with pytest.raises(DataError, match=message) as caught:
        read_image(path)
    assert caught.value.where == str(path)
    assert caught.value.cure


def test_complex_voxels(tmp_path: Path, voxels: np.ndarray) -> None:
    with pytest.raises(DataError, match="not supported"):
        read_image(save(tmp_path / "a.nii.gz", voxels.astype(np.complex64)))


def test_several_channel_axes(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="three spatial axes"):
        read_image(save(tmp_path / "a.nii.gz", np.zeros((3, 3, 3, 2, 2), np.uint8)))


@pytest.mark.parametrize(("name", "compress"), [("a.nii", True), ("a.nii.gz", False)])
def test_wrong_suffix(tmp_path: Path, voxels: np.ndarray, name: str, compress: bool) -> None:
    content = save(tmp_path / "right.nii", voxels).read_bytes()
    (tmp_path / name).write_bytes(gzip.compress(content) if compress else content)
    with pytest.raises(DataError, match="its name says otherwise"):
        read_image(tmp_path / name)


@pytest.mark.parametrize("nifti", [nibabel.Nifti1Image, nibabel.Nifti2Image])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_labels_are_written_with_the_orientation_of_the_image(
    tmp_path: Path, voxels: np.ndarray, nifti: type, suffix: str
) -> None:
    original = nifti(voxels.astype(np.float32) / 7, OBLIQUE)
    original.set_qform(np.diag([0.8, 1.4, 5.0, 1.0]), code=1)
    original.set_sform(OBLIQUE, code=4)
    original.header["pixdim"][1:4] = np.linalg.norm(OBLIQUE[:3, :3], axis=0)
    original.header.set_slope_inter(0.5, 2)
    nibabel.save(original, tmp_path / "image.nii.gz")
    image = read_image(tmp_path / "image.nii.gz")
    labels = np.random.default_rng(0).integers(0, 14, image.spatial_shape)
    path = tmp_path / f"labels{suffix}"
    write_labels(path, labels, image)

    np.testing.assert_array_equal(read_labels(path).data[0], labels)
    written, source = nibabel.load(path), nibabel.load(tmp_path / "image.nii.gz")
    np.testing.assert_array_equal(np.asarray(written.dataobj), labels.transpose(2, 1, 0))
    assert written.get_data_dtype() == np.uint8
    np.testing.assert_array_equal(written.affine, source.affine)
    orientation = ("qform_code", "sform_code", "pixdim", "quatern_b", "quatern_c", "quatern_d")
    offsets = ("qoffset_x", "qoffset_y", "qoffset_z", "srow_x", "srow_y", "srow_z", "xyzt_units")
    for field in orientation + offsets:
        np.testing.assert_array_equal(written.header[field], source.header[field], err_msg=field)
    first = path.read_bytes()
    write_labels(path, labels, image)
    assert path.read_bytes() == first


def test_units_other_than_mm_are_named(
    tmp_path: Path, voxels: np.ndarray, caplog: pytest.LogCaptureFixture
) -> None:
    image = nibabel.Nifti1Image(voxels, np.eye(4))
    image.header.set_xyzt_units("micron")
    nibabel.save(image, tmp_path / "a.nii")
    assert read_image(tmp_path / "a.nii").spacing == (1.0, 1.0, 1.0)
    assert "micrometres" in caplog.text
