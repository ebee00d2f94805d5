"""Annotations in the picture of a slice: the patient's sides, and a scale bar."""

from __future__ import annotations

import math
from collections.abc import Sequence

from PIL import Image as PillowImage
from PIL import ImageDraw, ImageFont

NO_ORIENTATION = "no orientation in the file"
FONT_SIZE = 18
MARGIN = 6
BAR_HEIGHT = 4
# Largest length of the bar as a fraction of the picture's width.
LONGEST_BAR = 0.3
_INK, _CASING = (255, 255, 255), (0, 0, 0)


def scale_bar(width: float) -> tuple[float, str]:
    """Return the length in mm of a scale bar, and its label.

    Parameters
    ----------
    width
        Width of the picture, in mm.

    Returns
    -------
    tuple
        The largest length that ``LONGEST_BAR`` allows of 1, 2 or 5 times a power of ten, and its label.
    """
    longest = width * LONGEST_BAR
    power = 10.0 ** math.floor(math.log10(longest))
    length = max(factor * power for factor in (1, 2, 5) if factor * power <= longest * (1 + 1e-9))
    return length, f"{length:g} mm" if length >= 1 else f"{length * 1000:g} \N{MICRO SIGN}m"


def draw_marks(
    picture: PillowImage.Image, edges: Sequence[str], mm_per_pixel: float | None, *, note: str = ""
) -> None:
    """Draw letters at the edges of a picture, a scale bar and a note.

    Parameters
    ----------
    picture
        RGB picture, modified in place.
    edges
        Letters for the left, right, top and bottom; or none.
    mm_per_pixel
        Width of a pixel of the picture in mm; None draws no bar.
    note
        Text for the lower left corner.
    """
    draw = ImageDraw.Draw(picture)
    font = ImageFont.load_default(FONT_SIZE)
    width, height = picture.size
    places = (
        ((MARGIN, height // 2), "lm"),
        ((width - MARGIN, height // 2), "rm"),
        ((width // 2, MARGIN), "mt"),
        ((width // 2, height - MARGIN), "mb"),
    )
    texts = [(place, anchor, edge) for (place, anchor), edge in zip(places, edges, strict=False)]
    if note:
        texts.append(((MARGIN, height - MARGIN), "lb", note))
    if mm_per_pixel is not None:
        length, text = scale_bar(width * mm_per_pixel)
        right, bottom = width - 2 * MARGIN, height - 2 * MARGIN
        left = right - round(length / mm_per_pixel)
        draw.rectangle((left - 1, bottom - BAR_HEIGHT - 1, right + 1, bottom + 1), fill=_CASING)
        draw.rectangle((left, bottom - BAR_HEIGHT, right, bottom), fill=_INK)
        texts.append(((right, bottom - BAR_HEIGHT - MARGIN), "rb", text))
    for place, anchor, text in texts:
        draw.text(place, text, font=font, anchor=anchor, fill=_INK, stroke_width=2, stroke_fill=_CASING)
