"""Segmentations of generated series, read back by pydicom, highdicom and dcmqi: each voxel at its place."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("highdicom", reason="highdicom is not installed")

import highdicom
import pydicom
import SimpleITK as sitk

from exchange.made_series import ALGORITHM, Series, labels_of, segments_of
from swin_umamba.data.image_io import on_grid_of, read_image, read_labels
from swin_umamba.exchange.segmentation import write_segmentation
from swin_umamba.exchange.source import read_source

MANY, FEW = 200, 4
KINDS = ("binary", "labelmap", "fractional")
ALIKE = 1e-3
"""Places closer than this (mm) are one: positions have 10 digits, and dcmqi rounds by itself."""
AXES = np.eye(3)


def made(number: int) -> tuple[Series, int, str]:
    """Return the series of a number, the number of its classes, and the kind of its segmentation."""
    rng = np.random.default_rng(number)
    shape = (1 if number % 7 == 3 else int(rng.integers(2, 12)), *map(int, rng.integers(1, 40, 2)))
    if number % 3 == 0:  # axial, coronal, sagittal, and mirrored
        order, signs = rng.permutation(3)[:2], rng.choice([-1.0, 1.0], 2)
        rows, columns = AXES[order[0]] * signs[0], AXES[order[1]] * signs[1]
    else:
        turned = np.linalg.qr(rng.normal(size=(3, 3)))[0]
        rows, columns = turned[:, 0], turned[:, 1]
    series = Series(
        shape=shape,
        orientation=tuple(float(f"{value:.10g}") for value in (*rows, *columns)),
        spacing=tuple(float(f"{value:.6g}") for value in rng.uniform(0.3, 2, 2)),
        step=float(f"{rng.uniform(0.4, 8):.6g}"),  # with gaps, and overlapping: slices are 2 mm thick
        origin=tuple(rng.uniform(-300, 300, 3).round(3).tolist()),
    )
    return series, int(rng.integers(1, 15)), KINDS[number % len(KINDS)]


def assert_same_places(series: Series, labels: np.ndarray, places: np.ndarray, values: np.ndarray) -> None:
    """Assert that values are those of the label map at the nearest voxel, and that this one is there."""
    assert len(values) == np.count_nonzero(labels)
    if not len(values):
        return
    starts, directions = series.places(np.zeros((1, 3), int))[0], np.array(series.orientation)
    offset = places - starts
    index = np.stack(
        [
            offset @ series.normal / series.step,
            offset @ directions[3:] / series.spacing[0],
            offset @ directions[:3] / series.spacing[1],
        ],
        axis=1,
    )
    voxels = np.rint(index).astype(int)
    np.testing.assert_allclose(series.places(voxels), places, rtol=0, atol=ALIKE)
    assert len(np.unique(voxels, axis=0)) == len(voxels)
    np.testing.assert_array_equal(labels[tuple(voxels.T)], values)


def seen_by_pydicom(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return the places and numbers of all voxels that belong to a segment, by the frames of the file."""
    found = pydicom.dcmread(path)
    frames = found.pixel_array.reshape(-1, found.Rows, found.Columns)
    shared = found.SharedFunctionalGroupsSequence[0]
    axes = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, float)
    down, across = map(float, shared.PixelMeasuresSequence[0].PixelSpacing)
    places, numbers = [], []
    for frame, group in zip(frames, found.PerFrameFunctionalGroupsSequence, strict=True):
        start = np.array(group.PlanePositionSequence[0].ImagePositionPatient, float)
        voxels = np.argwhere(frame)
        places.append(start + voxels[:, :1] * down * axes[3:] + voxels[:, 1:] * across * axes[:3])
        if found.SegmentationType == "LABELMAP":
            numbers.append(frame[tuple(voxels.T)])
            continue
        identified = group if "SegmentIdentificationSequence" in group else shared
        number = identified.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        numbers.append(np.full(len(voxels), number))
        assert set(np.unique(frame)) <= {0, 1 if found.SegmentationType == "BINARY" else 255}
    return np.concatenate(places), np.concatenate(numbers)


def seen_by_highdicom(path: Path, series: Series, images: Path) -> np.ndarray:
    """Return the label map on the slices of the series, by the images that the file refers to."""
    found = highdicom.seg.segread(path)
    by_height = sorted(
        (pydicom.dcmread(file, stop_before_pixels=True) for file in images.iterdir()),
        key=lambda each: float(np.dot([float(v) for v in each.ImagePositionPatient], series.normal)),
    )
    more: dict[str, Any] = {} if found.SegmentationType == "LABELMAP" else {"rescale_fractional": True}
    pixels: np.ndarray = found.get_pixels_by_source_instance(
        [each.SOPInstanceUID for each in by_height],
        combine_segments=True,
        assert_missing_frames_are_empty=True,
        **more,
    )
    return pixels


def seen_by_dcmqi(path: Path, folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return the places and numbers of all voxels that belong to a segment, by dcmqi's converter."""
    pytest.importorskip("dcmqi", reason="dcmqi is not installed")
    folder.mkdir()
    command = Path(sys.executable).with_name("segimage2itkimage")
    subprocess.run(
        [command, "--inputDICOM", path, "--outputDirectory", folder, "--outputType", "nrrd"],
        check=True,
        capture_output=True,
        timeout=600,
    )
    places, numbers = [], []
    for file in sorted(folder.glob("*.nrrd")):
        image = sitk.ReadImage(str(file))
        data = sitk.GetArrayFromImage(image)
        voxels = np.argwhere(data)
        matrix = np.array(image.GetDirection()).reshape(3, 3) * np.array(image.GetSpacing())
        places.append(np.array(image.GetOrigin()) + voxels[:, ::-1] @ matrix.T)
        numbers.append(np.full(len(voxels), int(file.stem.split("-")[0])))
    return np.concatenate(places), np.concatenate(numbers)


def check(number: int, tmp_path: Path) -> None:
    series, classes, kind = made(number)
    images = series.write(tmp_path / "images")
    labels = labels_of(series.shape, classes, number)
    voxels: np.ndarray = labels
    if kind == "fractional":  # of certain probabilities, which are as clear as classes
        voxels = np.stack([labels == each for each in range(1, classes + 1)]).astype(np.float32)
    path = tmp_path / "a.dcm"
    source = read_source([images])
    frames = write_segmentation(path, source, voxels, segments_of(classes), ALGORITHM, kind=kind)
    in_slice = [np.unique(each[each > 0]) for each in labels]
    if labels.any():
        assert frames == sum(len(each) > 0 if kind == "labelmap" else len(each) for each in in_slice)

    assert_same_places(series, labels, *seen_by_pydicom(path))
    np.testing.assert_array_equal(seen_by_highdicom(path, series, images), labels)
    ours = on_grid_of(read_image(images), read_labels(path))
    np.testing.assert_array_equal(ours.data.reshape(labels.shape), labels)
    if labels.any() and kind != "labelmap":
        assert_same_places(series, labels, *seen_by_dcmqi(path, tmp_path / "dcmqi"))


@pytest.mark.parametrize("number", range(FEW))
def test_every_voxel_is_at_its_place(number: int, tmp_path: Path) -> None:
    check(number, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("number", range(FEW, MANY))
def test_every_voxel_of_many_series_is_at_its_place(number: int, tmp_path: Path) -> None:
    check(number, tmp_path)
