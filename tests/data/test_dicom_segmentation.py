"""Segmentations of other programs: frames in any order and orientation, and what cannot be a label map."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conformance.dicom_files import Slice, file_bytes, write_series
from conformance.dicom_segmentations import segmentation, write_segmentation_file
from swin_umamba.data.dicom import segmentation as segmentations
from swin_umamba.data.image import Image
from swin_umamba.data.image_io import (
    list_images,
    on_grid_of,
    on_one_grid,
    read_image,
    read_labels,
    write_labels,
)
from swin_umamba.errors import DataError, GeometryError, SwinUMambaError, UsageError
from swin_umamba.pseudonyms import Pseudonyms, in_use

SHAPE = (6, 5, 4)
ROWS, COLUMNS = np.array((0.8, 0.6, 0.0)), np.array((-0.36, 0.48, 0.8))
NORMAL = np.cross(ROWS, COLUMNS)
START, STEP = np.array((-7.25, 11.5, 3.0)), 2.5
SPACING = (0.75, 0.5)
NAMES = {1: "liver", 2: "spleen", 5: "tumour"}
LABELS = np.random.default_rng(8).choice([0, 0, 1, 2, 5], SHAPE)
LABELS[2] = 0
SPACE = {0x00200052: ("UI", "1.2.3.77")}


def place(index: int, row: int = 0, column: int = 0) -> np.ndarray:
    return START + index * STEP * NORMAL + row * SPACING[0] * COLUMNS + column * SPACING[1] * ROWS


def slice_of(index: int, numbers: np.ndarray, **changes: Any) -> Slice:
    return replace(Slice(numbers, place(index), (*ROWS, *COLUMNS), SPACING), **changes)


def masks(labels: np.ndarray = LABELS) -> list[tuple[int, Slice]]:
    """Return a frame for each slice and segment that it has, in no order."""
    frames = [
        (number, slice_of(index, mask))
        for number in NAMES
        for index, mask in enumerate(labels == number)
        if mask.any()
    ]
    order = np.random.default_rng(0).permutation(len(frames))
    return [frames[index] for index in order]


@pytest.fixture
def image(tmp_path: Path) -> Image:
    slices = [slice_of(index, np.zeros(SHAPE[1:]), more=SPACE) for index in range(SHAPE[0])]
    write_series(tmp_path / "images", slices)
    return read_image(tmp_path / "images")


@pytest.mark.parametrize("step", [STEP, None, 1.0])
def test_frames_are_placed_by_their_positions(tmp_path: Path, image: Image, step: float | None) -> None:
    """Whether the file gives the distance of slices, does not, or gives their thickness for it."""
    path = write_segmentation_file(tmp_path / "a.dcm", masks(), NAMES, step=step)
    found = read_labels(path)
    assert (found.label_names, found.is_partial, found.frame_of_reference) == (NAMES, True, "1.2.3.77")
    np.testing.assert_array_equal(on_grid_of(image, found).data[0], LABELS)
    assert on_grid_of(image, found).spacing == image.spacing


def test_label_maps_and_fractions(tmp_path: Path, image: Image) -> None:
    frames = [(0, slice_of(index, LABELS[index])) for index in (3, 0, 5, 1, 4)]
    path = write_segmentation_file(tmp_path / "a.dcm", frames, NAMES, "LABELMAP")
    np.testing.assert_array_equal(on_grid_of(image, read_labels(path)).data[0], LABELS)

    certain = [(number, replace(each, numbers=each.numbers * 255)) for number, each in masks()]
    path = write_segmentation_file(tmp_path / "b.dcm", certain, NAMES, "FRACTIONAL")
    np.testing.assert_array_equal(on_grid_of(image, read_labels(path)).data[0], LABELS)

    values = np.array([[0, 127, 128, 255], [100, 200, 200, 10]])
    others = np.array([[0, 200, 127, 255], [90, 200, 201, 150]])
    frames = [(2, slice_of(0, others)), (1, slice_of(0, values))]
    path = write_segmentation_file(tmp_path / "c.dcm", frames, {1: "a", 2: "b"}, "FRACTIONAL")
    with pytest.raises(DataError, match="needs a threshold") as caught:
        read_labels(path)
    assert "--fraction" in str(caught.value.hint)
    half = read_labels(path, fraction=0.5).data
    np.testing.assert_array_equal(half.reshape(2, 4), [[0, 2, 1, 1], [0, 1, 2, 2]])
    np.testing.assert_array_equal(read_labels(path, fraction=1.0).data.reshape(2, 4), [[0, 0, 0, 1], [0] * 4])
    with pytest.raises(UsageError, match="a fraction of 0"):
        read_labels(path, fraction=0.0)


@pytest.mark.parametrize("turn", range(8))
def test_axes_may_be_turned_by_right_angles(tmp_path: Path, image: Image, turn: int) -> None:
    """Each of the ways in which rows and columns of the same plane can be counted."""
    frames = []
    for number, each in masks():
        mask, rows, columns, spacing = each.numbers, ROWS, COLUMNS, SPACING
        index = round(float((np.array(each.position) - START) @ NORMAL / STEP))
        corner = [0, 0]
        if turn & 1:
            mask, rows, corner[1] = mask[:, ::-1], -ROWS, SHAPE[2] - 1
        if turn & 2:
            mask, columns, corner[0] = mask[::-1], -COLUMNS, SHAPE[1] - 1
        if turn & 4:
            mask, rows, columns, spacing = mask.T, columns, rows, spacing[::-1]
        orientation = (*rows.tolist(), *columns.tolist())
        frames.append((number, Slice(mask, place(index, *corner), orientation, spacing)))
    found = read_labels(write_segmentation_file(tmp_path / "a.dcm", frames, NAMES))
    np.testing.assert_array_equal(on_grid_of(image, found).data[0], LABELS)


def test_another_plane(tmp_path: Path, image: Image) -> None:
    """Frames across the rows of the image: no voxel is resampled by that either."""
    frames = []
    for row in range(SHAPE[1]):
        for number in NAMES:
            mask = LABELS[:, row] == number
            orientation = (*ROWS.tolist(), *NORMAL.tolist())
            frames.append((number, Slice(mask, place(0, row), orientation, (STEP, SPACING[1]))))
    path = write_segmentation_file(tmp_path / "a.dcm", frames, NAMES, step=SPACING[0])
    np.testing.assert_array_equal(on_grid_of(image, read_labels(path)).data[0], LABELS)


def test_two_partial_label_maps_meet_on_one_grid(tmp_path: Path, image: Image) -> None:
    first, last = LABELS.copy(), LABELS.copy()
    first[3:], last[:4] = 0, 0
    parts = [
        read_labels(write_segmentation_file(tmp_path / f"{number}.dcm", masks(each), NAMES))
        for number, each in enumerate((first, last))
    ]
    for one, other, whole in ((*parts, (first, last)), (*parts[::-1], (last, first))):
        found = on_one_grid(one, other)
        for labels, expected in zip(found, whole, strict=True):
            assert labels.spatial_shape == SHAPE
            assert labels.origin == pytest.approx(image.origin)
            np.testing.assert_array_equal(labels.data[0], expected)
    write_labels(tmp_path / "a.nii.gz", LABELS, like=image)
    whole_map = read_labels(tmp_path / "a.nii.gz")
    for pair in ((whole_map, parts[0]), (parts[0], whole_map)):
        found = on_one_grid(*pair)
        assert {each.spatial_shape for each in found} == {SHAPE}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"more": {0x00200052: ("UI", "1.2.3.78")}}, "another frame of reference"),
        ({"position": place(0) + 0.2 * SPACING[1] * ROWS}, "another grid.*first voxel"),
        ({"spacing": (0.75, 0.6)}, "another grid.*spacing"),
        ({"orientation": (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)}, "another grid.*axes"),
        ({"position": place(0, 3, 2)}, "another grid.*beyond"),
        ({"position": place(-1)}, "another grid.*beyond"),
    ],
)
def test_another_grid_is_refused(tmp_path: Path, image: Image, changes: dict[str, Any], message: str) -> None:
    more = changes.pop("more", None)
    frames = [(1, slice_of(0, LABELS[0] == 1, **changes))]
    labels = read_labels(write_segmentation_file(tmp_path / "a.dcm", frames, NAMES, more=more))
    with pytest.raises(GeometryError, match=message):
        on_grid_of(image, labels)


def test_segmentations_under_pseudonyms_lie_on_their_images_with_the_same_key(
    tmp_path: Path, image: Image
) -> None:
    key, other = Pseudonyms(b"k" * 40), Pseudonyms(b"o" * 40)
    more = {0x00200052: ("UI", key.uid(image.frame_of_reference))}
    labels = read_labels(write_segmentation_file(tmp_path / "a.dcm", masks(), NAMES, more=more))
    with in_use(key):
        np.testing.assert_array_equal(on_grid_of(image, labels).data[0], LABELS)
    for pseudonyms in (None, other):
        with in_use(pseudonyms), pytest.raises(GeometryError, match="another frame of reference"):
            on_grid_of(image, labels)


def frames_at(*positions: np.ndarray) -> list[tuple[int, Slice]]:
    return [(1, Slice(LABELS[0] == 1, each, (*ROWS, *COLUMNS), SPACING)) for each in positions]


@pytest.mark.parametrize(
    ("frames", "options", "message"),
    [
        (frames_at(place(0), place(1), place(1) + 0.4 * STEP * NORMAL), {}, "not in even distances"),
        (frames_at(place(0), place(1) + 0.3 * ROWS), {}, "shifted against each other"),
        (frames_at(place(0), place(0)), {}, "several frames of one segment"),
        ([(3, slice_of(0, LABELS[0]))], {}, "segment 3, which there is not"),
        ([(1, slice_of(0, LABELS[0] > 0)), (2, slice_of(0, LABELS[0] > 1))], {}, "segments overlap"),
        ([(1, slice_of(0, LABELS[0] + 2))], {"kind": "LABELMAP"}, "belong to no segment"),
        ([(1, slice_of(0, LABELS[0]))], {"kind": "LABELMAP", "more": {0x00280120: ("US", 7)}}, "background"),
        ([(1, slice_of(0, LABELS[0]))], {"more": {0x00620001: ("CS", "OTHER")}}, "type 'OTHER'"),
        (frames_at(place(0), place(10**8)), {}, "the limit is"),
        ([*frames_at(place(0)), (1, Slice(LABELS[0] == 1, None, None, SPACING))], {}, "have no position"),
        (
            [*frames_at(place(0)), (1, Slice(LABELS[0], place(1), (*COLUMNS, *ROWS), SPACING))],
            {},
            "several orientations",
        ),
    ],
)
def test_what_is_no_label_map(
    tmp_path: Path, frames: list[tuple[int, Slice]], options: dict[str, Any], message: str
) -> None:
    path = write_segmentation_file(tmp_path / "a.dcm", frames, NAMES, **options)
    with pytest.raises(DataError, match=message):
        read_labels(path)


def test_folders_of_segmentations(tmp_path: Path, image: Image) -> None:
    folder = tmp_path / "labels"
    write_segmentation_file(folder / "a.dcm", masks(), NAMES)
    write_segmentation_file(folder / "b.dcm", masks(LABELS % 5), NAMES)
    assert [each.name for each in list_images(folder)] == ["a.dcm", "b.dcm"]
    with pytest.raises(DataError, match=r"2 DICOM segmentations: a\.dcm, b\.dcm"):
        read_labels(folder)
    # As on a disc: with the images.
    write_segmentation_file(tmp_path / "images" / "sub" / "seg.dcm", masks(), NAMES)
    np.testing.assert_array_equal(on_grid_of(image, read_labels(tmp_path / "images")).data[0], LABELS)
    assert list_images(tmp_path / "images") == [tmp_path / "images"]
    assert not read_image(tmp_path / "images").data.any()
    with pytest.raises(DataError, match="not an image: segmentation"):
        read_image(folder / "a.dcm")


def test_damage_anywhere_is_one_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segmentations, "MAX_VOXELS", 10**6)
    content = bytearray(file_bytes(segmentation(masks(), NAMES)))
    path, rng = tmp_path / "a.dcm", np.random.default_rng(0)
    for _ in range(300):
        damaged = bytearray(content)
        for place_ in rng.integers(132, len(content), 3):
            damaged[place_] = rng.integers(256)
        if rng.random() < 0.2:
            damaged = damaged[: rng.integers(132, len(content))]
        path.write_bytes(damaged)
        with suppress(SwinUMambaError):
            read_labels(path)
