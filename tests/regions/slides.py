"""Pyramids as Aperio's and Hamamatsu's scanners describe them; no scanner's own file is among the tests."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import tifffile
from PIL import Image

APERIO = (
    "Aperio Image Library v12.0.16\r\n{width}x{height} [0,0 {width}x{height}] ({tile}x{tile}) JPEG/RGB Q=90"
)
APERIO += "|AppMag = 20|StripeWidth = 2040|MPP = 0.4990|Left = 25.69"


def tissue(height: int, width: int) -> np.ndarray:
    """Return a smooth picture in colours, (y, x, 3), which JPEG changes little."""
    y, x = np.mgrid[:height, :width]
    channels = [128 + 100 * np.sin(y / 23), 128 + 90 * np.cos(x / 31), 128 + 80 * np.sin((x + y) / 41)]
    return np.stack(channels, -1).astype(np.uint8)


def aperio_file(
    path: Path, picture: np.ndarray, compression: str = "jpeg", tile: int = 64
) -> list[np.ndarray]:
    """Write a slide of two levels, a thumbnail between them and a macro picture; return the levels."""
    height, width = picture.shape[:2]
    described = APERIO.format(width=width, height=height, tile=tile)
    levels = [picture, picture[::4, ::4]]
    how: dict[str, Any] = {"photometric": "rgb", "metadata": None, "compression": compression}
    if compression == "jpeg":
        how["compressionargs"] = {"level": 95}
    with tifffile.TiffWriter(path) as file:
        file.write(picture, tile=(tile, tile), description=described, **how)
        file.write(picture[::8, ::8], rowsperstrip=16, description="Aperio thumbnail", **how)
        file.write(levels[1], tile=(tile, tile), description=described, **how)
        file.write(picture[:20, :30], rowsperstrip=20, subfiletype=9, description="macro 30x20", **how)
    return levels


def jpeg_2000_of(tile: np.ndarray) -> bytes:
    """Return a codestream that keeps every value, without a change of colours."""
    return bytes(imagecodecs.jpeg2k_encode(tile, level=0, codecformat="j2k", mct=False, reversible=True))


def hamamatsu_file(
    path: Path, pictures: list[np.ndarray], *, blocks: int = 8, shift: int = 0, **changes: Any
) -> None:
    """Write a slide: pages that are one JPEG stream with restart markers, then a macro picture.

    Parameters
    ----------
    path, pictures
        The file, and its levels, of whole blocks of 8 pixels.
    blocks
        Blocks between restart markers.
    shift
        Number of empty bytes in front of all pages, so that their places need more than 32 bits.
    **changes
        Tags of the first page to replace, by number after a letter.
    """
    pages = [(picture, 20.0 / 2**number) for number, picture in enumerate(pictures)]
    pages.append((pictures[-1], -1.0))
    with path.open("wb") as file:
        file.write(b"II*\0")
        file.write(bytes(8))
        file.seek(12 + shift)
        link = 4
        for number, (picture, lens) in enumerate(pages):
            stream = io.BytesIO()
            Image.fromarray(picture).save(
                stream, "JPEG", quality=95, subsampling=0, restart_marker_blocks=blocks
            )
            content = stream.getvalue()
            place = file.tell()
            file.write(content)
            starts = restarts(content)
            tags = {
                256: (4, [picture.shape[1]]),
                257: (4, [picture.shape[0]]),
                258: (3, [8, 8, 8]),
                259: (3, [7]),
                262: (3, [6]),
                271: (2, b"Hamamatsu\0"),
                273: (4, [place]),
                277: (3, [3]),
                279: (4, [len(content)]),
                282: (5, [20000 * 2**0 >> number, 1]),
                283: (5, [20000 * 2**0 >> number, 1]),
                296: (3, [3]),
                65420: (4, [1]),
                65421: (11, [lens]),
                65424: (9, [0]),
                65426: (4, starts),
            }
            if number == 0:
                tags |= {int(name[1:]): value for name, value in changes.items()}
            link = write_directory(file, tags, link)
        file.seek(link)
        file.write(bytes(8))


def restarts(stream: bytes) -> list[int]:
    """Return where the parts of a JPEG stream between restart markers begin."""
    scan = stream.index(b"\xff\xda")
    starts = [scan + 2 + struct.unpack_from(">H", stream, scan + 2)[0]]
    return starts + [
        place + 2
        for place in range(starts[0], len(stream) - 1)
        if stream[place] == 0xFF and 0xD0 <= stream[place + 1] <= 0xD7
    ]


FORMATS = {2: "B", 3: "H", 4: "I", 5: "I", 9: "i", 11: "f"}


def write_directory(file: Any, tags: dict[int, tuple[int, Any]], link: int) -> int:
    """Write the tags of a page behind their values, and its place at ``link``; return where the next goes."""
    entries, high = [], []
    for tag, (kind, values) in sorted(tags.items()):
        stored = bytes(values) if kind == 2 else struct.pack(f"<{len(values)}{FORMATS[kind]}", *low(values))
        count = len(values) // (2 if kind == 5 else 1)
        if len(stored) > 4:
            place = file.tell()
            file.write(stored)
            stored = struct.pack("<I", place & 0xFFFFFFFF)
            high.append(place >> 32)
        else:
            high.append(int(values[0]) >> 32 if kind == 4 else 0)
        entries.append(struct.pack("<HHI", tag, kind, count) + stored.ljust(4, b"\0"))
    here = file.tell()
    file.write(struct.pack("<H", len(entries)) + b"".join(entries))
    following = file.tell()
    file.write(bytes(8) + struct.pack(f"<{len(high)}I", *high))
    end = file.tell()
    file.seek(link)
    file.write(struct.pack("<Q", here))
    file.seek(end)
    return int(following)


def low(values: Any) -> list[Any]:
    """Return the lower half of 64-bit numbers."""
    return [value & 0xFFFFFFFF if isinstance(value, int) and value > 0 else value for value in values]
