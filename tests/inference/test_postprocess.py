"""The post-processing of a model: chosen on its validation cases, stored, applied, refused, left out."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage

from json_edits import changed_json
from swin_umamba.cli.main import main
from swin_umamba.errors import CheckpointError, DataError, UsageError
from swin_umamba.evaluation.postprocessing import ComponentStep, apply_steps
from swin_umamba.inference.postprocess import choose_postprocessing
from swin_umamba.inference.predictor import Predictor
from swin_umamba.trained.export_model import export_model


def save(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    PillowImage.fromarray(values.astype(np.uint8)).save(path)


@pytest.fixture
def model(make_model_at: Callable[..., Path], tmp_path: Path) -> Path:
    """A model of two folds whose validation has spots that the references lack."""
    folder = make_model_at(tmp_path / "nnUNet_results" / "Dataset999_Tiny", folds=(0, 1))
    references = tmp_path / "nnUNet_preprocessed" / "Dataset999_Tiny" / "gt_segmentations"
    for number in range(4):
        truth = np.zeros((40, 40))
        truth[5:15, 5:20], truth[20:35, 20 : 30 + number] = 1, 2
        found = truth.copy()
        found[1, 30:32], found[38, 2] = 1, 2
        validation = folder / f"fold_{number % 2}" / "validation"
        save(references / f"case{number}.png", truth)
        save(validation / f"case{number}.png", found)
        (validation / "summary.json").write_text("{}")
    return folder


def test_chosen_stored_applied_and_left_out(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["postprocess", "-m", str(model), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["num_cases"] == 4
    assert printed["after"] == {"small": 1.0, "large": 1.0}
    steps = (ComponentStep("largest", (1,)), ComponentStep("largest", (2,)))
    assert "case" not in Path(printed["file"]).read_text().replace("num_cases", "")
    image = np.random.default_rng(3).integers(0, 255, (40, 50), np.uint8)
    export_model(model, tmp_path / "model.safetensors")
    plain = Predictor.from_folder(model, device="cpu", postprocessing=False)
    raw = plain.predict(image).labels
    for path in (model, tmp_path / "model.safetensors"):
        predictor = Predictor.from_folder(path, device="cpu")
        assert predictor.postprocessing == steps
        assert np.array_equal(predictor.predict(image).labels, apply_steps(raw, steps, 1.0))
        assert not np.array_equal(predictor.predict(image).labels, raw)
        assert predictor.settings != plain.settings, "results with and without it are told apart"


def test_steps_for_other_weights_are_not_used(model: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = choose_postprocessing(model).file
    with changed_json(file) as stored:
        stored["weights_sha256"]["fold_1"] = "0" * 64
    with caplog.at_level(logging.WARNING):
        assert Predictor.from_folder(model, device="cpu").postprocessing == ()
    assert "run swin-umamba postprocess again" in caplog.text
    assert Predictor.from_folder(model, folds=[0], device="cpu").postprocessing
    file.write_text(json.dumps({**stored, "steps": [{"kind": "import os"}]}))
    with pytest.raises(CheckpointError, match="post-processing cannot be read"):
        Predictor.from_folder(model, device="cpu")


def test_what_is_missing_is_said(model: Path, tmp_path: Path) -> None:
    (tmp_path / "nnUNet_preprocessed" / "Dataset999_Tiny" / "gt_segmentations" / "case3.png").unlink()
    with pytest.raises(DataError, match="no reference"):
        choose_postprocessing(model)
    with pytest.raises(UsageError, match="no fold of this model has been validated"):
        choose_postprocessing(tmp_path)
    assert not (model / "postprocessing.json").exists()
