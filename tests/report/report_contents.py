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
    ObjectOverview,
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
        summary=(SummaryRow("liver", 2, (0.625,), ((0.5, 0.75),)), SummaryRow(HOSTILE, 1, (1.0,), (None,))),
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


def make_object_report() -> Report:
    """Return a report of the objects of a case, with a class and a case from the same person."""
    cells = np.zeros((12, 16), np.int32)
    cells[2:6, 2:8], cells[8:10, 8:14] = 1, 3
    errors = np.where(cells == 3, 4, 0)
    pictures = Slice(0, np.full((6, 8, 3), 90, np.uint8), None, None, None, cells, cells, errors)
    numbers = {"num_reference": 3, "num_prediction": 1003, "num_missed": 5, "num_merged": 1}
    values = np.array([[[0.5]], [[1.0]]])
    return Report(
        title="Cells",
        scores=Scores(
            "Evaluation", (METRICS["f1"],), ("objects",), ("cells", HOSTILE), values, (), {HOSTILE: numbers}
        ),
        cases=(CasePictures("cells", "best", "", (pictures,), errors={"missed": 5, "merged": 1}),),
        objects=ObjectOverview(
            ("case", "object", "class", "area_um2"),
            (("cells", "1", "tumour", "8.5"), ("cells", "2", HOSTILE, "30"), (HOSTILE, "1", "tumour", "")),
            {"cells": 2, HOSTILE: 2000},
            np.append(np.arange(1, 2001), [8.5, 1e6]),
            "area_um2",
            "µm²",
        ),
    )
