from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from swin_umamba.inference.records import RECORDS_FILE
from swin_umamba.report.contents import PredictedCase
from swin_umamba.summary.confidence import calibration_of, predicted_cases
from swin_umamba.trained.calibration_file import FoldCalibration, write_calibration

CURVE = {
    "expected_calibration_error": 0.25,
    "counts": [0, 4, 6],
    "confidence": [None, 0.5, 0.9],
    "accuracy": [None, 0.25, 0.5],
}
DETAILS = {
    "reliability": {
        "before": CURVE,
        "after": CURVE,
        "structures_before": CURVE,
        "structures_after": {
            "expected_calibration_error": None,
            "counts": [0],
            "confidence": [None],
            "accuracy": [None],
        },
    },
    "cases": [{"case": "a", "raw": 0.95, "calibrated": 0.9, "true": 0.8}],
}


def calibrated(fold: Path, details: dict[str, Any]) -> Path:
    fold.mkdir()
    weights = {"a": torch.zeros(1)}
    path = write_calibration(fold / "checkpoint_final.pth", weights, FoldCalibration(1.5, 1.25), {})
    path.write_text(json.dumps(json.loads(path.read_text()) | details))
    return fold


def test_a_calibration(tmp_path: Path) -> None:
    missing: list[str] = []
    found = calibration_of(calibrated(tmp_path / "fold_0", DETAILS), missing)
    assert missing == []
    assert found is not None
    assert (found.name, found.temperature, found.quality_exponent) == ("fold_0", 1.5, 1.25)
    assert found.before.confidence == (0.5, 0.9)
    assert found.before.accuracy == (0.25, 0.5)
    assert found.before.counts == (4, 6)
    assert found.before.expected_calibration_error == 0.25
    assert found.structures_after.confidence == ()
    assert np.isnan(found.structures_after.expected_calibration_error)
    assert found.qualities == {"a": (0.9, 0.8)}


def test_no_calibration_says_how_to_get_one(tmp_path: Path) -> None:
    missing: list[str] = []
    assert calibration_of(tmp_path, missing) is None
    assert "swin-umamba calibrate" in missing[0]


@pytest.mark.parametrize(
    "details",
    [
        {},
        {**DETAILS, "reliability": []},
        {**DETAILS, "cases": [1]},
        {**DETAILS, "cases": [{"case": "a", "quality": 10**400, "dice": 0.8}]},
        {**DETAILS, "reliability": {**DETAILS["reliability"], "before": {**CURVE, "counts": [1]}}},
    ],
)
def test_a_damaged_calibration_is_named(tmp_path: Path, details: dict[str, Any]) -> None:
    missing: list[str] = []
    assert calibration_of(calibrated(tmp_path / "fold_0", details), missing) is None
    assert missing == ["fold_0: its calibration, as calibration.json is damaged"]


def test_records_of_predictions(tmp_path: Path) -> None:
    records = [
        {"case": "a", "status": "written", "seconds": 2, "confidence": {"quality": 0.5, "mean_entropy": 0.1}},
        {"case": "b", "status": "failed", "error": {"what": "it is damaged", "hint": ""}},
        {"case": "c", "status": "failed", "error": 5},
        {"case": "d", "status": "written", "seconds": "x", "confidence": [1]},
        {"case": "e", "status": "written", "seconds": float("nan"), "confidence": {"quality": None}},
        {"case": "f", "status": "written", "seconds": 10**400, "confidence": {"quality": -(10**400)}},
    ]
    (tmp_path / RECORDS_FILE).write_text("\n".join(map(json.dumps, records)))
    missing: list[str] = []
    cases, failures = predicted_cases(tmp_path, missing)
    assert cases == (
        PredictedCase("a", 2.0, 0.5, 0.1),
        PredictedCase("d", None, None, None),
        PredictedCase("e", None, None, None),
        PredictedCase("f", None, None, None),
    )
    assert failures == (("b", "it is damaged"), ("c", "no reason is known"))
    assert missing == []


def test_no_records_are_named(tmp_path: Path) -> None:
    missing: list[str] = []
    assert predicted_cases(tmp_path, missing) == ((), ())
    assert RECORDS_FILE in missing[0]


@pytest.mark.parametrize(("fold", "cases"), [("fold_0", ""), ("fold_all", " --images DIR --references DIR")])
def test_the_hint_is_a_command_that_works(tmp_path: Path, fold: str, cases: str) -> None:
    missing: list[str] = []
    assert calibration_of(tmp_path / "MODEL" / fold, missing) is None
    assert missing == [f"{fold}: its calibration: run swin-umamba calibrate -m MODEL{cases}"]
