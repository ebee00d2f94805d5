"""A sheet of pictures: image, truth and prediction of several cases side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image as PillowImage
from PIL import ImageDraw, ImageFont

from swin_umamba.errors import GeometryError, UsageError
from swin_umamba.files import atomic_open
from swin_umamba.report.overlay import fullest_slice, to_rgb
from swin_umamba.report.palette import class_colour
from swin_umamba.report.preview import picture_size, with_labels

PANEL = 320
GAP = 12
CAPTION = 30
HEADER = 36
HEADER_FONT_SIZE = 18
FONT_SIZE = 15
_PAPER = (255, 255, 255)
_INK = (32, 32, 32)
_HEADINGS = ("image", "truth", "prediction")
_Font = ImageFont.ImageFont | ImageFont.FreeTypeFont


@dataclass(frozen=True)
class SheetCase:
    """One row of the sheet.

    Attributes
    ----------
    name
        Name shown above the row.
    image
        ``(channels, y, x)`` or ``(channels, z, y, x)``; for a volume, the slice with the most truth is shown.
    truth, prediction
        Integer label maps of the image's spatial shape. Without predictions the sheet has two columns.
    dice
        Dice of the case by class name; None where it is not applicable.
    """

    name: str
    image: np.ndarray
    truth: np.ndarray
    prediction: np.ndarray | None = None
    dice: Mapping[str, float | None] = field(default_factory=dict)


def comparison_sheet(cases: Sequence[SheetCase], path: str | Path, *, classes: Mapping[str, int]) -> Path:
    """Draw a PNG with a row for each case (image, truth, prediction), its Dice and a legend of the classes.

    Parameters
    ----------
    cases
        At least one.
    path
        Output file, written atomically.
    classes
        Label value of each class, for the legend; the background is left out.

    Returns
    -------
    Path
        ``path``.

    Raises
    ------
    GeometryError
        If a label map does not have the shape of its image.
    """
    if not cases:
        raise UsageError("a comparison sheet needs at least one case")
    font = ImageFont.load_default(FONT_SIZE)
    header_font = ImageFont.load_default(HEADER_FONT_SIZE)
    headings = _HEADINGS if any(case.prediction is not None for case in cases) else _HEADINGS[:-1]
    width = GAP + len(headings) * (PANEL + GAP)
    legend = _legend_lines(classes, font, width - 2 * GAP)
    rows = [_panels(case) for case in cases]
    heights = [CAPTION + max(panel.height for panel in row) + GAP for row in rows]
    sheet = PillowImage.new("RGB", (width, HEADER + sum(heights) + CAPTION * len(legend) + GAP), _PAPER)
    draw = ImageDraw.Draw(sheet)
    for column, heading in enumerate(headings):
        centre = GAP + column * (PANEL + GAP) + PANEL // 2
        draw.text((centre, HEADER // 2), heading, fill=_INK, font=header_font, anchor="mm")
    top = HEADER
    for case, row, height in zip(cases, rows, heights, strict=True):
        caption = _shortened(_caption(case), font, width - 2 * GAP)
        draw.text((GAP, top + CAPTION // 2), caption, fill=_INK, font=font, anchor="lm")
        for column, panel in enumerate(row):
            sheet.paste(panel, (GAP + column * (PANEL + GAP), top + CAPTION))
        top += height
    for line in legend:
        middle = top + CAPTION // 2
        for x, name, label in line:
            draw.rectangle((x, middle - 8, x + 16, middle + 8), fill=class_colour(label), outline=_INK)
            draw.text((x + 24, middle), name, fill=_INK, font=font, anchor="lm")
        top += CAPTION
    path = Path(path)
    with atomic_open(path) as file:
        sheet.save(file, format="PNG")
    return path


def _panels(case: SheetCase) -> list[PillowImage.Image]:
    image, maps = case.image, [case.truth]
    if case.prediction is not None:
        maps.append(case.prediction)
    for labels in maps:
        if labels.shape != image.shape[1:]:
            raise GeometryError(
                f"labels of shape {labels.shape} do not match the image of shape {image.shape[1:]}",
                where=case.name,
            )
    if image.ndim == 4:
        index = fullest_slice(case.truth if case.truth.any() else maps[-1])
        image, maps = image[:, index], [labels[index] for labels in maps]
    size = picture_size(image.shape[1:], longest=PANEL, shortest=PANEL)
    panel = PillowImage.fromarray(to_rgb(image)).resize(size, PillowImage.Resampling.BICUBIC)
    return [panel, *(with_labels(panel, labels) for labels in maps)]


def _caption(case: SheetCase) -> str:
    scores = ", ".join(f"{name} {'-' if dice is None else f'{dice:.3f}'}" for name, dice in case.dice.items())
    return f"{case.name}    Dice: {scores}" if scores else case.name


def _shortened(text: str, font: _Font, width: int) -> str:
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(f"{text}...") > width:
        text = text[:-1]
    return f"{text}..."


def _legend_lines(classes: Mapping[str, int], font: _Font, width: int) -> list[list[tuple[int, str, int]]]:
    """Return lines of (x position, class name, label value) that fit into ``width``."""
    lines: list[list[tuple[int, str, int]]] = [[]]
    x = 0
    for name, label in classes.items():
        if label < 1:
            continue
        name = _shortened(name, font, width - CAPTION)
        entry_width = CAPTION + int(font.getlength(name)) + 2 * GAP
        if lines[-1] and x + entry_width > width:
            lines.append([])
            x = 0
        lines[-1].append((GAP + x, name, label))
        x += entry_width
    return [line for line in lines if line]
