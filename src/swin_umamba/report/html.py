"""The report as one self-contained HTML file."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from markupsafe import Markup

from swin_umamba.report.charts import draw_charts
from swin_umamba.report.confidence import quality_chart, reliability_chart
from swin_umamba.report.contents import CalibrationSummary, Confusion, Report, TrainingCurves
from swin_umamba.report.curves import Line, line_chart
from swin_umamba.report.page import render_page
from swin_umamba.report.palette import ERROR_COLOURS, UNCERTAINTY, Colour, class_colour
from swin_umamba.report.svg import PART, POSITIVE, colour_text
from swin_umamba.report.viewer import case_viewer

# More curves than this cannot be distinguished; only the mean is shown then.
MAX_CURVES = 13
NEAR_STRUCTURES = "where structures have a probability of 1 % or more"
# Number of cases in the table of the most uncertain ones.
MAX_UNSURE_CASES = 12
MAX_COUNTED_CASES = 200
OBJECT_COLUMNS = {
    "num_reference": "true",
    "num_prediction": "predicted",
    **{f"num_{kind}": kind for kind in ERROR_COLOURS},
}


def report_html(report: Report) -> str:
    """Return the page.

    All names from files are escaped. The page's content security policy forbids network access and all
    scripts except the one of the template.

    Parameters
    ----------
    report
        Contents; empty parts are left out.
    """
    return render_page(
        "swin_umamba.report",
        "template.html",
        report=report,
        legend=[
            {"name": name, "value": value, "colour": colour_text(class_colour(value))}
            for name, value in report.classes.items()
        ],
        trainings=[{"name": each.name, "charts": _charts(each, report)} for each in report.curves],
        summary=_summary(report),
        charts=[Markup(chart) for chart in draw_charts(report)],
        viewers=[case_viewer(case, number, report.classes) for number, case in enumerate(report.cases)],
        predicted=_predicted(report),
        objects=_objects(report),
        calibrations=[_calibration(each) for each in report.calibrations],
        uncertainty_stops=", ".join(map(colour_text, UNCERTAINTY)),
        confusion=None if report.confusion is None else _confusion(report.confusion),
    )


def _colour(report: Report, name: str) -> Colour | None:
    value = report.classes.get(name)
    return None if value is None else class_colour(value)


def _charts(curves: TrainingCurves, report: Report) -> list[Markup]:
    dice = [
        Line(name, values, _colour(report, name))
        for name, values in list(curves.pseudo_dice.items())[:MAX_CURVES]
    ]
    dice.append(Line("mean (EMA)", curves.mean_pseudo_dice, dashed=True))
    charts = (
        line_chart(
            "Loss",
            [Line("training", curves.train_loss), Line("validation", curves.validation_loss, dashed=True)],
        ),
        line_chart("Pseudo-Dice by class", dice, bounds=PART),
        line_chart("Learning rate", [Line("rate", curves.learning_rate)], bounds=POSITIVE),
        line_chart("Time of an epoch in seconds", [Line("seconds", curves.seconds)], bounds=POSITIVE),
    )
    return [Markup(chart) for chart in charts]


def _summary(report: Report) -> dict[str, Any] | None:
    if report.scores is None or not report.summary:
        return None
    rows = [
        {
            "name": row.name,
            "value": report.classes.get(row.name),
            "cases": row.num_cases,
            "cells": [
                {"mean": _number(mean), "interval": None if ends is None else " to ".join(map(_number, ends))}
                for mean, ends in zip(row.means, row.intervals, strict=True)
            ],
        }
        for row in report.summary
    ]
    return {
        "heading": report.scores.heading,
        "metrics": [each.title for each in report.scores.metrics],
        "rows": rows,
    }


def _confusion(confusion: Confusion) -> dict[str, Any]:
    totals = confusion.counts.sum(axis=1)
    rows = []
    for row, name in enumerate(confusion.names):
        shares = confusion.counts[row] / totals[row] if totals[row] else np.zeros(len(confusion.names))
        cells = [
            {"share": f"{share:.1%}" if totals[row] else "-", "count": f"{count:,}", "depth": f"{share:.3f}"}
            for share, count in zip(shares.tolist(), confusion.counts[row].tolist(), strict=True)
        ]
        rows.append({"name": name, "total": f"{totals[row]:,}", "cells": cells})
    return {"names": confusion.names, "rows": rows, "num_cases": confusion.num_cases}


def _predicted(report: Report) -> dict[str, Any] | None:
    """Return the table of the most uncertain cases, the chart of their estimated Dice, and the times."""
    if not report.predicted:
        return None
    rated = sorted(
        (each for each in report.predicted if each.quality is not None), key=lambda each: each.quality or 0.0
    )
    seconds = [each.seconds for each in report.predicted if each.seconds is not None]
    truth = report.scores.case_means() if report.scores is not None else {}
    pairs = {
        each.name: (each.quality, truth[each.name])
        for each in rated
        if each.quality is not None and each.name in truth
    }
    metric = report.scores.metrics[0] if report.scores is not None and report.scores.metrics else None
    return {
        "times": f"{len(seconds)} cases in {sum(seconds):.1f} s; fastest {min(seconds):.2f} s, "
        f"slowest {max(seconds):.2f} s"
        if seconds
        else "",
        "rows": [
            {"name": each.name, "quality": _number(each.quality), "entropy": _number(each.mean_entropy)}
            for each in rated[:MAX_UNSURE_CASES]
        ],
        "num_rated": len(rated),
        # The estimated Dice is from 0 to 1, too.
        "chart": Markup(
            quality_chart(f"Estimated Dice and {metric.title}", pairs, true_name=f"true {metric.title}")
        )
        if pairs and metric is not None and not metric.unit
        else None,
    }


def _objects(report: Report) -> dict[str, Any] | None:
    """Return the numbers of objects of each case, with errors where they were evaluated, and the table."""
    table, evaluated = report.objects, {} if report.scores is None else report.scores.objects
    counts: Mapping[str, Mapping[str, int]] = evaluated
    if not counts and table is not None:
        counts = {case: {"objects": number} for case, number in table.counts.items()}
    if not counts and table is None:
        return None
    columns = list(dict.fromkeys(key for each in counts.values() for key in each))
    rows = [(case, [f"{each.get(key, 0):,}" for key in columns]) for case, each in counts.items()]
    return {
        "counts": {
            "columns": [OBJECT_COLUMNS.get(key, key) for key in columns],
            "rows": rows[:MAX_COUNTED_CASES],
            "left_out": max(len(rows) - MAX_COUNTED_CASES, 0),
            "total": [f"{sum(each.get(key, 0) for each in counts.values()):,}" for key in columns],
        },
        "table": table,
        "size_column": 0 if table is None else table.columns.index(table.size_column),
    }


def _calibration(calibration: CalibrationSummary) -> dict[str, Any]:
    inside = {"before": calibration.structures_before, "after": calibration.structures_after}
    charts = [reliability_chart(f"Reliability {NEAR_STRUCTURES}", inside)]
    if calibration.qualities:
        charts.append(quality_chart("Estimated and true Dice of validation cases", calibration.qualities))
    pairs = (
        ("all pixels", calibration.before, calibration.after),
        (NEAR_STRUCTURES, calibration.structures_before, calibration.structures_after),
    )
    return {
        "name": calibration.name,
        "temperature": _number(calibration.temperature),
        "exponent": None if calibration.quality_exponent is None else _number(calibration.quality_exponent),
        "rows": [
            {
                "name": name,
                "before": _number(before.expected_calibration_error),
                "after": _number(after.expected_calibration_error),
            }
            for name, before, after in pairs
        ],
        "charts": [Markup(chart) for chart in charts],
    }


def _number(value: float | None) -> str:
    if value is None or not math.isfinite(value):
        return "-"
    return f"{value:.4f}" if abs(value) < 10 else f"{value:.2f}"
