"""A small report with everything in it, whose names come from somebody hostile."""

from __future__ import annotations

import math

import numpy as np

from swin_umamba.metric_table import METRICS
from swin_umamba.report.contents import (
    CalibrationSummary,
    CasePictures,
    Confusion,
    Facts,
    PredictedCase,
    ReliabilityCurve,
    Report,
    Scores,
    Slice,
    SummaryRow,
    TrainingCurves,
)

HOSTILE = "<script>alert(1)</script>\"'&{{ 7 * 7 }}</svg>"


def make_report() -> Report:
    """Return a report of a volume of two slices and a flat image, with classes 1 and 3."""
    truth = np.zeros((6, 8), np.int32)
    truth[1:3, 1:4] = 1
    prediction = np.roll(truth, 1, axis=1)
    more = truth.copy()
    more[4, 4:7] = 3
    image = np.full((6, 8, 3), 90, np.uint8)
    unsure = np.full((6, 8), 0.25, np.float32)
    volume = (Slice(4, image, truth, prediction, unsure), Slice(9, image, more, more, 3 * unsure))
    flat = (Slice(0, image, None, prediction),)
    before = ReliabilityCurve((0.5, 0.9), (0.25, 0.5), (10, 30), 0.3625)
    after = ReliabilityCurve((0.4, 0.6), (0.35, 0.65), (20, 20), 0.05)
    nothing = ReliabilityCurve((), (), (), math.nan)
    values = np.array([[[0.5], [math.nan]], [[0.75], [1.0]]])
    return Report(
        title=f"Report on {HOSTILE}",
        classes={"liver": 1, HOSTILE: 3},
        facts=(Facts("Data", (("classes", HOSTILE), ("seed", "7"))),),
        curves=(
            TrainingCurves(
                "fold_0",
                (1.0, 0.5, 0.25),
                (0.9, math.nan, 0.3),
                (0.01, 0.005, 0.001),
                (2.0, 2.0, 2.5),
                {"liver": (0.1, 0.2, 0.4), HOSTILE: (math.nan, 0.1, 0.2)},
                (0.1, 0.15, 0.3),
            ),
        ),
        scores=Scores("Evaluation", (METRICS["dice"],), ("liver", HOSTILE), ("a", "b"), values, ("A note.",)),
        summary=(
            SummaryRow("liver", 2, (0.625,), ((0.5, 0.75),)),
            SummaryRow(HOSTILE, 1, (1.0,), (None,)),
        ),
        cases=(
            CasePictures("a", "worst", "Dice 0.5000", volume, 1.5, "2 of 20 slices"),
            CasePictures(HOSTILE, "best", "", flat),
        ),
        confusion=Confusion(("background", "liver", HOSTILE), np.array([[6, 2, 0], [1, 3, 0], [0, 0, 0]]), 2),
        calibrations=(
            CalibrationSummary("fold_0", 1.75, 1.5, before, after, before, nothing, {HOSTILE: (0.9, 0.6)}),
        ),
        predicted=(
            PredictedCase("a", 1.5, 0.8, 0.125),
            PredictedCase(HOSTILE, 0.5, 0.25, None),
            PredictedCase("c", None, None, None),
        ),
        failures=((HOSTILE, f"damaged {HOSTILE}"),),
        missing=(f"times {HOSTILE}",),
        notes=("bounded",),
    )
