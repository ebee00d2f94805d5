"""Which spacing an image counts as having: pixels, millimetres, or the model's own, and what is said."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image as PillowImage

from swin_umamba.inference.inputs import as_volume
from swin_umamba.trained.model import load_trained_model
from swin_umamba.trained.model_plans import ModelPlans

MakeModel = Callable[..., Path]
COUNTS = {
    # Reader, file ending and spacing of the training images, and whether these said how large a pixel is.
    "pictures": ("NaturalImage2DIO", ".png", (1.0, 1.0), True),
    "pictures in TIFF": ("NaturalImage2DIO", ".tif", (1.0, 1.0), True),
    "pictures that are halved": ("NaturalImage2DIO", ".png", (2.0, 2.0), True),
    "pictures read by another reader": ("SimpleITKIO", ".png", (1.0, 1.0), True),
    "TIFF volumes of no size": ("Tiff3DIO", ".tif", (1.0, 1.0), True),
    "TIFF volumes of a size": ("Tiff3DIO", ".tif", (0.5, 0.5), False),
    "NIfTI": ("SimpleITKIO", ".nii.gz", (1.0, 1.0), False),
}


def plans_of(make_model: MakeModel, reader: str, ending: str, spacing: tuple[float, ...]) -> ModelPlans:
    folder = make_model(spacing=spacing, file_ending=ending)
    plans = json.loads((folder / "plans.json").read_text()) | {"image_reader_writer": reader}
    (folder / "plans.json").write_text(json.dumps(plans))
    return ModelPlans(load_trained_model(folder))


@pytest.mark.parametrize("kind", COUNTS)
def test_pixels_are_counted_where_no_training_image_said_their_size(
    make_model: MakeModel, tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    reader, ending, own, counts_pixels = COUNTS[kind]
    plans = plans_of(make_model, reader, ending, own)
    assert plans.counts_pixels == counts_pixels
    voxels = np.arange(120, dtype=np.uint8).reshape(10, 12, 1)
    for size in (1.0, 0.3):
        affine = np.diag([size, size, 1, 1])
        nibabel.save(nibabel.Nifti1Image(voxels, affine), tmp_path / f"{size}.nii.gz")
        volume = as_volume(tmp_path / f"{size}.nii.gz", None, ("grey",))
        assert plans.spacing_of(volume)[1:] == pytest.approx([1.0, 1.0] if counts_pixels else [size] * 2)
    assert ("counts pixels" in caplog.text) == counts_pixels
    assert "each slice" not in caplog.text
    plans.spacing_of(as_volume(np.repeat(voxels.transpose(2, 0, 1)[None], 3, axis=1), None, ("grey",)))
    assert ("each slice is segmented as one" in caplog.text) == (reader == "NaturalImage2DIO")
    caplog.clear()
    # A picture, an array, and an array with a size.
    PillowImage.fromarray(voxels[..., 0]).save(tmp_path / "a.png")
    with caplog.at_level(logging.WARNING):
        for given in (tmp_path / "a.png", tmp_path / "a.png", voxels[..., 0]):
            volume = as_volume(given, None, ("grey",))
            assert plans.spacing_of(volume)[1:] == ([1.0, 1.0] if counts_pixels else list(own))
    size = " x ".join(f"{each:g}" for each in own)
    assert caplog.text.count(f"taken to be the model's own, {size} mm") == (0 if counts_pixels else 1)
    sized = as_volume(voxels[..., 0], (0.3, 0.4), ("grey",))
    assert plans.spacing_of(sized)[1:] == ([1.0, 1.0] if counts_pixels else [0.3, 0.4])


def test_a_model_that_halves_pictures_sees_them_halved(make_model: MakeModel) -> None:
    plans = plans_of(make_model, "NaturalImage2DIO", ".png", (2.0, 2.0))
    volume = as_volume(np.arange(64 * 80, dtype=np.float32).reshape(64, 80), None, ("grey",))
    assert plans.preprocess(volume)[0].shape == (1, 1, 32, 40)
