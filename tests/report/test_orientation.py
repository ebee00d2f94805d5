"""Radiological convention: the same anatomy looks the same however it is stored."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from swin_umamba.data.image import Image
from swin_umamba.errors import UsageError
from swin_umamba.report.orientation import PLANES, Plane, radiological_view
from swin_umamba.report.preview import write_preview

# The patient: x to the right, y to the front, z up, in voxels of 1 x 1.2 x 1.4 mm.
SPACING = (1.0, 1.2, 1.4)
ORIENTATIONS = [
    (axes, signs)
    for axes in itertools.permutations(range(3))
    for signs in itertools.product((1, -1), repeat=3)
]


@pytest.fixture
def patient() -> np.ndarray:
    """Voxels (x, y, z) that are all different."""
    return np.random.default_rng(0).permutation(9 * 8 * 7).reshape(9, 8, 7).astype(np.int16)


def stored(patient: np.ndarray, axes: tuple[int, ...], signs: tuple[int, ...], tilt: float = 0.0) -> Image:
    """Return the patient with array axis n along world axis ``axes[n]``, forwards or backwards."""
    data = patient.transpose(axes)[tuple(slice(None, None, sign) for sign in signs)]
    direction = np.zeros((3, 3))
    for place, (axis, sign) in enumerate(zip(axes, signs, strict=True)):
        direction[place, axis] = sign
    cos, sin = np.cos(tilt), np.sin(tilt)
    direction = direction @ np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]])
    return Image(
        data=np.ascontiguousarray(data[None]),
        spacing=tuple(SPACING[axis] for axis in axes),
        origin=(0.0, 0.0, 0.0),
        direction=tuple(tuple(row) for row in direction.tolist()),
        path=Path("patient"),
    )


def every_orientation(patient: np.ndarray) -> Iterator[Image]:
    assert len(ORIENTATIONS) == 48
    return (stored(patient, axes, signs) for axes, signs in ORIENTATIONS)


# Without being told, it is the axial plane; `test_what_is_where` has all three in all orientations, without
# drawing them.
@pytest.mark.parametrize(
    ("plane", "every"),
    [*(pytest.param(plane, 1, marks=pytest.mark.slow) for plane in (*PLANES, None)), (None, 5)],
)
def test_all_orientations_give_one_picture(
    patient: np.ndarray, plane: Plane | None, every: int, tmp_path: Path
) -> None:
    pictures = set()
    for image in itertools.islice(every_orientation(patient), 0, None, every):
        labels = (image.data[0] > 400).astype(np.uint8)
        pictures.add(write_preview(tmp_path / "a.png", image, labels, plane=plane).read_bytes())
    assert len(pictures) == 1


@pytest.mark.parametrize(
    ("plane", "edges", "spacing"),
    [
        ("axial", "RLAP", (1.4, 1.2, 1.0)),
        ("coronal", "RLSI", (1.2, 1.4, 1.0)),
        ("sagittal", "APSI", (1.0, 1.4, 1.2)),
    ],
)
def test_what_is_where(patient: np.ndarray, plane: Plane, edges: str, spacing: tuple[float, ...]) -> None:
    shown = {
        "axial": lambda s, r, c: patient[8 - c, 7 - r, s],
        "coronal": lambda s, r, c: patient[8 - c, s, 6 - r],
        "sagittal": lambda s, r, c: patient[s, 7 - c, 6 - r],
    }[plane]
    for image in every_orientation(patient):
        view = radiological_view(image, plane)
        turned = view.turn(image.data)[0]
        s, r, c = np.indices(turned.shape)
        assert np.array_equal(turned, shown(s, r, c))
        assert ("".join(view.edges), view.spacing, view.plane) == (edges, spacing, plane)


def test_oblique_axes_count_as_the_nearest(patient: np.ndarray) -> None:
    for axes, signs in ORIENTATIONS:
        straight, tilted = (stored(patient, axes, signs, tilt=tilt) for tilt in (0.0, 0.5))
        assert radiological_view(tilted) == radiological_view(straight)


def test_thick_slices_are_shown_in_their_plane(patient: np.ndarray) -> None:
    sagittal = stored(patient, (0, 2, 1), (1, -1, -1))
    assert radiological_view(sagittal).plane == "axial"
    assert radiological_view(replace(sagittal, spacing=(5.0, 1.4, 1.2))).plane == "sagittal"


def test_a_flat_image_has_its_own_plane(patient: np.ndarray) -> None:
    volume = stored(patient, (1, 2, 0), (1, 1, 1))  # coronal slices of rows along z and columns along x
    flat = replace(volume, data=volume.data[:, 3], spacing=volume.spacing[1:], direction=volume.direction[1:])
    view = radiological_view(flat)
    assert (view.plane, "".join(view.edges)) == ("coronal", "RLSI")
    assert np.array_equal(view.turn(flat.data)[0], patient[::-1, 3, ::-1].T)


def test_without_orientation_the_order_of_the_file_is_kept(patient: np.ndarray, tmp_path: Path) -> None:
    image = Image.without_geometry(patient[None], Path("none"))
    view = radiological_view(image)
    assert (view.plane, view.edges, view.axes) == (None, (), (0, 1, 2))
    assert np.array_equal(view.turn(image.data), image.data)
    with pytest.raises(UsageError, match="has no orientation"):
        write_preview(tmp_path / "a.png", image, plane="axial")
    assert not any(tmp_path.iterdir())
