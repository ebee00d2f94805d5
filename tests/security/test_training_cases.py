"""Names and free texts of training cases stay where they are."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from swin_umamba.inference.predictor import Predictor
from swin_umamba.trained.export_model import export_model

MakeModel = Callable[..., Path]


@pytest.mark.parametrize("name", ["dataset.json", "plans.json"])
def test_nothing_of_the_training_cases_travels_along(
    name: str, make_model: MakeModel, tmp_path: Path
) -> None:
    folder = make_model(folds=(0,))
    description = json.loads((folder / name).read_text())
    description |= {
        "dataset": {"DOE_JANE": {"images": ["/home/jane/DOE_JANE.nii.gz"], "label": "x"}},
        "training": [{"image": "./imagesTr/DOE_JANE.nii.gz"}],
        "description": "scanned by Dr. SMITH",
        "name": "study of DOE_JANE",
        "unheard of": {"deeper": "DOE_JANE"},
    }
    (folder / name).write_text(json.dumps(description))
    export_model(folder, tmp_path / "model.safetensors")
    content = (tmp_path / "model.safetensors").read_bytes()
    for planted in (b"DOE_JANE", b"/home/jane", b"SMITH", str(tmp_path).encode()):
        assert planted not in content
    predictor = Predictor.from_folder(tmp_path / "model.safetensors", device="cpu")
    predictor.predict(np.zeros((32, 32), np.uint8))
