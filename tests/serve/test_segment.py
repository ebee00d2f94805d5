"""What is left for the page: turned to be looked at, while the label map stays as the image is stored."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from report.test_orientation import every_orientation
from swin_umamba.data.image import Image
from swin_umamba.data.image_io import read_labels
from swin_umamba.inference.prediction import Prediction
from swin_umamba.serve.schema import ModelClass
from swin_umamba.serve.segment import Result, Segmenter
from swin_umamba.serve.slices import slice_picture

CLASSES = (ModelClass(name="bright", value=1, members=[1], colour="#e69f00"),)


def predict(image: Image, **_: Any) -> Prediction:
    return Prediction((image.data[0] > 400).astype(np.uint8), image=image)


@pytest.fixture
def segment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Image], Result]:
    """Segment an image by its brightness."""
    monkeypatch.setattr("swin_umamba.serve.segment.shown_classes", lambda predictor: CLASSES)
    model = SimpleNamespace(dataset_json={"file_ending": ".nii.gz"})
    predictor: Any = SimpleNamespace(
        channel_names=["grey"], model=model, predict=predict, labels={"background": 0, "bright": 1}
    )
    segmenter = Segmenter(predictor, max_voxels=10_000, confidence=False)
    number = iter(range(1000))

    def run(image: Image) -> Result:
        monkeypatch.setattr(Segmenter, "_read", lambda self, upload: image)
        folder = tmp_path / str(next(number))
        folder.mkdir()
        upload: Any = SimpleNamespace(
            folder=folder, images=(Path("a.nii.gz"),), names=("a.nii.gz",), instances=False
        )
        return segmenter(upload, lambda part: None)

    return run


def test_48_orientations_are_shown_as_one(segment: Callable[[Image], Result]) -> None:
    patient = np.random.default_rng(0).permutation(9 * 8 * 7).reshape(9, 8, 7).astype(np.int16)
    seen = set()
    for image in every_orientation(patient):
        result = segment(image)
        assert np.array_equal(read_labels(result.labels_file).data[0], predict(image).labels)
        middle = slice_picture(result, CLASSES, 3, 0)
        seen.add(
            (
                *(np.load(result.folder / name).tobytes() for name in ("labels.npy", "view_0.npy")),
                (middle.picture, str(middle.layers), middle.width, middle.height),
                (result.num_slices, result.width, round(result.aspect, 6), result.start),
                (result.turned.plane, result.turned.edges),
            )
        )
    assert len(seen) == 1
    *_, sizes, marks = seen.pop()
    assert sizes[:3] == (7, 9, 1.2)
    assert marks == ("axial", ("R", "L", "A", "P"))


def test_without_orientation_the_order_of_the_file_is_shown(
    segment: Callable[[Image], Result], tmp_path: Path
) -> None:
    voxels = np.random.default_rng(0).permutation(4 * 5 * 6).reshape(4, 5, 6).astype(np.int16) * 5
    result = segment(Image.without_geometry(voxels[None], tmp_path))
    assert np.array_equal(np.load(result.folder / "labels.npy"), voxels > 400)
    assert (result.num_slices, result.width, result.aspect) == (4, 6, 1.0)
    assert (result.turned.plane, result.turned.edges) == (None, ())
