"""The report as one HTML file that needs nothing besides itself."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from markupsafe import Markup

from swin_umamba.report.contents import CasePictures, Confusion, Report, Slice, TrainingCurves
from swin_umamba.report.curves import Line, line_chart
from swin_umamba.report.distributions import Group, distribution_chart
from swin_umamba.report.layers import data_uri, fill_path, outline_path
from swin_umamba.report.page import render_page
from swin_umamba.report.palette import Colour, class_colour
from swin_umamba.report.svg import colour_text

# More curves than this cannot be told apart; the mean stays.
MAX_CURVES = 13
# Of the paths of a case: ragged labels in many slices would make pages that no browser likes to open.
MAX_PATH_CHARACTERS = 2 * 2**20


def report_html(report: Report) -> str:
    """Return the page.

    Every name that came out of a file is escaped. The page's own policy forbids the network and every script
    but the one of the template.

    Parameters
    ----------
    report
        What to show; empty parts are left out.
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
        distributions=_distributions(report),
        viewers=[_viewer(case, number, report) for number, case in enumerate(report.cases)],
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
        line_chart("Pseudo-Dice by class", dice),
        line_chart("Learning rate", [Line("rate", curves.learning_rate)]),
        line_chart("Time of an epoch in seconds", [Line("seconds", curves.seconds)]),
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
    return {"heading": report.scores.heading, "metrics": report.scores.metrics, "rows": rows}


def _distributions(report: Report) -> list[Markup]:
    scores = report.scores
    if scores is None:
        return []
    return [
        Markup(
            distribution_chart(
                f"{metric} of each case",
                [
                    Group(name, scores.values[:, column, layer].tolist(), _colour(report, name))
                    for column, name in enumerate(scores.class_names)
                ],
            )
        )
        for layer, metric in enumerate(scores.metrics)
    ]


def _viewer(case: CasePictures, number: int, report: Report) -> dict[str, Any]:
    height, width = case.slices[0].image.shape[:2]
    kinds = {
        kind for each in case.slices for kind in ("truth", "prediction") if getattr(each, kind) is not None
    }
    panels: list[str] = [kind for kind in ("truth", "prediction") if kind in kinds]
    if len(panels) == 2:
        panels.append("errors")
    layers = {kind: [_layers(kind, each) for each in case.slices] for kind in panels or ["image"]}
    kept = _affordable(layers)
    slices = [case.slices[place] for place in kept]
    notes = [case.note] if case.note else []
    if len(kept) < len(case.slices):
        notes.append(f"as outlines are long, {len(kept)} of {len(case.slices)} shown")
    names = {value: name for name, value in report.classes.items()}
    return {
        "id": f"case-{number}",
        "case": case,
        "width": width,
        "height": height * case.aspect,
        "aspect": case.aspect,
        "note": "; ".join(notes),
        "start": max(range(len(slices)), key=lambda place: _labelled(slices[place])),
        "stripe": max(width, height) / 128,
        "slices": [{"index": each.index, "image": data_uri(each.image)} for each in slices],
        "panels": [
            {
                "kind": kind,
                "title": {"truth": "Truth", "prediction": "Prediction", "errors": "Errors"}.get(
                    kind, "Image"
                ),
                "text": _panel_text(kind, case, names),
                "slices": [parts[place] for place in kept],
            }
            for kind, parts in layers.items()
        ],
    }


def _affordable(layers: dict[str, list[list[dict[str, Any]]]]) -> list[int]:
    """Return slices whose paths together are short enough: all, or every second, fourth and so on."""
    costs = [
        sum(len(str(value)) for parts in slices for layer in parts for value in layer.values())
        for slices in zip(*layers.values(), strict=True)
    ]
    step = 1
    while step < len(costs) and sum(costs[::step]) > MAX_PATH_CHARACTERS:
        step *= 2
    return list(range(0, len(costs), step))


def _labelled(picture: Slice) -> int:
    """Return how many pixels have a label."""
    return sum(
        int(np.count_nonzero(each)) for each in (picture.truth, picture.prediction) if each is not None
    )


def _layers(kind: str, picture: Slice) -> list[dict[str, Any]]:
    """Return the paths of each class of one slice."""
    truth, prediction = picture.truth, picture.prediction
    if kind == "errors" and truth is not None and prediction is not None:
        values = np.union1d(truth, prediction)
        layers = []
        for value in values[values > 0].tolist():
            there, found = truth == value, prediction == value
            layers.append(
                {
                    "value": value,
                    "colour": colour_text(class_colour(value)),
                    "outline": Markup(outline_path(there)),
                    "missed": Markup(fill_path(there & ~found)),
                    "extra": Markup(fill_path(found & ~there)),
                }
            )
        return layers
    labels = truth if kind == "truth" else prediction
    if labels is None:
        return []
    return [
        {
            "value": value,
            "colour": colour_text(class_colour(value)),
            "outline": Markup(outline_path(labels == value)),
            "fill": Markup(fill_path(labels == value)),
        }
        for value in np.unique(labels[labels > 0]).tolist()
    ]


def _panel_text(kind: str, case: CasePictures, names: dict[int, str]) -> str:
    """Return what a reader who cannot see the picture should know."""
    maps = [(each.truth, each.prediction) for each in case.slices]
    if kind == "errors":
        wrong = sum(int(np.count_nonzero(t != p)) for t, p in maps if t is not None and p is not None)
        pixels = sum(t.size for t, p in maps if t is not None and p is not None)
        return f"Errors of case {case.name}: {wrong} of {pixels} pixels shown differ from the truth"
    labels = [t if kind == "truth" else p for t, p in maps]
    found = sorted({int(value) for each in labels if each is not None for value in np.unique(each) if value})
    listed = ", ".join(names.get(value, f"label {value}") for value in found) or "no class"
    what = {"truth": "Truth", "prediction": "Prediction"}.get(kind, "Image")
    return f"{what} of case {case.name}, showing {listed}"


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


def _number(value: float) -> str:
    if not math.isfinite(value):
        return "-"
    return f"{value:.4f}" if abs(value) < 10 else f"{value:.2f}"
