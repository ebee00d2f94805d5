"""Draw the figures of the documentation, ``docs/figures/*.svg``: `python scripts/draw_figures.py`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import torch

from swin_umamba.ops.reference import to_sequence
from swin_umamba.report.palette import class_colour

FOLDER = Path(__file__).parents[1] / "docs" / "figures"
INK, PAPER, FAINT = "#333333", "#ffffff", "#dddddd"
DIRECTIONS = (
    "0: row by row",
    "1: column by column",
    "2: rows, backwards",
    "3: columns, backwards",
)
SIDE, CELL, GAP, TOP = 5, 32, 40, 34
BOX, ROW = (118, 44), 64
# Channels of the paper's sizes at each stride, from the image down.
CHANNELS = {1: 0, 2: 48, 4: 96, 8: 192, 16: 384, 32: 768}


def colour(number: int) -> str:
    """Return a colour of the palette for SVG."""
    return "#{:02x}{:02x}{:02x}".format(*class_colour(number))


def svg(width: int, height: int, title: str, content: Iterable[str]) -> str:
    """Return a picture on paper, so that it can be read on a dark page, too."""
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" role="img" font-family="sans-serif" font-size="13">',
        f"<title>{title}</title>",
        f'<rect width="{width}" height="{height}" rx="8" fill="{PAPER}"/>',
        *content,
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def scan() -> str:
    """Draw in which order the four directions visit the pixels, as the definition of the scan does."""
    panel = SIDE * CELL
    width, height = 4 * panel + 5 * GAP, panel + TOP + GAP
    content = []
    pixels = torch.arange(SIDE * SIDE).reshape(1, SIDE, SIDE, 1)
    for direction, title in enumerate(DIRECTIONS):
        left = GAP + direction * (panel + GAP)
        content.append(f'<text x="{left + panel / 2}" y="{TOP - 12}" text-anchor="middle">{title}</text>')
        content += [
            f'<rect x="{left + column * CELL}" y="{TOP + row * CELL}" width="{CELL}" height="{CELL}" '
            f'fill="none" stroke="{FAINT}"/>'
            for row in range(SIDE)
            for column in range(SIDE)
        ]
        order = to_sequence(pixels, direction).flatten().tolist()
        points = [(left + (each % SIDE + 0.5) * CELL, TOP + (each // SIDE + 0.5) * CELL) for each in order]
        path = " ".join(f"{x:g},{y:g}" for x, y in points)
        content.append(
            f'<polyline points="{path}" fill="none" stroke="{colour(direction + 1)}" stroke-width="2.5" '
            'stroke-linejoin="round"/>'
        )
        (x, y), (end_x, end_y) = points[0], points[-1]
        content.append(f'<circle cx="{x:g}" cy="{y:g}" r="6" fill="{colour(direction + 1)}"/>')
        content.append(f'<rect x="{end_x - 6:g}" y="{end_y - 6:g}" width="12" height="12" fill="{INK}"/>')
    return svg(width, height, "The four directions of the scan", content)


def networks() -> str:
    """Draw the stages of both networks: what is pretrained, what is not."""
    panels = (
        ("Swin-UMamba", "convolutions", {1: "image", 2: "stem"}),
        ("Swin-UMamba-dagger", "VSS blocks", {}),
    )
    width, height = 2 * (2 * BOX[0] + 3 * GAP), TOP + 6 * ROW + 56
    content = []
    for number, (title, decoder, early) in enumerate(panels):
        left = GAP + number * (2 * BOX[0] + 3 * GAP)
        right = left + BOX[0] + GAP
        middle = (left + right + BOX[0]) / 2
        content.append(
            f'<text x="{middle}" y="{TOP - 10}" text-anchor="middle" font-weight="bold">{title}</text>'
        )
        rows = [stride for stride in CHANNELS if stride >= 4 or stride in early]
        for stride in rows:
            y = TOP + list(CHANNELS).index(stride) * ROW
            name, fill = ("VMamba", colour(1)) if stride >= 4 else (early[stride], colour(2))
            channels = f"{CHANNELS[stride]} channels" if stride > 1 else "any channels"
            content += box(left, y, f"{name}, 1/{stride}", channels, fill if stride > 1 else FAINT)
            if stride == 32:
                content += arrow(left + BOX[0], y + BOX[1] / 2, right + BOX[0] / 2, y - ROW + BOX[1])
                continue
            content += box(right, y, f"{decoder}, 1/{stride}", "decoder", colour(2))
            content += arrow(left + BOX[0], y + BOX[1] / 2, right, y + BOX[1] / 2)
        for stride in rows[1:]:
            y = TOP + list(CHANNELS).index(stride) * ROW
            content += arrow(left + BOX[0] / 2, y - ROW + BOX[1], left + BOX[0] / 2, y)
            if stride < 32:
                content += arrow(right + BOX[0] / 2, y, right + BOX[0] / 2, y - ROW + BOX[1])
        if not early:
            content.append(
                f'<text x="{right + BOX[0] / 2}" y="{TOP + 2 * ROW - 10}" text-anchor="middle">'
                "then x 4 to the image</text>"
            )
    below = TOP + 6 * ROW + 20
    legend: Mapping[str, str] = {colour(1): "can start from ImageNet", colour(2): "starts at random"}
    for number, (fill, text) in enumerate(legend.items()):
        x = GAP + number * 220
        content.append(f'<rect x="{x}" y="{below - 12}" width="16" height="16" rx="3" fill="{fill}"/>')
        content.append(f'<text x="{x + 24}" y="{below}">{text}</text>')
    return svg(width, height, "Stages of both networks", content)


def box(x: float, y: float, first: str, second: str, fill: str) -> list[str]:
    """Return a box with two lines of text."""
    middle = x + BOX[0] / 2
    return [
        f'<rect x="{x:g}" y="{y:g}" width="{BOX[0]}" height="{BOX[1]}" rx="6" fill="{fill}"/>',
        f'<text x="{middle:g}" y="{y + 19:g}" text-anchor="middle" font-size="12">{first}</text>',
        f'<text x="{middle:g}" y="{y + 35:g}" text-anchor="middle" font-size="11">{second}</text>',
    ]


def arrow(x: float, y: float, to_x: float, to_y: float) -> list[str]:
    """Return a line with a dot at its end."""
    return [
        f'<line x1="{x:g}" y1="{y:g}" x2="{to_x:g}" y2="{to_y:g}" stroke="{INK}" stroke-width="1.5"/>',
        f'<circle cx="{to_x:g}" cy="{to_y:g}" r="3" fill="{INK}"/>',
    ]


FIGURES = {"scan.svg": scan, "networks.svg": networks}

if __name__ == "__main__":
    for name, draw in FIGURES.items():
        (FOLDER / name).write_text(draw(), encoding="utf-8")
