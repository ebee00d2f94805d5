"""NIfTI files: values, geometry, and what happens to damaged and hostile ones."""

from __future__ import annotations

import gzip
import struct
import time
import tracemalloc
from pathlib import Path

import nibabel
import numpy as np
import pytest

from swin_umamba.data.image_io import read_image, read_labels, write_labels
from swin_umamba.errors import DataError

OBLIQUE = np.array([[0.0, -1.4, 0.1, 10], [0.8, 0.0, 0.0, -20], [0.0, 0.05, 5.0, 30], [0, 0, 0, 1]])
NUM_MUTATIONS = 2000


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


def test_truncated_gzip(tmp_path: Path) -> None:
    array = np.random.default_rng(0).integers(0, 1000, (20, 20, 20)).astype(np.int16)
    path = save(tmp_path / "a.nii.gz", array)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])
    with pytest.raises(DataError, match="damaged") as caught:
        read_image(path)
    assert caught.value.where == str(path)


def test_one_flipped_bit_in_gzip_is_never_silent(tmp_path: Path, voxels: np.ndarray) -> None:
    path = save(tmp_path / "a.nii.gz", voxels)
    content = path.read_bytes()
    expected = read_image(path).data
    refused = 0
    for bit in range(0, 8 * len(content), 3):
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        try:
            np.testing.assert_array_equal(read_image(path).data, expected)  # gzip's own time stamp and name
        except DataError:
            refused += 1
    # Only gzip's header (time, flags, system, file name) may change without a consequence for the voxels.
    assert refused >= 8 * (len(content) - 24) / 3


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_header_that_claims_gigabytes_costs_nothing(tmp_path: Path, suffix: str) -> None:
    path = save(tmp_path / "a.nii", np.zeros((2, 2, 2), np.int16))
    header_field(path, 40, "<4h", 3, 1000, 1000, 1000)
    content = path.read_bytes()[:352]
    hostile = tmp_path / f"hostile{suffix}"
    hostile.write_bytes(gzip.compress(content) if suffix == ".nii.gz" else content)
    tracemalloc.start()
    start = time.perf_counter()
    with pytest.raises(DataError, match="does not hold"):
        read_image(hostile)
    assert time.perf_counter() - start < 1
    assert tracemalloc.get_traced_memory()[1] < 20e6
    tracemalloc.stop()


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


def test_mutated_headers_and_truncations(tmp_path: Path, voxels: np.ndarray) -> None:
    """Whatever a header says: a DataError, or exactly what an independent reader makes of the same bytes."""
    content = save(tmp_path / "a.nii", voxels, OBLIQUE).read_bytes()
    rng = np.random.default_rng(5)
    path = tmp_path / "mutated.nii"
    accepted = 0
    for number in range(NUM_MUTATIONS):
        mutated = bytearray(content)
        if number % 4 == 0:
            del mutated[int(rng.integers(0, len(mutated))) :]
        for _ in range(rng.integers(1, 4)):
            if mutated:
                mutated[int(rng.integers(0, min(352, len(mutated))))] = rng.integers(0, 256)
        path.write_bytes(mutated)
        try:
            image = read_image(path)
        except DataError:
            continue
        accepted += 1
        oracle = nibabel.Nifti1Image.from_bytes(bytes(mutated))
        expected = np.asarray(oracle.dataobj, np.float64)
        np.testing.assert_allclose(
            image.data.astype(np.float64).reshape(-1), expected.ravel(order="F"), rtol=1e-6
        )
        assert np.isfinite([*image.spacing, *image.origin, *np.ravel(image.direction)]).all()
    assert NUM_MUTATIONS / 4 < accepted < NUM_MUTATIONS * 3 / 4  # both outcomes were tried


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
