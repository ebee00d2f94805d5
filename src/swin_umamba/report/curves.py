"""Curves over epochs, as inline SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from swin_umamba.report.palette import Colour
from swin_umamba.report.svg import (
    ACROSS,
    TOP,
    UNBOUNDED,
    UPWARDS,
    Bounds,
    Scale,
    colour_text,
    document,
    dot,
    frame,
    nothing,
    number,
    shortened,
    text,
)

# More points than pixels would not be visible.
MAX_POINTS = 600
LABEL_HEIGHT = 14
MAX_LABEL = 14
MAX_LABELS = 13


@dataclass(frozen=True)
class Line:
    """A curve; NaN interrupts it.

    Attributes
    ----------
    name
        Name shown at the end of the curve.
    values
        One for each epoch.
    colour
        Colour; None for the colour of the page's text.
    dashed
        Whether the curve is dashed, to distinguish two curves of the same colour.
    """

    name: str
    values: Sequence[float]
    colour: Colour | None = None
    dashed: bool = False


def line_chart(
    title: str, lines: Sequence[Line], *, x_label: str = "epoch", bounds: Bounds = UNBOUNDED
) -> str:
    """Draw curves over epochs, counted from 1.

    Parameters
    ----------
    title
        Title of the chart.
    lines
        Curves. Without any finite value, the chart says that there are no numbers.
    x_label
        Label below the axis.
    bounds
        Range of possible values.

    Returns
    -------
    str
        An SVG element; names and title are escaped.
    """
    finite = [value for line in lines for value in line.values if math.isfinite(value)]
    if not finite:
        return nothing(title)
    epochs = max(len(line.values) for line in lines)
    y = Scale.around(finite, *UPWARDS, bounds)
    x = Scale(1, max(epochs, 2), *ACROSS)
    ticks = [tick for tick in x.ticks() if tick == int(tick) and 1 <= tick <= epochs]
    if 1 not in ticks:
        ticks.insert(0, 1)
    parts = frame(title, x_label, y, [(x(tick), number(tick)) for tick in ticks])
    for line in lines:
        parts += _curve(line, x, y)
    parts += _labels([line for line in lines if _last(line) is not None], y)
    return document(title, " ".join(_in_words(line) for line in lines), parts)


def _curve(line: Line, x: Scale, y: Scale) -> list[str]:
    path, pen_is_down = [], False
    step = max(1, math.ceil(len(line.values) / MAX_POINTS))
    kept = {*range(0, len(line.values), step), len(line.values) - 1}
    single = []
    for index in sorted(kept):
        value = line.values[index]
        if not math.isfinite(value):
            pen_is_down = False
            continue
        path.append(f"{'L' if pen_is_down else 'M'}{x(index + 1):.1f} {y(value):.1f}")
        single.append((x(index + 1), y(value)))
        pen_is_down = True
    dashes = ' stroke-dasharray="6 4"' if line.dashed else ""
    colour = colour_text(line.colour)
    # Without the darker line beneath, light colours would vanish on white paper.
    parts = [f'<path class="casing" d="{"".join(path)}"/>'] if line.colour is not None else []
    parts.append(f'<path class="curve" stroke="{colour}"{dashes} d="{"".join(path)}"/>')
    if len(single) <= 40:
        parts += [dot(px, py, 2.6, colour) for px, py in single]
    return parts


def _labels(lines: Sequence[Line], y: Scale) -> list[str]:
    """Write the names beside the ends of their curves, moved apart where they would overlap."""
    shown = sorted(lines[:MAX_LABELS], key=lambda line: y(_last(line) or 0.0))
    places: list[float] = []
    for line in shown:
        wanted = y(_last(line) or 0.0) + 4
        places.append(max(wanted, places[-1] + LABEL_HEIGHT) if places else max(wanted, TOP))
    overflow = max(0.0, places[-1] - (UPWARDS[0] + 10)) if places else 0.0
    parts = []
    for line, place in zip(shown, places, strict=True):
        height = place - overflow
        left = ACROSS[1] + 6
        dashes = ' stroke-dasharray="3 2"' if line.dashed else ""
        parts.append(
            f'<line class="key" stroke="{colour_text(line.colour)}"{dashes} x1="{left}" x2="{left + 10}" '
            f'y1="{height - 4:.1f}" y2="{height - 4:.1f}"/>'
        )
        parts.append(text(left + 13, height, shortened(line.name, MAX_LABEL), anchor="start"))
    return parts


def _last(line: Line) -> float | None:
    return next((value for value in reversed(line.values) if math.isfinite(value)), None)


def _in_words(line: Line) -> str:
    finite = [value for value in line.values if math.isfinite(value)]
    if not finite:
        return f"{line.name}: no numbers."
    return (
        f"{line.name}: {len(line.values)} epochs, from {number(finite[0])} to {number(finite[-1])}, "
        f"lowest {number(min(finite))}, highest {number(max(finite))}."
    )
