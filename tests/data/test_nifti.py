"""NIfTI files: values, geometry, and what happens to damaged and hostile ones."""

from __future__ import annotations

import gzip
from pathlib import Path

import nibabel
import numpy as np
import pytest

from conformance.nifti_files import (
    FIELDS,
    HEADER_BYTES,
    VOXEL_TYPES,
    extension,
    field_of,
    nifti_file,
    rotation,
)
from faults.fault_files import header_field
from little_memory import little_memory
from swin_umamba.data.image_io import Image, check_same_grid, read_image, read_labels, write_labels
from swin_umamba.data.nifti import encode_nifti
from swin_umamba.errors import DataError, GeometryError

OBLIQUE = np.array(
    [[0, -1.4 * 0.8, 5 * 0.6, 10], [0.8, 0, 0, -20], [0, 1.4 * 0.6, 5 * 0.8, 30], [0, 0, 0, 1]]
)


@pytest.fixture
def voxels() -> np.ndarray:
    """An (x, y, z) volume with another value in each voxel."""
    return np.arange(4 * 5 * 3, dtype=np.int16).reshape(4, 5, 3)


def save(path: Path, array: np.ndarray, affine: np.ndarray | None = None) -> Path:
    nibabel.save(nibabel.Nifti1Image(array, np.eye(4) if affine is None else affine), path)
    return path


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


def test_decompression_bomb_stops_at_the_size_of_the_header(tmp_path: Path, voxels: np.ndarray) -> None:
    content = save(tmp_path / "a.nii", voxels).read_bytes()
    bomb = tmp_path / "bomb.nii.gz"
    bomb.write_bytes(gzip.compress(content + bytes(200_000_000), compresslevel=1))
    with little_memory(20e6), pytest.raises(DataError, match="more data"):
        read_image(bomb)


@pytest.mark.parametrize(
    ("offset", "form", "values", "message"),
    [
        (0, "<i", (349,), "header"),
        (344, "<4s", (b"ni1\0",), "pair, which is not supported"),
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
        (123, "<b", (4,), "unit"),
        (252, "<h", (6,), "codes"),
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
    assert caught.value.hint


@pytest.mark.parametrize(("name", "compress"), [("a.nii", True), ("a.nii.gz", False)])
def test_wrong_suffix(tmp_path: Path, voxels: np.ndarray, name: str, compress: bool) -> None:
    content = save(tmp_path / "right.nii", voxels).read_bytes()
    (tmp_path / name).write_bytes(gzip.compress(content) if compress else content)
    with pytest.raises(DataError, match="its name says otherwise"):
        read_image(tmp_path / name)


SECRETS = {
    "db_name": b"Jane Doe",
    "descrip": b"Jane Doe 1961-02-03",
    "aux_file": b"jane_doe.mat",
    "intent_name": b"Jane",
}


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("endian", ["<", ">"])
@pytest.mark.parametrize("unit", [0, 1, 2, 3])
def test_label_maps_lie_where_the_image_does_and_tell_nothing_else(
    tmp_path: Path, suffix: str, version: int, endian: str, unit: int
) -> None:
    values = np.arange(60, dtype=np.float32).reshape(4, 5, 3)
    place = {
        "pixdim": (-1, 0.8, 1.4, 5, 7),
        "xyzt_units": unit | 16,
        "qform_code": 1,
        "sform_code": 4,
        "quatern": (0.31622777, 0.31622777, 0.63245553),
        "qoffset": (10, -20, 30),
    }
    # The matrix of that quaternion, its third axis turned round, times the spacing.
    turned = rotation(np.array([np.sqrt(0.4), *place["quatern"]])) * [0.8, 1.4, -5]
    place["srow"] = np.column_stack([turned, place["qoffset"]]).ravel()
    secrets = {name: text for name, text in SECRETS.items() if name in FIELDS[version]}
    content = nifti_file(
        values,
        version=version,
        endian=endian,
        between=extension(b"Jane Doe, born in 1961", endian),
        scl=(0.5, 2),
        cal=(3, 9),
        toffset=11,
        intent_code=5,
        **place,
        **secrets,
    )
    (tmp_path / "image.nii").write_bytes(content)
    image = read_image(tmp_path / "image.nii")
    labels = np.random.default_rng(0).integers(0, 14, image.spatial_shape)
    path = tmp_path / f"labels{suffix}"
    write_labels(path, labels, image)

    np.testing.assert_array_equal(read_labels(path).data[0], labels)
    check_same_grid(read_labels(path), image)
    written = path.read_bytes()
    unpacked = gzip.decompress(written) if suffix == ".nii.gz" else written
    for name in ("qform_code", "sform_code", "quatern", "qoffset", "srow"):
        assert field_of(unpacked, name) == field_of(content, name), name
    assert field_of(unpacked, "pixdim") == (*field_of(content, "pixdim")[:4], 1, 1, 1, 1)
    assert field_of(unpacked, "xyzt_units") == (unit,)
    assert field_of(unpacked, "datatype") == (VOXEL_TYPES["u1"],)
    assert field_of(unpacked, "scl") == (1, 0)
    for name in ("cal", "toffset", "intent_code", *secrets):
        assert not any(
            field_of(unpacked, name)[0].strip(b"\0") if name in secrets else field_of(unpacked, name)
        ), name
    assert len(unpacked) == HEADER_BYTES[version] + 4 + labels.size
    assert b"Jane" not in unpacked
    assert b"jane" not in unpacked
    write_labels(path, labels, image)
    assert path.read_bytes() == written


@pytest.mark.parametrize("unit", [0, 1, 2, 3])
@pytest.mark.parametrize(
    "place", [{}, {"sform_code": 2}, {"qform_code": 1}, {"sform_code": 1, "qform_code": 1}]
)
def test_label_maps_lie_on_the_image_in_nibabel_and_simpleitk(tmp_path: Path, unit: int, place: dict) -> None:
    sitk = pytest.importorskip("SimpleITK")
    quaternion = np.array([0.5, -0.5, 0.5, 0.5])
    content = nifti_file(
        np.zeros((4, 5, 3), np.int16),
        pixdim=(1, 0.8, 1.4, 5),
        xyzt_units=unit,
        quatern=quaternion[1:],
        qoffset=(10, -20, 30),
        srow=np.column_stack([rotation(quaternion) * [0.8, 1.4, 5], (10, -20, 30)]).ravel(),
        **place,
    )
    source, written = tmp_path / "image.nii", tmp_path / "labels.nii.gz"
    source.write_bytes(content)
    image = read_image(source)
    write_labels(written, np.ones((3, 5, 4), int), image)
    one, other = nibabel.load(source), nibabel.load(written)
    np.testing.assert_array_equal(one.affine, other.affine)
    assert one.header.get_xyzt_units() == other.header.get_xyzt_units()
    one, other = sitk.ReadImage(str(source)), sitk.ReadImage(str(written))
    for which in ("GetSpacing", "GetOrigin", "GetDirection"):
        assert getattr(one, which)() == getattr(other, which)()
    scale = {0: 1, 1: 1000, 2: 1, 3: 0.001}[unit]
    np.testing.assert_allclose(image.spacing, np.array([5, 1.4, 0.8]) * scale, rtol=1e-7)
    assert image.has_orientation == bool(place)


@pytest.mark.parametrize("first", [0.0, 1e-4, 1e-3, 0.02])
def test_forms_agree_near_half_a_turn(tmp_path: Path, first: float) -> None:
    """The first component of the quaternion is computed from the others, which float32 holds too coarsely."""
    quaternion = np.array([first, 0.6, 0.0, 0.8]) / np.sqrt(1 + first**2)
    srow = np.column_stack([rotation(quaternion), (100, -200, 300)]).ravel()
    content = nifti_file(
        np.zeros((3, 4, 5), np.uint8),
        sform_code=1,
        qform_code=1,
        srow=srow,
        quatern=quaternion[1:],
        qoffset=(100, -200, 300),
    )
    (tmp_path / "a.nii").write_bytes(content)
    np.testing.assert_allclose(
        read_image(tmp_path / "a.nii").direction[::-1], rotation(quaternion).T, atol=1e-6
    )


def test_headers_without_orientation_lie_on_the_same_grid_as_any(tmp_path: Path) -> None:
    """Nibabel centres such an image and mirrors it, SimpleITK does neither: none of this is in the file."""
    voxels = np.zeros((4, 5, 3), np.uint8)
    place = {"pixdim": (1, 2, 3, 4)}
    (tmp_path / "none.nii").write_bytes(nifti_file(voxels, **place))
    affine = np.array([[-2, 0, 0, 90], [0, -3, 0, 126], [0, 0, 4, -72]])
    (tmp_path / "other.nii").write_bytes(nifti_file(voxels, sform_code=1, srow=affine.ravel(), **place))
    (tmp_path / "larger.nii").write_bytes(nifti_file(voxels, pixdim=(1, 2, 3, 4.1)))
    none, other = read_image(tmp_path / "none.nii"), read_image(tmp_path / "other.nii")
    assert (none.has_orientation, other.has_orientation) == (False, True)
    assert none.spacing == (4, 3, 2)
    check_same_grid(none, other)
    check_same_grid(other, none)
    with pytest.raises(GeometryError, match="spacing"):
        check_same_grid(read_image(tmp_path / "larger.nii"), other)


@pytest.mark.parametrize(
    ("scl", "dtype", "raw", "labels"),
    [
        ((1, 0), "u2", 40000, 40000),
        ((0, 0), "u2", 40000, 40000),
        ((float("nan"), float("nan")), "i4", 2**24 + 1, 2**24 + 1),
        ((float("nan"), 0), "i4", 2**24 + 1, 2**24 + 1),
        ((2, 0), "u1", 3, 6),
        ((2, 1), "i4", 2**24 + 1, 2**25 + 3),
        ((0.1, 0), "u1", 250, 25),
        ((1 / 255, 0), "u1", 255, 1),
        ((-1, 4), "i2", -3, 7),
        ((0.5, 0), "u1", 3, None),
        ((1, 0.001), "u1", 3, None),
        ((-1, 0), "u1", 3, None),
    ],
)
def test_scaled_label_maps_are_right_or_refused(
    tmp_path: Path, scl: tuple[float, float], dtype: str, raw: int, labels: int | None
) -> None:
    path = tmp_path / "a.nii"
    path.write_bytes(nifti_file(np.full((2, 3, 1), raw, dtype), scl=scl))
    if labels is None:
        with pytest.raises(DataError, match="whole numbers"):
            read_labels(path)
        return
    data = read_labels(path).data
    assert data.dtype.kind in "iu"
    assert np.unique(data).tolist() == [labels]


def test_flat_images_keep_their_axes(tmp_path: Path) -> None:
    voxels = np.arange(20, dtype=np.int16).reshape(5, 4)
    for shape in ((5, 4), (5, 4, 1), (5, 1, 4), (1, 5, 4)):
        (tmp_path / "a.nii").write_bytes(nifti_file(voxels.reshape(shape), pixdim=(1, 2, 3, 4)))
        image = read_image(tmp_path / "a.nii")
        np.testing.assert_array_equal(image.data[0].ravel(), voxels.T.ravel())
        assert image.spatial_shape == shape[::-1]
        assert image.spacing == (4, 3, 2)[-len(shape) :]


def test_a_flat_image_in_any_plane_can_be_written(tmp_path: Path) -> None:
    """Its header is made of two axes, which need not be those of x and y."""
    image = Image(
        data=np.ones((1, 3, 4), np.uint8),
        spacing=(0.5, 0.25),
        origin=(1.0, 2.0, 3.0),
        direction=((0.0, 0.0, -1.0), (0.0, 1.0, 0.0)),
        path=tmp_path / "a.dcm",
    )
    write_labels(tmp_path / "a.nii", np.ones((3, 4), int), image)
    back = read_labels(tmp_path / "a.nii")
    check_same_grid(back, image)
    assert back.spacing == image.spacing
    np.testing.assert_array_equal(
        nibabel.load(tmp_path / "a.nii").affine[:3, :2], [[0, 0], [0.25, 0], [0, -0.5]]
    )


def test_labels_of_a_picture_have_no_place_in_the_world(tmp_path: Path) -> None:
    picture = Image.without_geometry(np.zeros((3, 4, 5), np.uint8), tmp_path / "a.png")
    write_labels(tmp_path / "a.nii.gz", np.ones((4, 5), int), picture)
    content = (tmp_path / "a.nii.gz").read_bytes()
    for name in ("xyzt_units", "qform_code", "sform_code"):
        assert field_of(content, name) == (0,)
    assert not read_labels(tmp_path / "a.nii.gz").has_orientation


def test_pictures_wider_than_nifti1_can_say(tmp_path: Path) -> None:
    picture = Image.without_geometry(np.zeros((1, 1, 40000), np.uint8), tmp_path / "a.png")
    write_labels(tmp_path / "a.nii", np.ones((1, 40000), int), picture)
    assert read_labels(tmp_path / "a.nii").spatial_shape == (1, 40000)


@pytest.mark.parametrize("dtype", [np.complex64, np.longdouble, np.float16])
def test_voxels_that_nifti_does_not_hold(tmp_path: Path, dtype: type) -> None:
    picture = Image.without_geometry(np.zeros((1, 4, 5), dtype), tmp_path / "a.png")
    assert encode_nifti(picture.data, picture, ".nii") is None
    assert encode_nifti(np.zeros((2, 4, 5), np.uint8), picture, ".nii") is None


def test_voxels_of_every_type_can_be_written(tmp_path: Path) -> None:
    for dtype in ("?", *VOXEL_TYPES):
        values = np.arange(6).reshape(1, 1, 2, 3).astype(dtype)
        image = Image.without_geometry(values, tmp_path / "a.nii")
        content = encode_nifti(values, image, ".nii")
        assert content is not None
        (tmp_path / "a.nii").write_bytes(content)
        back = read_image(tmp_path / "a.nii").data
        np.testing.assert_array_equal(back, values)
        assert back.dtype == (np.uint8 if dtype == "?" else dtype)
