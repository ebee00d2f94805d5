"""Frames of charts as inline SVG: scales, ticks, grid and labels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from html import escape

from swin_umamba.errors import printable

WIDTH, HEIGHT = 520, 260
LEFT, RIGHT, TOP, BOTTOM = 74, 96, 30, 42
# Ends of the axes.
ACROSS, UPWARDS = (LEFT, WIDTH - RIGHT), (HEIGHT - BOTTOM, TOP)
MAX_TICKS = 6
# Shortest range of an axis relative to its values: in a shorter one, several ticks would have the same label.
MIN_EXTENT = 1e-3


Bounds = tuple[float, float]
UNBOUNDED: Bounds = (-math.inf, math.inf)
POSITIVE: Bounds = (0.0, math.inf)
PART: Bounds = (0.0, 1.0)


@dataclass(frozen=True)
class Scale:
    """A linear map from values to positions."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """Return the position of a value."""
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)

    @classmethod
    def around(cls, values: list[float], start: float, end: float, bounds: Bounds = UNBOUNDED) -> Scale:
        """Return a scale that contains all values and ends at ticks.

        It stays within ``bounds``, the range of the quantity, unless a value exceeds them.
        """
        low, high = (min(values), max(values)) if values else (0.0, 1.0)
        if high - low <= 1e-9 * max(abs(low), abs(high), 1e-300):
            low, high = (low - abs(low) / 2, high + abs(high) / 2) if low else (-1.0, 1.0)
        low = min(low, high - MIN_EXTENT * max(abs(low), abs(high)))
        step = tick_step(high - low)
        first, last = math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step
        if values and bounds[0] <= min(values) and max(values) <= bounds[1]:
            first, last = max(first, bounds[0]), min(last, bounds[1])
        return cls(first, last, start, end)

    def ticks(self) -> list[float]:
        """Return round values over the whole range."""
        step = tick_step(self.high - self.low)
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [number * step for number in range(first, last + 1)]


def tick_step(extent: float) -> float:
    """Return the smallest of 1, 2 and 5 times a power of ten that gives at most ``MAX_TICKS`` steps."""
    power = 10.0 ** math.floor(math.log10(extent / MAX_TICKS))
    return next(
        factor * power for factor in (1, 2, 5, 10) if factor * power * MAX_TICKS >= extent * (1 - 1e-9)
    )


def number(value: float, digits: int = 4) -> str:
    """Return a number for a tick."""
    return f"{value:.{digits}g}"


def tick_texts(ticks: list[float]) -> list[str]:
    """Return the labels of an axis, with a fifth digit if four do not distinguish them."""
    texts = [number(tick) for tick in ticks]
    return texts if len(set(texts)) == len(ticks) else [number(tick, 5) for tick in ticks]


def shown(content: str) -> str:
    """Return a text as markup, without characters that make a name look like another."""
    return escape(printable(content))


def text(x: float, y: float, content: str, *, anchor: str = "middle", css: str = "") -> str:
    """Return a text element; the content is escaped."""
    attribute = f' class="{css}"' if css else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{attribute}>{shown(content)}</text>'


def frame(
    title: str, x_label: str, y: Scale, x_ticks: list[tuple[float, str]], *, right: float = WIDTH - RIGHT
) -> list[str]:
    """Return grid lines, tick labels and titles of a chart."""
    parts = [text(LEFT, 16, title, anchor="start", css="chart-title")]
    bottom = HEIGHT - BOTTOM
    ticks = y.ticks()
    for value, label in zip(ticks, tick_texts(ticks), strict=True):
        position = y(value)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{right}" y1="{position:.1f}" y2="{position:.1f}"/>')
        parts.append(text(LEFT - 6, position + 4, label, anchor="end"))
    for place, label in x_ticks:
        parts.append(text(place, bottom + 16, label))
    parts.append(text((LEFT + right) / 2, HEIGHT - 8, x_label))
    return parts


def document(title: str, description: str, parts: list[str]) -> str:
    """Return an SVG element with a text description for screen readers."""
    return (
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{shown(f"{title}. {description}")}">{"".join(parts)}</svg>'
    )


def nothing(title: str) -> str:
    """Return the chart of values none of which is finite."""
    return document(title, "no numbers", [text(WIDTH / 2, HEIGHT / 2, f"{title}: no numbers")])


def dot(x: float, y: float, radius: float, colour: str, name: str = "") -> str:
    """Return a dot; ``name`` is shown under the pointer."""
    title = f"<title>{shown(name)}</title>" if name else ""
    return f'<circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="{radius}" fill="{colour}">{title}</circle>'


def shortened(name: str, most: int) -> str:
    """Return at most so many letters of a name."""
    return name if len(name) <= most else f"{name[: most - 1]}…"


def colour_text(colour: tuple[int, int, int] | None) -> str:
    """Return a colour for CSS; None for the colour of the page's text."""
    return "currentColor" if colour is None else "#{:02x}{:02x}{:02x}".format(*colour)
