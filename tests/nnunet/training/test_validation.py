"""The summary of the final validation against nnU-Net's own."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nnunetv2.imageio.natural_image_reader_writer import NaturalImage2DIO
from PIL import Image as PILImage

from swin_umamba.nnunet.checked_reader import CheckedReader
from swin_umamba.nnunet.training.validation import summarize

KEYS = [f"case{number}" for number in range(3)]


@pytest.fixture
def predictions(tmp_path: Path) -> Path:
    """Three references and predictions; class 2 is missing in the third pair, class 3 everywhere."""
    random = np.random.default_rng(1)
    for folder in ("gt_segmentations", "validation"):
        (tmp_path / folder).mkdir()
        for number in range(3):
            label = random.integers(0, 3 if number < 2 else 2, (20, 30)).astype(np.uint8)
            PILImage.fromarray(label).save(tmp_path / folder / f"case{number}.png")
    return tmp_path


def summary_of(root: Path, regions: list[Any], ignore_label: int | None = None) -> dict[str, Any]:
    """Write the summary of the three cases."""
    return summarize(
        root / "validation",
        root / "gt_segmentations",
        KEYS,
        reader=CheckedReader(NaturalImage2DIO),
        ending=".png",
        regions=regions,
        ignore_label=ignore_label,
    )


def test_summary(predictions: Path) -> None:
    summary = summary_of(predictions, [1, 2])
    dice = []
    for key in KEYS:
        reference, prediction = (
            np.array(PILImage.open(predictions / folder / f"{key}.png")) == 2
            for folder in ("gt_segmentations", "validation")
        )
        if (reference | prediction).any():
            dice.append(2 * (reference & prediction).sum() / (reference.sum() + prediction.sum()))
    assert len(dice) == 2
    assert summary["mean"][2]["Dice"] == pytest.approx(np.mean(dice))
    written = json.loads((predictions / "validation" / "summary.json").read_text())
    assert written["mean"]["2"]["Dice"] == pytest.approx(np.mean(dice))
    assert written["foreground_mean"]["Dice"] == pytest.approx(
        (written["mean"]["1"]["Dice"] + written["mean"]["2"]["Dice"]) / 2
    )


@pytest.mark.slow
@pytest.mark.parametrize(("regions", "ignore_label"), [([1, 2, 3], None), ([1], 2), ([(1, 2), 2], None)])
def test_summary_equals_that_of_nnunet(
    predictions: Path, regions: list[Any], ignore_label: int | None
) -> None:
    from nnunetv2.evaluation.evaluate_predictions import compute_metrics_on_folder

    summary_of(predictions, regions, ignore_label)
    ours = (predictions / "validation" / "summary.json").read_text()
    shutil.move(predictions / "validation" / "summary.json", predictions / "ours.json")
    compute_metrics_on_folder(
        str(predictions / "gt_segmentations"),
        str(predictions / "validation"),
        str(predictions / "stock.json"),
        NaturalImage2DIO(),
        ".png",
        regions,
        ignore_label,
        num_processes=1,
    )
    stock = (predictions / "stock.json").read_text()
    assert without_nan(json.loads(ours)) == without_nan(json.loads(stock))


def without_nan(value: Any) -> Any:
    """Replace NaN, which is not equal to itself."""
    if isinstance(value, dict):
        return {key: without_nan(each) for key, each in value.items()}
    if isinstance(value, list):
        return [without_nan(each) for each in value]
    return "NaN" if isinstance(value, float) and math.isnan(value) else value
