"""Charts of the reliability of a model's confidence, as inline SVG."""

from __future__ import annotations

from collections.abc import Mapping

from swin_umamba.report.contents import ReliabilityCurve
from swin_umamba.report.palette import class_colour
from swin_umamba.report.svg import (
    ACROSS,
    TOP,
    UPWARDS,
    Scale,
    colour_text,
    document,
    dot,
    frame,
    number,
    text,
)

TICKS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
# Largest number of dots in a chart; more would overlap.
MAX_CASES = 500
RADIUS = 3.4


def reliability_chart(title: str, curves: Mapping[str, ReliabilityCurve]) -> str:
    """Draw accuracy over confidence; on the diagonal, a model is as accurate as it is confident.

    Parameters
    ----------
    title
        Title of the chart.
    curves
        Names, shown beside the ends of the curves, and the curves; the first one is dashed.

    Returns
    -------
    str
        An SVG element; names and title are escaped.
    """
    x, y, parts = _square(title, "confidence", "accuracy")
    words = []
    for place, (name, curve) in enumerate(curves.items()):
        colour = colour_text(class_colour(place + 1))
        points = [(x(c), y(a)) for c, a in zip(curve.confidence, curve.accuracy, strict=True)]
        words.append(f"{name}: calibration error {number(curve.expected_calibration_error)}.")
        if not points:
            continue
        path = "M" + "L".join(f"{px:.1f} {py:.1f}" for px, py in points)
        dashes = ' stroke-dasharray="6 4"' if place == 0 else ""
        parts.append(f'<path class="casing" d="{path}"/>')
        parts.append(f'<path class="curve" stroke="{colour}"{dashes} d="{path}"/>')
        parts += [dot(px, py, RADIUS, colour) for px, py in points]
        parts += _key(place, name, colour, dashes)
    return document(title, " ".join(words), parts)


def quality_chart(
    title: str, cases: Mapping[str, tuple[float, float]], *, true_name: str = "true Dice"
) -> str:
    """Draw the true over the estimated Dice of each case; on the diagonal, the estimate is correct.

    Parameters
    ----------
    title
        Title of the chart.
    cases
        Name, estimated and true Dice.
    true_name
        Name of the true score.
    """
    lowest = min((value for pair in cases.values() for value in pair), default=0.0)
    x, y, parts = _square(title, "estimated Dice", true_name, low=_tick_below(lowest))
    colour = colour_text(class_colour(2))
    kept = list(cases.items())[:: max(1, -(-len(cases) // MAX_CASES))]
    parts += [dot(x(estimated), y(true), RADIUS, colour, case) for case, (estimated, true) in kept]
    gap = sum(estimated - true for estimated, true in cases.values()) / max(1, len(cases))
    side = "high" if gap >= 0 else "low"
    words = f"{len(cases)} cases; the estimate is on average {number(abs(gap))} too {side}."
    return document(title, words, parts)


def _tick_below(value: float) -> float:
    """Return the largest of 0, 0.2 ... 0.8 that does not exceed a value."""
    return max((tick for tick in TICKS[:-1] if tick <= value), default=0.0)


def _square(title: str, x_label: str, y_label: str, low: float = 0.0) -> tuple[Scale, Scale, list[str]]:
    """Return the scales and the frame of a chart from ``low`` to 1 on both axes, with its diagonal."""
    x, y = Scale(low, 1, *ACROSS), Scale(low, 1, *UPWARDS)
    parts = frame(title, x_label, y, [(x(tick), number(tick)) for tick in x.ticks()])
    parts.append(text(x(low) + 6, TOP + 12, y_label, anchor="start"))
    ends = f'x1="{x(low):.1f}" y1="{y(low):.1f}" x2="{x(1):.1f}" y2="{y(1):.1f}"'
    parts.append(f'<line class="grid" {ends}/>')
    return x, y, parts


def _key(place: int, name: str, colour: str, dashes: str) -> list[str]:
    top, left = TOP + 10 + 16 * place, ACROSS[1] + 8
    return [
        f'<line class="key" stroke="{colour}"{dashes} x1="{left}" x2="{left + 16}" y1="{top}" y2="{top}"/>',
        text(left + 20, top + 4, name, anchor="start"),
    ]
