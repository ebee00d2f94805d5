"""BMP files, written byte by byte from values that are known before."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np

from conformance.combinations import Combination
from conformance.picture import Made, sizes_of


def bmp_file(
    pixels: bytes,
    width: int,
    height: int,
    bits: int,
    *,
    header: int = 40,
    compression: int = 0,
    palette: Sequence[tuple[int, int, int]] = (),
    colours: int | None = None,
    masks: Sequence[int] = (),
    gap: int = 0,
    planes: int = 1,
) -> bytes:
    """Return a BMP file.

    Parameters
    ----------
    pixels
        As stored; see :func:`bmp_rows`.
    width, height
        Of the picture; a negative height for rows from the top.
    bits, compression, header, planes
        As the header says; ``header`` is its size.
    palette
        Red, green and blue of each colour.
    colours
        How many colours the header says the palette has; None for as many as it has.
    masks
        In the header, or after it if it is of 40 bytes.
    gap
        Bytes between the palette and the pixels.
    """
    if header == 12:
        body = struct.pack("<LHHHH", 12, width, height, planes, bits)
        table = b"".join(bytes(each[::-1]) for each in palette)
    else:
        colours = len(palette) if colours is None else colours
        body = struct.pack(
            "<LllHHLLllLL",
            header,
            width,
            height,
            planes,
            bits,
            compression,
            len(pixels),
            2835,
            2835,
            colours,
            0,
        )
        body += struct.pack(f"<{len(masks)}L", *masks)
        body += bytes(max(0, header - len(body)))
        table = b"".join(bytes(each[::-1]) + b"\0" for each in palette)
    start = 14 + len(body) + len(table) + gap
    head = struct.pack("<2sLHHL", b"BM", start + len(pixels), 0, 0, start)
    return head + body + table + b"\xa5" * gap + pixels


def bmp_rows(values: np.ndarray, bits: int, *, top_down: bool = False) -> bytes:
    """Return rows of whole numbers ``(y, x)``, each filled up to four bytes; colours are one number."""
    rows = []
    for row in values if top_down else values[::-1]:
        if bits < 8:
            text = "".join(format(int(value), f"0{bits}b") for value in row)
            line = bytes(int(text[at : at + 8].ljust(8, "0"), 2) for at in range(0, len(text), 8))
        else:
            line = b"".join(int(value).to_bytes(bits // 8, "little") for value in row)
        rows.append(line + b"\x5a" * (-len(line) % 4))
    return b"".join(rows)


MASKS = {
    "5-6-5": (16, (0xF800, 0x07E0, 0x001F, 0)),
    "4-4-4": (16, (0x0F00, 0x00F0, 0x000F, 0)),
    "1-5-5-5 opaque": (16, (0x7C00, 0x03E0, 0x001F, 0x8000)),
    "8-8-8 red first": (32, (0xFF, 0xFF00, 0xFF0000, 0)),
    "8-8-8-8 opaque": (32, (0xFF0000, 0xFF00, 0xFF, 0xFF000000)),
    "8-8-8-8 transparent": (32, (0xFF0000, 0xFF00, 0xFF, 0xFF000000)),
    "10-10-10": (32, (0x3FF00000, 0xFFC00, 0x3FF, 0)),
}
BMP_FEATURES = {
    "header": ("12 bytes", "40 bytes", "52 bytes", "56 bytes", "64 bytes", "108 bytes", "124 bytes"),
    "bits": (1, 2, 4, 8, 16, 24, 32),
    "palette": ("no", "grey ramp", "colours", "two: black and white"),
    "pixels": ("plain", "runs", "as a PNG file", *MASKS),
    "rows": ("from below", "from above"),
    "before the pixels": ("nothing", "7 bytes"),
}


def bmp_exists(combination: Combination) -> bool:
    header, bits, pixels = int(combination["header"].split()[0]), combination["bits"], combination["pixels"]
    if (combination["palette"] == "no") != (bits > 8):
        return False
    if header == 12 and (
        pixels != "plain" or combination["rows"] == "from above" or combination["palette"].startswith("two")
    ):
        return False
    if pixels == "runs" and bits not in (4, 8):
        return False
    if pixels == "as a PNG file" and bits != 24:
        return False
    if pixels in MASKS:
        has_alpha = MASKS[pixels][1][3] > 0
        return bits == MASKS[pixels][0] and header != 12 and not (has_alpha and header == 52)
    return True


def make_bmp(combination: Combination) -> Made:
    generator, height, width = sizes_of(combination)
    header, bits, pixels = int(combination["header"].split()[0]), combination["bits"], combination["pixels"]
    top_down = combination["rows"] == "from above"
    palette: list[tuple[int, int, int]] = []
    compression, masks = 0, ()
    labels, why = None, ""
    if bits <= 8:
        values, palette, image = indexed_bmp(combination, generator, height, width)
        labels = values[None]
        content = bmp_rows(values, bits, top_down=top_down)
        if pixels == "runs":
            compression, why = {8: 1, 4: 2}[bits], "compression"
    elif pixels in MASKS:
        masks = MASKS[pixels][1]
        values, image = masked_bmp(masks, generator, height, width, opaque="transparent" not in pixels)
        content = bmp_rows(values, bits, top_down=top_down)
        compression = 6 if masks[3] and header == 40 else 3
        masks = masks if masks[3] or header >= 56 else masks[:3]
        why = {"8-8-8-8 transparent": "transparent", "10-10-10": "mask"}.get(pixels, "")
        why = "header of 64" if header == 64 else why
    else:
        masks = {16: (0x7C00, 0x3E0, 0x1F), 24: (0xFF0000, 0xFF00, 0xFF), 32: (0xFF0000, 0xFF00, 0xFF)}[bits]
        values, image = masked_bmp((*masks, 0), generator, height, width)
        if bits != 24:
            values |= generator.integers(0, 2, values.shape) << (bits - 1)  # of no meaning
        masks = ()
        content = bmp_rows(values, bits, top_down=top_down)
        if pixels == "as a PNG file":
            compression, why = 5, "compression 5"
    made = bmp_file(
        content,
        width,
        -height if top_down else height,
        bits,
        header=header,
        compression=compression,
        palette=palette,
        masks=masks,
        gap=7 if combination["before the pixels"] == "7 bytes" else 0,
    )
    if why:
        refused = f"{why}" if why == "transparent" else f"{why}.*not supported|not supported.*|{why}"
        return made, ".bmp", (None, None, refused)
    return made, ".bmp", (image.astype(np.uint8), None if labels is None else labels.astype(np.uint8), "")


def indexed_bmp(
    combination: Combination, generator: np.random.Generator, height: int, width: int
) -> tuple[np.ndarray, list[tuple[int, int, int]], np.ndarray]:
    """Return indices, the palette, and what is seen, grey or colours."""
    bits, kind = combination["bits"], combination["palette"]
    count = 2 if kind.startswith("two") else 2**bits
    values = generator.integers(0, count, (height, width))
    if kind == "colours":
        palette = generator.integers(0, 256, (count, 3))
    else:
        palette = np.linspace(0, 255, count).astype(int)[:, None].repeat(3, axis=1)
    grey = kind == "grey ramp" or (bits == 1 and kind != "colours")
    seen = values[None] if grey else palette[values].transpose(2, 0, 1)
    return values, [tuple(each) for each in palette.tolist()], seen


def masked_bmp(
    masks: Sequence[int], generator: np.random.Generator, height: int, width: int, *, opaque: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    """Return pixels as one number each, and their colours: few bits stretched to 255, rounded down."""
    stored = np.zeros((height, width), np.int64)
    colours = []
    for place, mask in enumerate(masks):
        largest = int(bin(mask).count("1") and 2 ** bin(mask).count("1") - 1)
        values = generator.integers(0, largest + 1, (height, width))
        if place == 3:
            values[:] = largest
            values[0, 0] -= 0 if opaque else 1
        stored |= values * (mask & -mask)
        colours.append(values * 255 // max(largest, 1))
    return stored, np.stack(colours[:3])
