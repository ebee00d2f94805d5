"""Conversion of the stored values of a TIFF file to channels: white and black, palettes, YCbCr, alpha.

Sources: TIFF 6.0 (Adobe, 1992), sections 3 to 6, 18 and 21.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from swin_umamba.data.picture_checks import refuse_transparent
from swin_umamba.data.tiff_layout import COLOURS, JPEG, JPEG_2000, PALETTE, WHITE_IS_ZERO, YCBCR, Layout
from swin_umamba.data.tiff_tags import Page

_ASSOCIATED, _UNASSOCIATED = 1, 2
# From ITU-R BT.601, with the full eight-bit range: the default of the standard and of all programs.
_WEIGHTS = (0.299, 0.587, 0.114)
_BLACK_AND_WHITE = (0.0, 255.0, 128.0, 255.0, 128.0, 255.0)


def to_channels(page: Page, layout: Layout, data: np.ndarray, *, indexed: bool) -> np.ndarray:
    """Return the channels that the stored values represent.

    Parameters
    ----------
    page, layout
        The first page, and how all pages are stored.
    data
        ``(samples, ...)`` as stored.
    indexed
        Whether the image is a label map, whose values are the indices of the palette.

    Returns
    -------
    numpy.ndarray
        ``(channels, ...)``. Grey values as stored, with black as 0; for a palette, red, green and blue in
        eight bits; no alpha.

    Raises
    ------
    DataError
        Pixels are transparent, or the values of a label map are ambiguous.
    """
    if layout.photometric == PALETTE and not indexed:
        return _colour_map(page, layout)[:, data[0]]
    if layout.photometric == YCBCR and layout.compression not in (JPEG, *JPEG_2000):
        return _rgb_of_ycbcr(page, data)
    if layout.photometric == WHITE_IS_ZERO:
        if indexed:
            raise page.unsupported(
                "label maps in which 0 is white are",
                "save the class numbers as a grey image in which 0 is black",
            )
        colours = np.array(2**layout.bits - 1, layout.dtype) - data[:1]
        data = np.concatenate([colours, data[1:]]) if layout.extra else colours
    return _without_alpha(page, layout, data)


def channels_of(layout: Layout, *, indexed: bool) -> int:
    """Return the number of channels that ``to_channels`` makes of a page."""
    if layout.photometric == PALETTE and not indexed:
        return 3
    if layout.photometric == YCBCR and layout.compression not in (JPEG, *JPEG_2000):
        return 3
    others = [kind for kind in layout.extra if kind not in (_ASSOCIATED, _UNASSOCIATED)]
    return COLOURS[layout.photometric] + len(others)


def refuse_inverting_table(page: Page, layout: Layout) -> None:
    """Refuse an ImageJ image in which 0 is white: for ImageJ that only affects the display."""
    if layout.photometric == WHITE_IS_ZERO:
        raise page.unsupported(
            "files of ImageJ's with an inverting lookup table are",
            "choose Image > Lookup Tables > Invert LUT in ImageJ, and save the image again",
        )


def _colour_map(page: Page, layout: Layout) -> np.ndarray:
    """Return the colours of a palette, ``(3, 2**bits)`` in eight bits."""
    colours = page.array(320)
    if len(colours) != 3 * 2**layout.bits or colours.dtype.kind != "u":
        raise page.damaged(f"its palette has {len(colours)} values, not {3 * 2**layout.bits}")
    # Colours have 16 bits; writers fill the upper byte, or both bytes alike. Some write 0 to 255 instead; a
    # real palette whose brightest colour is that dark would make a black picture.
    wide = colours.max() > 255
    return (colours >> 8 if wide else colours).astype(np.uint8).reshape(3, -1)


def _without_alpha(page: Page, layout: Layout, data: np.ndarray) -> np.ndarray:
    """Drop the channels that tag 338 calls alpha, if they are opaque everywhere; keep all others."""
    first = COLOURS[layout.photometric]
    kept = [*range(first)]
    for number, kind in enumerate(layout.extra, start=first):
        if kind not in (_ASSOCIATED, _UNASSOCIATED):
            kept.append(number)
            continue
        if layout.dtype.kind == "i":
            raise page.unsupported(
                "files with an alpha channel of signed numbers are", "save it without alpha"
            )
        opaque = 1 if layout.dtype.kind == "f" else 2**layout.bits - 1
        refuse_transparent(page.path, int(np.count_nonzero(data[number] != opaque)))
    return data if len(kept) == len(data) else data[kept]


def _rgb_of_ycbcr(page: Page, data: np.ndarray) -> np.ndarray:
    """Return red, green and blue for YCbCr values of eight bits (TIFF 6.0, section 21)."""
    red, green, blue = page.array(529) if 529 in page else _WEIGHTS
    levels = page.array(532) if 532 in page else _BLACK_AND_WHITE
    if len(levels) != 6 or not green or not np.isfinite([red, green, blue, *levels]).all():
        raise page.damaged("its YCbCr coefficients or reference levels make no sense")
    return ycbcr_to_rgb(data, (red, green, blue), levels)


def ycbcr_to_rgb(
    data: np.ndarray,
    weights: Sequence[float] = _WEIGHTS,
    levels: Sequence[float] | np.ndarray = _BLACK_AND_WHITE,
) -> np.ndarray:
    """Return red, green and blue for YCbCr values of eight bits, ``(3, ...)``."""
    red, green, blue = weights
    luma, *chroma = (
        (values.astype(np.float32) - black) * (full / (white - black))
        for values, black, white, full in zip(data, levels[::2], levels[1::2], (255, 127, 127), strict=True)
    )
    reds = luma + (2 - 2 * red) * chroma[1]
    blues = luma + (2 - 2 * blue) * chroma[0]
    greens = (luma - red * reds - blue * blues) / green
    colours: np.ndarray = np.clip(np.rint(np.stack([reds, greens, blues])), 0, 255).astype(np.uint8)
    return colours
