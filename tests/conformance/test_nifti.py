"""NIfTI files of every pair of features are read as they were meant, or refused."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from conformance.combinations import (
    Combination,
    Outcomes,
    covering_combinations,
    generator_of,
    possible_pairs,
)
from conformance.nifti_files import VOXEL_TYPES, extension, nifti_file, rotation
from swin_umamba.data.image_io import read_image, read_labels
from swin_umamba.errors import DataError

HEADERS = {
    "NIfTI-1 little-endian": (1, "<"),
    "NIfTI-1 big-endian": (1, ">"),
    "NIfTI-2 little-endian": (2, "<"),
    "NIfTI-2 big-endian": (2, ">"),
    "half of a .hdr/.img pair": (1, "<"),
    "Analyze": (1, ">"),
}
AXES = {
    "x y": (5, 4),
    "x y z": (5, 4, 3),
    "one voxel thick in x": (1, 4, 3),
    "one voxel thick in y": (5, 1, 3),
    "one voxel thick in z": (5, 4, 1),
    "x y z 1 1": (5, 4, 3, 1, 1),
    "x y z channels": (5, 4, 3, 2),
    "x y z 1 vector": (5, 4, 3, 1, 2),
    "two axes of channels": (5, 4, 3, 2, 2),
    "x alone": (7,),
}
NO_NUMBERS = {
    "1 bit": (1, 1),
    "RGB": (128, 24),
    "RGBA": (2304, 32),
    "complex": (32, 64),
    "128-bit": (1536, 128),
}
BYTES = {
    "header": tuple(HEADERS),
    "voxels": (*VOXEL_TYPES, *NO_NUMBERS, "a type that does not exist"),
    "file": (
        ".nii",
        ".nii with bytes after the voxels",
        ".nii.gz",
        ".nii.gz of two members",
        ".nii.gz with zeros after it",
        ".nii.gz with other bytes after it",
    ),
    "axes": tuple(AXES),
    "before the voxels": ("nothing", "an extension", "unused bytes", "offset 0", "an offset in the header"),
}
UNITS = {
    "not said": (0, 1.0),
    "m": (1, 1e3),
    "mm": (2, 1.0),
    "micrometres": (3, 1e-3),
    "one that does not exist": (5, 1),
}
SCALINGS = {
    "none": (0.0, 0.0),
    "NaN": (np.nan, np.nan),
    "slope 1": (1.0, 0.0),
    "slope and intercept": (0.5, -3.0),
    "intercept without slope": (0.0, 5.0),
    "infinite": (np.inf, 0.0),
}
ORIENTATIONS = (
    "neither",
    "sform",
    "sform (slightly skewed)",
    "sform (sheared)",
    "sform of other lengths",
    "sform (singular)",
    "qform",
    "qform (handedness -1)",
    "qform (handedness 0)",
    "qform (handedness 2)",
    "qform (quaternion too long)",
    "both",
    "both (slightly skewed)",
    "both (other origins)",
    "both (other directions)",
    "a code that does not exist",
)
PLACES = {
    "header": ("NIfTI-1 little-endian", "NIfTI-2 big-endian"),
    "axes": ("x y", "x y z", "one voxel thick in y", "x y z channels"),
    "orientation": ORIENTATIONS,
    "unit": tuple(UNITS),
    "pixdim": ("positive", "0", "negative"),
    "scaling": tuple(SCALINGS),
}
REFUSED = {
    "half of a .hdr/.img pair": "pair, which is not supported",
    "Analyze": "Analyze format, which is not supported",
    **dict.fromkeys(NO_NUMBERS, "not supported"),
    "a type that does not exist": "unknown voxel type",
    ".nii with bytes after the voxels": "more data",
    ".nii.gz with other bytes after it": "damaged",
    "two axes of channels": "three spatial axes",
    "x alone": "not supported",
    "an offset in the header": "places the voxels",
    "one that does not exist": "does not exist",
    "intercept without slope": "intercept",
    "infinite": "scaling is invalid",
    "sform (sheared)": "not supported",
    "sform of other lengths": "contradicts itself",
    "sform (singular)": "singular",
    "qform (handedness 2)": "handedness",
    "qform (quaternion too long)": "invalid",
    "both (other origins)": "disagree",
    "both (other directions)": "disagree",
    "a code that does not exist": "do not exist",
    "0": "positive",
    "negative": "positive",
}


@dataclass
class Made:
    """A file and what must become of it: voxels as in the array, spacing in mm, None for no orientation."""

    content: bytes
    suffix: str
    refusals: list[str]
    values: np.ndarray
    spacing: np.ndarray
    affine: np.ndarray | None
    direction_tolerance: float = 1e-6


def random_voxels(generator: np.random.Generator, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Return voxels with the least and the largest number of their type, or eighths."""
    dtype = np.dtype(name) if name in VOXEL_TYPES else np.dtype(np.uint8)
    if dtype.kind == "f":
        return (generator.integers(-800, 800, shape) / 8).astype(dtype)
    limits = np.iinfo(dtype)
    voxels = generator.integers(0, 100, shape).astype(dtype)
    if generator.integers(2):
        voxels.flat[0], voxels.flat[-1] = limits.min, limits.max
    return voxels


def as_array(voxels: np.ndarray) -> np.ndarray:
    """Return the voxels as the reader must: (channels, [z,] y, x)."""
    spatial = voxels.shape[:3]
    return voxels.reshape(*spatial, -1).transpose(-1, *range(len(spatial))[::-1])


def refusals_of(combination: Combination) -> list[str]:
    return [REFUSED[value] for value in combination.values() if value in REFUSED]


def make_bytes(combination: Combination) -> Made:
    """Return a file of a place that is always the same, whatever its bytes look like."""
    generator = generator_of(combination)
    version, endian = HEADERS[combination["header"]]
    voxels = random_voxels(generator, combination["voxels"], AXES[combination["axes"]])
    affine = np.array([[-1.5, 0, 0, 10], [0, -2, 0, 20], [0, 0, 2.5, -30]])
    fields: dict[str, Any] = {"sform_code": 1, "srow": affine.ravel(), "pixdim": (1, 1.5, 2, 2.5)}
    if combination["axes"].endswith("vector"):
        fields["intent_code"] = 1007
    if combination["voxels"] in NO_NUMBERS:
        fields["datatype"], fields["bitpix"] = NO_NUMBERS[combination["voxels"]]
    elif combination["voxels"] not in VOXEL_TYPES:
        fields["datatype"] = 77
    if not combination["header"].startswith("NIfTI"):
        fields["magic"] = b"ni1" if "pair" in combination["header"] else b""
    before = combination["before the voxels"]
    between = {"an extension": extension(b"a comment", endian), "unused bytes": bytes(20)}.get(
        before, bytes(4)
    )
    if before.startswith(("offset", "an offset")):
        fields["vox_offset"] = 0 if before == "offset 0" else 200
    content = nifti_file(voxels, version=version, endian=endian, between=between, **fields)
    suffix, _, more = combination["file"].partition(" ")
    if suffix == ".nii":
        content += b"more" * bool(more)
    elif more.startswith("of"):
        content = gzip.compress(content[:400]) + gzip.compress(content[400:])
    else:
        content = gzip.compress(content) + (b"" if not more else bytes(5) if "zeros" in more else b"\0more")
    ndim = min(voxels.ndim, 3)
    return Made(
        content,
        suffix,
        refusals_of(combination),
        as_array(voxels) if voxels.ndim > 1 else voxels,
        np.array([1.5, 2, 2.5][:ndim][::-1]),
        affine,
    )


def make_place(combination: Combination) -> Made:
    """Return a file with a place in the world of its own."""
    generator = generator_of(combination)
    version, endian = HEADERS[combination["header"]]
    flat = combination["axes"] == "x y"
    orientation = combination["orientation"]
    name = "i2" if generator.integers(2) else "i4"
    voxels = random_voxels(generator, name, AXES[combination["axes"]])
    # As float32 holds it; near half a turn, that is too little for SimpleITK, which computes with it.
    quaternion = generator.normal(size=4) * ((1, 0, 0, 1) if flat else 1)
    quaternion[0] = 0.3 + abs(quaternion[0])
    quaternion = (quaternion / np.linalg.norm(quaternion)).astype(np.float32).astype(float)
    quaternion[0] = np.sqrt(1 - (quaternion[1:] ** 2).sum())
    lengths = generator.uniform(0.3, 5, 3).astype(np.float32).astype(float)
    origin = generator.uniform(-200, 200, 3).astype(np.float32).astype(float)
    axes = rotation(quaternion) * lengths
    handed, written = axes.copy(), quaternion.copy()
    if orientation == "qform (handedness -1)":
        handed[:, 2] *= -1
    sform = np.column_stack([handed, origin])
    qoffset = origin.copy()
    if "slightly skewed" in orientation:
        sform[:, 0] += (
            (5e-5 if orientation.startswith("sform") else 4e-4) * lengths[0] * axes[:, 1] / lengths[1]
        )
    elif orientation == "sform (sheared)":
        sform[:, 0] += 1e-3 * lengths[0] * axes[:, 1] / lengths[1]
    elif orientation == "sform of other lengths":
        sform[:, generator.integers(2)] *= 1.005
    elif orientation == "sform (singular)":
        sform[:, 1] = sform[:, 0] * lengths[1] / lengths[0]
    elif orientation == "qform (quaternion too long)":
        written *= 1.5 / np.linalg.norm(quaternion[1:])
    elif orientation == "both (other origins)":
        qoffset[generator.integers(3)] += 0.5
    elif orientation == "both (other directions)":
        written[3] = -written[3]
    has_sform, has_qform = (
        orientation.startswith(("sform", "both")),
        orientation.startswith(("qform", "both")),
    )
    code = int(generator.integers(1, 5))
    handedness = {"qform (handedness -1)": -1, "qform (handedness 0)": 0, "qform (handedness 2)": 2}.get(
        orientation, 1
    )
    pixdim = lengths.copy()
    if combination["pixdim"] != "positive":
        pixdim[generator.integers(2)] *= 0 if combination["pixdim"] == "0" else -1
    unit, millimetres = UNITS[combination["unit"]]
    slope, intercept = SCALINGS[combination["scaling"]]
    content = nifti_file(
        voxels,
        version=version,
        endian=endian,
        pixdim=(handedness, *pixdim),
        xyzt_units=unit | 8,  # and seconds
        scl=(slope, intercept),
        sform_code=9 if orientation.startswith("a code") else code * has_sform,
        qform_code=code * has_qform,
        srow=sform.ravel(),
        quatern=written[1:],
        qoffset=qoffset,
    )
    values = as_array(voxels)
    if combination["scaling"] == "slope and intercept":
        scaled = values.astype(np.float64) * slope + intercept
        values = scaled.astype(np.float32 if name == "i2" else np.float64)
    return Made(
        content,
        ".nii",
        refusals_of(combination),
        values,
        lengths[: 2 if flat else 3][::-1] * millimetres,
        sform * millimetres if has_sform or has_qform else None,
        1e-3 if orientation == "both (slightly skewed)" else 1e-4 if "skewed" in orientation else 1e-6,
    )


def write(made: Made, folder: Path) -> Path:
    path = folder / f"a{made.suffix}"
    path.write_bytes(made.content)
    return path


def difference(made: Made, path: Path) -> str | None:
    """Return what the reader makes of the file that it should not, in words."""
    try:
        image = read_image(path)
    except DataError as error:
        if not made.refusals:
            return f"refused: {error.what}"
        return (
            None
            if any(why in error.what for why in made.refusals)
            else f"refused for another reason: {error.what}"
        )
    if made.refusals:
        return "read, and should be refused"
    if image.data.dtype != made.values.dtype or not np.array_equal(image.data, made.values):
        return f"other values, {image.data.dtype} and not {made.values.dtype}"
    if not np.allclose(image.spacing, made.spacing, rtol=1e-7, atol=0):
        return f"spacing {image.spacing}, and not {made.spacing}"
    if not image.has_spacing or image.has_orientation != (made.affine is not None):
        return "what is known of the place"
    if made.affine is not None:
        axes = made.affine[:, : len(image.spacing)]
        directions = (axes / np.linalg.norm(axes, axis=0)).T[::-1]
        # NIfTI-1 holds float32.
        if not np.allclose(image.origin, made.affine[:, 3], rtol=1e-6, atol=1e-6):
            return f"origin {image.origin}, and not {made.affine[:, 3]}"
        if not np.allclose(image.direction, directions, rtol=0, atol=1e-6):
            return f"direction {image.direction}, and not {directions}"
    return label_difference(made.values, path)


def label_difference(values: np.ndarray, path: Path) -> str | None:
    """Return what is wrong with the file read as a label map."""
    fits = len(values) == 1 and values.min() >= 0 and (values == np.floor(values)).all()
    fits &= values.dtype.kind != "f" or values.max() < 2**31
    try:
        labels = read_labels(path)
    except DataError:
        return "refused as a label map" if fits else None
    if not fits:
        return "read as a label map, and should be refused"
    return None if np.array_equal(labels.data, values) else "other labels"


Group = tuple[dict[str, tuple[str, ...]], Callable[[Combination], Made]]
GROUPS: tuple[Group, ...] = ((BYTES, make_bytes), (PLACES, make_place))


def good(features: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """Return the values that are read: their pairs must occur in files in which nothing else is refused."""
    return {
        name: tuple(value for value in values if value not in REFUSED) for name, values in features.items()
    }


def has_one_reason(combination: Combination) -> bool:
    return len(refusals_of(combination)) == 1


def check(folder: Path, at_least: int = 0) -> tuple[Outcomes, set[Any]]:
    outcomes, possible = Outcomes("NIfTI"), set()
    for features, make in GROUPS:
        possible |= possible_pairs(good(features)) | possible_pairs(features, has_one_reason)
        for combination in (
            *covering_combinations(good(features), at_least=at_least),
            *covering_combinations(features, has_one_reason, at_least=at_least),
        ):
            made = make(combination)
            wrong = difference(made, write(made, folder))
            if wrong is None:
                outcomes.add(combination, "refused" if made.refusals else "read")
            else:
                outcomes.differences.append(f"{combination}: {wrong}")
    return outcomes, possible


def test_files_of_all_pairs_of_features(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    outcomes, possible = check(tmp_path)
    outcomes.check(possible, record_property)


@pytest.mark.slow
def test_thousands_of_files(tmp_path: Path) -> None:
    outcomes, _ = check(tmp_path, at_least=1000)
    assert not outcomes.differences
    assert len(outcomes.files) > 3000


def seen_by_simpleitk(path: Path, combination: Combination) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return voxels, spacing in mm in the order of the array's axes, and the matrix of a file."""
    import SimpleITK as sitk  # takes a second

    image = sitk.ReadImage(str(path))
    array, dimension = sitk.GetArrayFromImage(image), image.GetDimension()
    if combination["axes"].endswith("vector"):
        array = np.moveaxis(array, -1, 0)
    ndim = min(dimension, 3)
    affine = np.zeros((3, ndim + 1))
    spacing = np.array(image.GetSpacing()[:ndim])
    affine[:ndim, :-1] = np.reshape(image.GetDirection(), (dimension, dimension))[:ndim, :ndim] * spacing
    affine[:ndim, -1] = image.GetOrigin()[:ndim]
    affine[:2] *= -1  # from LPS to RAS
    return array, spacing[::-1], affine


def seen_by_nibabel(path: Path, unit: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    image = nibabel.load(path)
    ndim = min(image.ndim, 3)
    affine = image.affine[:3, [*range(ndim), 3]]
    return (
        as_array(np.asarray(image.dataobj)),
        np.array(image.header.get_zooms()[:ndim][::-1]) * unit,
        affine * unit,
    )


@pytest.mark.parametrize("group", GROUPS, ids=("bytes", "places"))
def test_other_readers_see_what_the_generator_means(tmp_path: Path, group: Group) -> None:
    features, make = group
    seen = 0
    for combination in covering_combinations(good(features)):
        if combination.get("before the voxels") == "offset 0":
            continue  # they take it to be where the header is
        made = make(combination)
        for old in tmp_path.iterdir():
            old.unlink()  # SimpleITK takes a.nii for a.nii.gz, if there is one
        path = write(made, tmp_path)
        if "NIfTI-2" in combination["header"]:  # which SimpleITK does not read
            values, spacing, affine = seen_by_nibabel(path, UNITS[combination.get("unit", "mm")][1])
        else:
            values, spacing, affine = seen_by_simpleitk(path, combination)
        where = str(combination)
        np.testing.assert_array_equal(
            values.reshape(made.values.shape), made.values.astype(values.dtype), where
        )
        np.testing.assert_allclose(spacing, made.spacing, rtol=1e-6, err_msg=where)
        if made.affine is not None:
            wanted = made.affine[:, [*range(len(spacing)), 3]]
            np.testing.assert_allclose(
                affine[:, -1], wanted[:, -1] * (affine[:, -1] != 0), rtol=1e-6, err_msg=where
            )
            wanted, affine = wanted[:, :-1] / spacing[::-1], affine[:, :-1] / spacing[::-1]
            np.testing.assert_allclose(affine, wanted, atol=made.direction_tolerance, err_msg=where)
        seen += 1
    assert seen > 30
