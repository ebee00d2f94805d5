"""The distribution of the scores of the cases by class, for each metric."""

from __future__ import annotations

from swin_umamba.report.contents import Report
from swin_umamba.report.distributions import Group, distribution_chart
from swin_umamba.report.palette import class_colour
from swin_umamba.report.svg import PART, POSITIVE, UNBOUNDED


def draw(report: Report) -> list[str]:
    """Return one chart for each metric."""
    scores = report.scores
    if scores is None or not report.summary:
        return []
    colours = {name: class_colour(value) for name, value in report.classes.items()}
    return [
        distribution_chart(
            f"{metric.title} of each case",
            [
                Group(name, scores.values[:, column, layer].tolist(), colours.get(name))
                for column, name in enumerate(scores.class_names)
            ],
            PART if not metric.unit else POSITIVE if metric.lower_is_better else UNBOUNDED,
        )
        for layer, metric in enumerate(scores.metrics)
    ]
