"""Confidence of a model, from the records of its calibration and of predict."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from swin_umamba.errors import SwinUMambaError
from swin_umamba.inference.records import RECORDS_FILE, read_records
from swin_umamba.pseudonyms import shown
from swin_umamba.report.contents import CalibrationSummary, PredictedCase, ReliabilityCurve
from swin_umamba.summary.places import DAMAGED
from swin_umamba.trained.calibration_file import read_calibration
from swin_umamba.weights.checkpoint import CALIBRATION_FILE

_CURVES = ("before", "after", "structures_before", "structures_after")


def calibration_of(fold: Path, missing: list[str]) -> CalibrationSummary | None:
    """Read the calibration of a fold folder; if there is none, return None and add that to ``missing``."""
    path = fold / CALIBRATION_FILE
    if not path.is_file():
        # The fold ``all`` has no validation cases.
        cases = " --images DIR --references DIR" if fold.name == "fold_all" else ""
        missing.append(
            f"{fold.name}: its calibration: run swin-umamba calibrate -m {fold.parent.name}{cases}"
        )
        return None
    try:
        calibration, content = read_calibration(path)
        curves = content["reliability"]
        qualities = {
            shown(str(each["case"])): (float(each["calibrated"]), float(each["true"]))
            for each in content["cases"]
        }
        return CalibrationSummary(
            fold.name,
            calibration.temperature,
            calibration.quality_exponent,
            **{each: _curve(curves[each]) for each in _CURVES},
            qualities=qualities,
        )
    except (SwinUMambaError, *DAMAGED):
        missing.append(f"{fold.name}: its calibration, as {path.name} is damaged")
        return None


def predicted_cases(
    folder: Path, missing: list[str]
) -> tuple[tuple[PredictedCase, ...], tuple[tuple[str, str], ...]]:
    """Read the records of predict in a folder of predictions.

    Returns
    -------
    tuple
        The cases that have a label map, and the names of failed cases with the reasons.
    """
    try:
        records = read_records(folder)
    except SwinUMambaError as error:
        missing.append(f"times and confidence of the predictions: {error.what}")
        return (), ()
    if not records:
        missing.append(f"times of the predictions: {RECORDS_FILE} is not beside them")
    cases, failures = [], []
    for case, record in records.items():
        name = shown(case)
        if record.get("status") == "failed":
            why = record.get("error")
            reason = str(why.get("what")) if isinstance(why, dict) else "no reason is known"
            failures.append((name, reason))
            continue
        confidence = record.get("confidence")
        known: Mapping[str, Any] = confidence if isinstance(confidence, dict) else {}
        cases.append(
            PredictedCase(
                name,
                _number(record.get("seconds")),
                _number(known.get("quality")),
                _number(known.get("mean_entropy")),
            )
        )
    return tuple(cases), tuple(failures)


def _curve(content: Mapping[str, Any]) -> ReliabilityCurve:
    bins = [
        (float(confidence), float(accuracy), int(count))
        for confidence, accuracy, count in zip(
            content["confidence"], content["accuracy"], content["counts"], strict=True
        )
        if count
    ]
    error = content["expected_calibration_error"]
    confidences, accuracies, numbers = zip(*bins, strict=True) if bins else ((), (), ())
    return ReliabilityCurve(confidences, accuracies, numbers, math.nan if error is None else float(error))


def _number(value: Any) -> float | None:
    try:
        number = float(value) if isinstance(value, int | float) else math.nan
    except OverflowError:  # JSON has integers of any size
        return None
    return number if math.isfinite(number) else None
