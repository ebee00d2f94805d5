from __future__ import annotations

import json
import math
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from cli.command_line import parsed
from swin_umamba.cli import calibrate as command
from swin_umamba.confidence.case_quality import EstimatedCase
from swin_umamba.confidence.labelled_pixels import CalibrationCurves
from swin_umamba.confidence.temperature import Reliability
from swin_umamba.errors import CheckpointError, UsageError
from swin_umamba.inference import calibrate as calibration
from swin_umamba.inference.calibrate import CalibrationResult
from swin_umamba.inference.predictor import Predictor
from swin_umamba.trained.calibration_file import FoldCalibration


def curve(error: float) -> Reliability:
    return Reliability(np.array([10]), np.array([0.5 + error]), np.array([0.5]))


RESULT = CalibrationResult(
    FoldCalibration(1.5, 1.25),
    CalibrationCurves(
        curve(0.03), curve(0.01), curve(0.2), Reliability(np.array([0]), *[np.array([math.nan])] * 2)
    ),
    tuple(EstimatedCase(f"c{n}", 0.9 + n / 100, 0.85 + n / 100, 0.8 + n / 100) for n in range(4)),
    (("bad", "cannot be read"),),
    Path("model/fold_0/calibration.json"),
)


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Replace the prediction; what it is called with, and the ``result`` that it returns."""
    calls: dict[str, Any] = {"loaded": [], "result": RESULT}
    for fold in (0, 2):
        (tmp_path / f"fold_{fold}").mkdir()
        (tmp_path / f"fold_{fold}" / "checkpoint_final.pth").touch()
    for name in ("plans.json", "dataset.json"):
        (tmp_path / name).touch()

    def from_folder(path: Path, **options: Any) -> SimpleNamespace:
        calls["loaded"].append(path.parent.name)
        calls["options"] = options
        return SimpleNamespace(path=path)

    def calibrate(predictor: Any, **options: Any) -> CalibrationResult:
        calls["cases"] = options
        return calls["result"]

    monkeypatch.setattr(Predictor, "from_folder", from_folder)
    monkeypatch.setattr(calibration, "calibrate", calibrate)
    return calls


arguments = partial(parsed, command, "-m")


def test_every_fold_by_itself(
    calls: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.run(arguments(tmp_path)) == 1  # a case was left out
    assert calls["loaded"] == ["fold_0", "fold_2"]
    assert calls["options"] == {}
    assert calls["cases"] == {"images": None, "references": None, "instances": None}
    assert capsys.readouterr().out.splitlines()[:7] == [
        "fold_0: temperature 1.500, exponent of the agreement 1.250",
        "  expected calibration error: 0.0300 before, 0.0100 after",
        "  the same where structures have a probability of 1 % or more: 0.2000 before, - after",
        "  estimated and true Dice of 4 cases differ by 0.100 before, 0.050 after",
        "  their rank correlation: 1.00",
        "  left out: case bad: cannot be read",
        "  written: model/fold_0/calibration.json",
    ]


def test_json(calls: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command.run(
        arguments(tmp_path, "--json", "--fold", "2", "--no-mirroring", "--images", "i", "--references", "r")
    )
    assert calls["loaded"] == ["fold_2"]
    assert calls["options"]["mirroring"] is False
    assert calls["cases"] == {"images": Path("i"), "references": Path("r"), "instances": None}
    summary = json.loads(capsys.readouterr().out)["folds"]["fold_2"]
    assert summary["temperature"] == 1.5
    assert summary["expected_calibration_error"] == {
        "before": pytest.approx(0.03),
        "after": pytest.approx(0.01),
        "structures_before": pytest.approx(0.2),
        "structures_after": None,
    }
    assert summary["failed"] == {"bad": "cannot be read"}
    assert summary["quality_exponent"] == 1.25
    assert summary["quality"]["error_before"] == pytest.approx(0.1)
    assert summary["cases"][0] == {"case": "c0", "raw": 0.9, "calibrated": 0.85, "true": 0.8}


def test_a_model_that_is_not_there(calls: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such model"):
        command.run(arguments(tmp_path / "nowhere"))
    with pytest.raises(CheckpointError, match="no fold_1"):
        command.run(arguments(tmp_path, "--fold", "1"))
