"""Pixels of a slide against those of the model: refused, or the nearest level chosen."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile

from swin_umamba.errors import UsageError
from swin_umamba.inference.predictor import Predictor

MICROMETRES = 0.001


@pytest.fixture
def predictor(make_model: Callable[..., Path]) -> Predictor:
    """Return a model of pixels of 1 µm."""
    folder = make_model(
        channels=("a",), patch_size=(32, 32), spacing=(MICROMETRES, MICROMETRES), file_ending=".nii.gz"
    )
    return Predictor.from_folder(folder, device="cpu", mirroring=False, step_size=1.0)


def write_pyramid(path: Path, micrometres: float, levels: int = 3) -> np.ndarray:
    image = np.random.default_rng(0).integers(1, 255, (128, 160), dtype=np.uint8)
    metadata = {
        "axes": "YX",
        **{f"PhysicalSize{axis}": micrometres for axis in "XY"},
        **{f"PhysicalSize{axis}Unit": "µm" for axis in "XY"},
    }
    with tifffile.TiffWriter(path, ome=True) as file:
        file.write(image, subifds=levels - 1, tile=(64, 64), metadata=metadata)
        for level in range(1, levels):
            file.write(image[:: 2**level, :: 2**level], subfiletype=1, tile=(64, 64))
    return image


@pytest.mark.parametrize(("micrometres", "level"), [(0.25, 2), (0.52, 1), (1.05, 0)])
def test_the_nearest_level_is_chosen(
    predictor: Predictor, tmp_path: Path, micrometres: float, level: int
) -> None:
    path = tmp_path / "slide.ome.tif"
    image = write_pyramid(path, micrometres)
    (result,) = predictor.predict_folder(path, tmp_path / "out", rescale=True, statistics="image")
    assert result.error is None
    found = tifffile.imread(result.output, key=0)
    expected = predictor.predict(image[:: 2**level, :: 2**level]).labels
    np.testing.assert_array_equal(found, expected)
    (record,) = (tmp_path / "out" / "blocks").glob("*/job.json")
    assert json.loads(record.read_text())["level"] == level


def test_a_difference_above_a_tenth_is_refused(predictor: Predictor, tmp_path: Path) -> None:
    path = tmp_path / "slide.ome.tif"
    write_pyramid(path, 0.35)
    (result,) = predictor.predict_folder(path, tmp_path / "out", blocks=True)
    assert result.error is not None
    assert "0.00035 x 0.00035 mm, the model's 0.001 x 0.001 mm" in result.error.what
    assert "--rescale (0: 0.00035 mm, 1: 0.0007 mm, 2: 0.0014 mm)" in str(result.error.hint)
    (result,) = predictor.predict_folder(path, tmp_path / "out", rescale=True)
    assert result.error is not None
    assert "0.0014 x 0.0014 mm" in result.error.what or "0.0007 x 0.0007 mm" in result.error.what


def test_a_level_cannot_be_chosen_by_a_size_that_is_not_known(predictor: Predictor, tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((128, 160), np.uint8))
    (result,) = predictor.predict_folder(path, tmp_path / "out", rescale=True)
    assert result.error is not None
    assert "the size of the image's pixels is not known" in result.error.what
    with pytest.raises(UsageError, match="chooses a level"):
        predictor.predict_folder(path, tmp_path / "out", rescale=True, level=1)
