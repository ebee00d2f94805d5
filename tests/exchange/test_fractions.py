"""Probabilities in steps, and the frames that hold them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("highdicom", reason="highdicom is not installed")

import pydicom

from exchange.made_series import ALGORITHM, Series, segments_of
from little_memory import little_memory
from swin_umamba.exchange.fractions import fill_frames, stored_steps
from swin_umamba.exchange.segmentation import write_segmentation
from swin_umamba.exchange.source import read_source

OBLIQUE = (0.8, 0.6, 0.0, -0.36, 0.48, 0.8)


def sparse(segments: int, shape: tuple[int, ...]) -> np.ndarray:
    rng = np.random.default_rng(segments)
    found = rng.random((segments, *shape), dtype=np.float32)
    return found * (rng.random((segments, shape[0], 1, 1)) < 0.6).astype(np.float32)


def test_steps_are_the_nearest() -> None:
    given = np.array([0, 0.49 / 255, 0.51 / 255, 0.5, 1, 1.0001, -0.1], np.float32).reshape(1, 1, -1, 1)
    assert stored_steps(given).ravel().tolist() == [0, 0, 1, 128, 255, 255, 0]


@pytest.mark.parametrize("kind", ["files", "enhanced"])
@pytest.mark.parametrize("segments", [1, 3])
def test_each_frame_holds_the_probabilities_of_its_place(tmp_path: Path, kind: str, segments: int) -> None:
    """Places are those that the file gives, and compared with those of the series."""
    series = Series(shape=(6, 4, 5), orientation=OBLIQUE)
    order = [3, 0, 5, 1, 4, 2]
    path = (
        series.write(tmp_path / "i") if kind == "files" else series.write_enhanced(tmp_path / "i.dcm", order)
    )
    probabilities = sparse(segments, series.shape)
    source = read_source([path])
    write_segmentation(
        tmp_path / "a.dcm", source, probabilities, segments_of(segments), ALGORITHM, kind="fractional"
    )
    found = pydicom.dcmread(tmp_path / "a.dcm")
    frames = found.pixel_array.reshape(-1, 4, 5)
    seen = np.zeros(probabilities.shape)
    for frame, group in zip(frames, found.PerFrameFunctionalGroupsSequence, strict=True):
        groups = (group, found.SharedFunctionalGroupsSequence[0])
        (number,) = (
            each.SegmentIdentificationSequence[0].ReferencedSegmentNumber
            for each in groups
            if "SegmentIdentificationSequence" in each
        )
        position = np.array(group.PlanePositionSequence[0].ImagePositionPatient, float)
        distances = [np.linalg.norm(position - series.position(index)) for index in range(6)]
        assert min(distances) < 1e-6
        seen[number - 1, int(np.argmin(distances))] = frame
    np.testing.assert_allclose(seen / 255, probabilities, atol=0.5 / 255 + 1e-6)
    assert found.SegmentsOverlap == ("UNDEFINED" if segments > 1 else "NO")


def test_frames_of_other_places_are_refused(tmp_path: Path) -> None:
    series = Series(shape=(3, 4, 5))
    source = read_source([series.write(tmp_path / "images")])
    probabilities = np.zeros((1, *series.shape), np.float32)
    probabilities[0, 0] = 1
    write_segmentation(
        tmp_path / "a.dcm", source, probabilities, segments_of(1), ALGORITHM, kind="fractional"
    )
    found = pydicom.dcmread(tmp_path / "a.dcm")
    with pytest.raises(ValueError, match="frame 1 is not of slice 1 and segment 1"):
        fill_frames(found, source, np.zeros((*series.shape, 1), np.uint8))


def test_no_copies_of_all_probabilities_are_made(tmp_path: Path) -> None:
    series = Series(shape=(20, 128, 128))
    source = read_source([series.write(tmp_path / "images")])
    probabilities = np.zeros((8, *series.shape), np.float32)
    probabilities[:, 8:10] = 0.25
    with little_memory(probabilities.nbytes):
        write_segmentation(
            tmp_path / "a.dcm", source, probabilities, segments_of(8), ALGORITHM, kind="fractional"
        )
