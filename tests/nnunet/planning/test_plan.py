"""Planning six tiny pictures: what it writes, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor
from PIL import Image as PILImage

from swin_umamba.errors import DataError, OutputError, UsageError
from swin_umamba.nnunet.environment import Dataset
from swin_umamba.nnunet.planning.plan import plan


def test_plan_writes_what_training_needs(planned_folder: Path) -> None:
    folder = planned_folder / "nnUNet_preprocessed" / "Dataset901_Squares"
    plans = json.loads((folder / "SwinUMambaPlans.json").read_text())
    assert plans["configurations"]["2d"]["patch_size"] == [64, 64]
    assert plans["configurations"]["2d"]["batch_size"] == 2
    assert sorted(path.name for path in (folder / "gt_segmentations").iterdir()) == [
        f"case{number}.png" for number in range(6)
    ]
    assert len(list((folder / "SwinUMambaPlans_2d").glob("*.pkl"))) == 6
    assert not list(folder.glob("*.unfinished"))
    fingerprint = json.loads((folder / "dataset_fingerprint.json").read_text())
    assert fingerprint["shapes_after_crop"] == [[1, 64, 64]] * 6
    foreground = fingerprint["foreground_intensity_properties_per_channel"]["0"]
    assert (
        plans["background_share"] == fingerprint["background_share"] == 0
    )  # each picture is a cell with tissue
    assert 90 <= foreground["min"] < foreground["median"] < foreground["max"] < 220


def test_plan_refuses_bad_data_and_writes_nothing(raw_dataset: Dataset) -> None:
    label = raw_dataset.raw_folder / "labelsTr" / "case0.png"
    PILImage.fromarray(np.full((64, 64), 9, np.uint8)).save(label)
    with pytest.raises(DataError, match="value 9"):
        plan(raw_dataset, workers=1)
    assert not raw_dataset.folders.preprocessed.exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"patch_size": (48, 64)}, "patch size"),
        ({"batch_size": 0}, "batch size"),
        ({"workers": -1}, "workers"),
    ],
)
def test_plan_refuses_bad_options_and_writes_nothing(
    raw_dataset: Dataset, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        plan(raw_dataset, **options)
    assert not raw_dataset.folders.preprocessed.exists()


def test_an_interrupted_plan_leaves_no_half_folder(
    raw_dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*args: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(DefaultPreprocessor, "run_case_save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        plan(raw_dataset, workers=1)
    assert not list(raw_dataset.preprocessed_folder.glob("*.unfinished"))


def test_plan_names_a_file_in_the_place_of_a_folder(raw_dataset: Dataset) -> None:
    raw_dataset.folders.preprocessed.write_text("mine")
    with pytest.raises(OutputError, match="a file, not a folder"):
        plan(raw_dataset, workers=1)
    assert raw_dataset.folders.preprocessed.read_text() == "mine"


def test_plan_again_replaces_read_only_files(planned_dataset: Dataset) -> None:
    (planned_dataset.preprocessed_folder / "dataset.json").chmod(0o444)
    references = planned_dataset.preprocessed_folder / "gt_segmentations"
    (references / "removed.png").write_bytes(b"of a case that was removed since")
    result = plan(planned_dataset, patch_size=(32, 64), batch_size=3, workers=0)
    assert (result.patch_size, result.batch_size, result.num_cases) == ((32, 64), 3, 6)
    assert sorted(path.stem for path in references.iterdir()) == [f"case{number}" for number in range(6)]
