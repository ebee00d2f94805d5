"""Distributions of the scores of cases by class, as inline SVG: a dot for every case over a box plot."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from swin_umamba.report.palette import Colour
from swin_umamba.report.svg import (
    LEFT,
    UNBOUNDED,
    UPWARDS,
    WIDTH,
    Bounds,
    Scale,
    colour_text,
    document,
    dot,
    frame,
    nothing,
    number,
    shortened,
)

MAX_DOTS = 200
# More boxes than this would overlap; the table has all classes.
MAX_GROUPS = 40
MAX_NAME = 12
MARGIN = 12
# Neighbouring dots are shifted by these fractions of half the box's width, so that equal values do not
# overlap.
_OFFSETS = (0.0, -0.5, 0.5, -0.25, 0.25, -0.75, 0.75)


@dataclass(frozen=True)
class Group:
    """Values of one class; NaN is left out."""

    name: str
    values: Sequence[float]
    colour: Colour | None = None


def distribution_chart(title: str, groups: Sequence[Group], bounds: Bounds = UNBOUNDED) -> str:
    """Draw a box (quartiles and median, whiskers to the extremes) and dots for each group.

    Parameters
    ----------
    title
        Title of the chart.
    groups
        Groups, from left to right.
    bounds
        Range of possible values.

    Returns
    -------
    str
        An SVG element; names and title are escaped.
    """
    title = title if len(groups) <= MAX_GROUPS else f"{title}, first {MAX_GROUPS} of {len(groups)} classes"
    groups = groups[:MAX_GROUPS]
    finite = {group.name: [value for value in group.values if math.isfinite(value)] for group in groups}
    everything = [value for values in finite.values() for value in values]
    if not everything:
        return nothing(title)
    y = Scale.around(everything, *UPWARDS, bounds)
    room = (WIDTH - LEFT - MARGIN) / len(groups)
    longest = max(3, min(MAX_NAME, int(room / 7)))
    centres = [LEFT + room * (place + 0.5) for place in range(len(groups))]
    labels = [shortened(group.name, longest) for group in groups]
    parts = frame(title, "class", y, list(zip(centres, labels, strict=True)), right=WIDTH - MARGIN)
    words = []
    for group, centre in zip(groups, centres, strict=True):
        values = finite[group.name]
        if not values:
            words.append(f"{group.name}: no numbers.")
            continue
        parts += _box(values, centre, min(room * 0.3, 36), y, colour_text(group.colour))
        low, median, high = np.quantile(values, [0, 0.5, 1])
        words.append(
            f"{group.name}: {len(values)} cases, median {number(median)}, "
            f"lowest {number(low)}, highest {number(high)}."
        )
    return document(title, " ".join(words), parts)


def _box(values: list[float], centre: float, half: float, y: Scale, colour: str) -> list[str]:
    low, first, median, third, high = (y(value) for value in np.quantile(values, [0, 0.25, 0.5, 0.75, 1]))
    parts = [
        f'<line class="whisker" x1="{centre:.1f}" x2="{centre:.1f}" y1="{high:.1f}" y2="{low:.1f}"/>',
        f'<rect class="box" x="{centre - half:.1f}" y="{third:.1f}" width="{2 * half:.1f}" '
        f'height="{max(first - third, 0.5):.1f}" fill="{colour}"/>',
        f'<line class="median" x1="{centre - half:.1f}" x2="{centre + half:.1f}" '
        f'y1="{median:.1f}" y2="{median:.1f}"/>',
    ]
    step = max(1, math.ceil(len(values) / MAX_DOTS))
    for place, value in enumerate(sorted(values)[::step]):
        x = centre + half * _OFFSETS[place % len(_OFFSETS)]
        parts.append(dot(x, y(value), 2.8, colour))
    return parts
