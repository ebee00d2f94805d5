"""Folders with probabilities, taken by nnU-Net's own ensembling."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
from nnunetv2.ensembling.ensemble import merge_files
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
from PIL import Image as PillowImage

from json_edits import changed_json
from swin_umamba.data.image_io import check_same_grid, read_labels
from swin_umamba.inference.predictor import Predictor

AFFINE = np.array([[0, 0, 3.0, 5], [0.8, 0, 0, -2], [0, -0.9, 0, 1], [0, 0, 0, 1]])


@pytest.mark.parametrize("ending", [".png", ".nii.gz"])
def test_nnunet_makes_the_mean_of_two_folders(
    make_model_at: Callable[..., Path], tmp_path: Path, ending: str
) -> None:
    values = np.random.default_rng(0).integers(0, 255, (40, 50, 3), np.uint8)
    image = tmp_path / f"a{ending}"
    if ending == ".png":
        PillowImage.fromarray(values[..., 0]).save(image)
    else:
        nibabel.save(nibabel.Nifti1Image(values, AFFINE), image)
    model = make_model_at(tmp_path / "models", file_ending=ending, folds=(0, 1))
    with changed_json(model / "plans.json") as plans:
        plans["image_reader_writer"] = "NaturalImage2DIO" if ending == ".png" else "SimpleITKIO"
    predictors = [Predictor.from_folder(model, folds=[fold], device="cpu") for fold in (0, 1)]
    folders = [tmp_path / "one", tmp_path / "two"]
    for predictor, folder in zip(predictors, folders, strict=True):
        assert predictor.predict_folder(image, folder, probabilities=True)[0].error is None
    # As nnU-Net's ensemble_folders does, without its pool of processes.
    manager = PlansManager(json.loads((folders[0] / "plans.json").read_text()))
    description = json.loads((folders[0] / "dataset.json").read_text())
    (tmp_path / "mean").mkdir()
    merge_files(
        [str(folder / "a.npz") for folder in folders],
        str(tmp_path / "mean" / "a"),
        description["file_ending"],
        manager.image_reader_writer_class(),
        manager.get_label_manager(description),
    )
    merged = read_labels(tmp_path / "mean" / f"a{ending}")
    check_same_grid(merged, read_labels(folders[0] / f"a{ending}"))
    results = [predictor.predict(image, probabilities=True).probabilities for predictor in predictors]
    assert np.array_equal(merged.data[0], np.mean(results, axis=0).argmax(axis=0))
