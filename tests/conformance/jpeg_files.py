"""JPEG files, written bit by bit so that they hold values that are known before."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np

from conformance.combinations import Combination
from conformance.exif import exif
from conformance.picture import ORIENTATIONS, Made, sizes_of, turned


def jpeg_segment(marker: int, body: bytes) -> bytes:
    """Return a marker with its length and content."""
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


class _Bits:
    """A stream of bits in which a byte of ones is followed by a byte of zeros."""

    def __init__(self) -> None:
        self.text: list[str] = []

    def add(self, value: int, count: int) -> None:
        if count:
            self.text.append(format(value, f"0{count}b"))

    def difference(self, value: int) -> None:
        """Add a difference of DC levels: its category in four bits, then its own bits."""
        category = abs(value).bit_length()
        self.add(category, 4)
        self.add(value if value >= 0 else value + 2**category - 1, category)

    def take(self) -> bytes:
        bits = "".join(self.text)
        bits += "1" * (-len(bits) % 8)
        self.text = []
        return bytes(int(bits[at : at + 8], 2) for at in range(0, len(bits), 8)).replace(b"\xff", b"\xff\0")


def jpeg_file(
    blocks: Sequence[np.ndarray],
    height: int,
    width: int,
    *,
    sampling: Sequence[tuple[int, int]] = ((1, 1),),
    names: Sequence[int] = (1, 2, 3, 4),
    frame: int = 0xC0,
    bits: int = 8,
    restart: int = 0,
    segments: bytes = b"",
) -> bytes:
    """Return a JPEG file in which every block of 8 x 8 pixels has one value, so that nothing is lost.

    Parameters
    ----------
    blocks
        The values of each component, ``(rows of blocks, columns of blocks)``, as many as all units of the
        picture need.
    height, width
        Of the picture.
    sampling
        Blocks of each component in a unit, across and down.
    names
        Of the components.
    frame
        Marker of the frame: 0xC0 baseline, 0xC1 extended, 0xC2 progressive; others are only named so.
    bits
        Of a value.
    restart
        Units between restart markers; 0 for none.
    segments
        What follows the start of the file.
    """
    components = range(len(blocks))
    across, down = (max(each[axis] for each in sampling) for axis in (0, 1))
    units = -(-height // (8 * down)), -(-width // (8 * across))
    progressive = frame == 0xC2
    # All coefficients are divided by 8; that of a constant block is 8 times its value.
    result = b"\xff\xd8" + segments + jpeg_segment(0xDB, bytes(1) + bytes([8] * 64))
    body = struct.pack(">BHHB", bits, height, width, len(blocks))
    body += b"".join(bytes([names[c], sampling[c][0] << 4 | sampling[c][1], 0]) for c in components)
    result += jpeg_segment(frame, body)
    # Twelve categories of four bits each; and one code of one bit, the end of a block.
    result += jpeg_segment(0xC4, bytes([0, 0, 0, 0, 12, *[0] * 12, *range(12)]))
    result += jpeg_segment(0xC4, bytes([0x10, 1, *[0] * 15, 0]))
    if restart:
        result += jpeg_segment(0xDD, struct.pack(">H", restart))
    scans = [(list(components), 0, 0 if progressive else 63)]
    if progressive:
        scans += [([c], 1, 63) for c in components]
    for members, first, last in scans:
        head = bytes([len(members)]) + b"".join(bytes([names[c], 0]) for c in members)
        result += jpeg_segment(0xDA, head + bytes([first, last, 0]))
        if first:
            # A component alone is stored without the blocks that fill up the last units.
            c = members[0]
            size = [
                -(-length * sampling[c][a] // (8 * most))
                for length, a, most in ((height, 1, down), (width, 0, across))
            ]
            result += _scan([[None]] * (size[0] * size[1]), restart, ends=True)
        else:
            result += _scan(_units(blocks, sampling, units, 2 ** (bits - 1)), restart, ends=not progressive)
    return result + b"\xff\xd9"


def _units(
    blocks: Sequence[np.ndarray], sampling: Sequence[tuple[int, int]], units: tuple[int, int], middle: int
) -> list[list[tuple[int, int] | None]]:
    return [
        [
            (c, int(blocks[c][row * v + y, column * h + x]) - middle)
            for c, (h, v) in zip(range(len(blocks)), sampling, strict=False)
            for y in range(v)
            for x in range(h)
        ]
        for row in range(units[0])
        for column in range(units[1])
    ]


def _scan(units: Sequence[Sequence[tuple[int, int] | None]], restart: int, *, ends: bool) -> bytes:
    stream, result, last, markers = _Bits(), b"", {}, 0
    for number, unit in enumerate(units):
        if restart and number and number % restart == 0:
            result += stream.take() + bytes([0xFF, 0xD0 + markers % 8])
            last, markers = {}, markers + 1
        for block in unit:
            if block is not None:
                c, level = block
                stream.difference(level - last.get(c, 0))
                last[c] = level
            if ends:
                stream.add(0, 1)
    return result + stream.take()


def block_picture(blocks: np.ndarray, height: int, width: int, times: tuple[int, int] = (8, 8)) -> np.ndarray:
    """Return the pixels of a component whose blocks are ``times`` pixels high and wide."""
    return np.kron(blocks, np.ones(times, blocks.dtype))[:height, :width]


def rgb_of(luma: np.ndarray, blue: np.ndarray, red: np.ndarray) -> np.ndarray:
    """Return the colours of JFIF's YCbCr, ``(3, y, x)``, rounded to whole numbers from 0 to 255."""
    y, cb, cr = (each.astype(float) for each in (luma, blue, red))
    colours = [
        y + 1.402 * (cr - 128),
        y - 0.344136 * (cb - 128) - 0.714136 * (cr - 128),
        y + 1.772 * (cb - 128),
    ]
    return np.clip(np.floor(np.stack(colours) + 0.5), 0, 255).astype(np.uint8)


def mpo(first: bytes, second: bytes) -> bytes:
    """Return a file of two JPEG pictures with the index that cameras write."""

    def index(length: int) -> bytes:
        place = first.index(b"\xff\xdb")
        # Offsets count from the byte order in the index, which lies 8 bytes behind its start.
        offset = len(first) + length - (place + 8)
        entries = struct.pack("<LLLHH", 0x030000, len(first) + length, 0, 0, 0)
        entries += struct.pack("<LLLHH", 0x020002, len(second), offset, 0, 0)
        table = struct.pack("<H", 3) + struct.pack("<HHL4s", 0xB000, 7, 4, b"0100")
        table += struct.pack("<HHLL", 0xB001, 4, 1, 2)
        table += struct.pack("<HHLL", 0xB002, 7, len(entries), 8 + 2 + 3 * 12 + 4)
        body = b"MPF\0" + b"II*\0" + struct.pack("<L", 8) + table + bytes(4) + entries
        return first[:place] + jpeg_segment(0xE2, body) + first[place:]

    return index(len(index(0)) - len(first)) + second


_SMALL_BLOCKS = [np.array([[10, 200]]), np.array([[30, 40]]), np.array([[50, 60]])]
SMALL = np.stack([block_picture(each, 8, 12) for each in _SMALL_BLOCKS])
"""The colours of :func:`small_jpeg`, ``(3, y, x)``."""


def small_jpeg(marker: int | None = None, body: bytes = b"", *, height: int = 8, width: int = 12) -> bytes:
    """Return a picture of two blocks of colour, with a segment, that says it has another size."""
    segments = b"" if marker is None else jpeg_segment(marker, body)
    content = jpeg_file(_SMALL_BLOCKS, 8, 12, sampling=[(1, 1)] * 3, names=tuple(b"RGB"), segments=segments)
    frame = struct.pack(">BHH", 8, 8, 12)
    assert content.count(frame) == 1
    return content.replace(frame, struct.pack(">BHH", 8, height, width))


FRAMES = {
    "baseline": 0xC0,
    "extended": 0xC1,
    "progressive": 0xC2,
    "lossless": 0xC3,
    "arithmetic": 0xC9,
    "JPEG-LS": 0xF7,
}
JFIF = jpeg_segment(0xE0, b"JFIF\0\1\2\0\0\1\0\1\0\0")
JPEG_COLOURS = {
    # Components, their names, and the segment that says what they are.
    "grey": (1, (1,), JFIF),
    "YCbCr": (3, (1, 2, 3), JFIF),
    "YCbCr by Adobe": (3, (0, 1, 2), jpeg_segment(0xEE, b"Adobe\0\x64\0\0\0\0\1")),
    "RGB by Adobe": (3, (1, 2, 3), jpeg_segment(0xEE, b"Adobe\0\x64\0\0\0\0\0")),
    "RGB by name": (3, tuple(b"RGB"), b""),
    "CMYK": (4, (1, 2, 3, 4), jpeg_segment(0xEE, b"Adobe\0\x64\0\0\0\0\0")),
    "YCCK": (4, (1, 2, 3, 4), jpeg_segment(0xEE, b"Adobe\0\x64\0\0\0\0\2")),
    "two channels": (2, (1, 2), b""),
}
JPEG_FEATURES = {
    "process": tuple(FRAMES),
    "bits": (8, 12),
    "colours": tuple(JPEG_COLOURS),
    "blocks of colour": ("8 x 8", "16 x 8", "16 x 16"),
    "restart markers": ("no", "yes"),
    "orientation": ORIENTATIONS,
    "after the picture": ("nothing", "a second picture", "something else"),
}


def jpeg_exists(combination: Combination) -> bool:
    if combination["bits"] == 12 and combination["process"] not in ("extended", "progressive"):
        return False
    if combination["process"] in ("lossless", "arithmetic", "JPEG-LS"):
        # All are refused, so that some are enough.
        return combination["blocks of colour"] == "8 x 8" and combination["restart markers"] == "no"
    return combination["blocks of colour"] == "8 x 8" or combination["colours"].startswith("YCbCr")


def make_jpeg(combination: Combination) -> Made:
    generator, height, width = sizes_of(combination)
    height, width = 3 * height, 4 * width
    count, names, segment = JPEG_COLOURS[combination["colours"]]
    bits, process = combination["bits"], combination["process"]
    across, down = {"8 x 8": (1, 1), "16 x 8": (2, 1), "16 x 16": (2, 2)}[combination["blocks of colour"]]
    sampling = [(across, down) if c == 0 else (1, 1) for c in range(count)]
    units = -(-height // (8 * down)), -(-width // (8 * across))
    blocks = [generator.integers(0, 2**bits, (units[0] * v, units[1] * h)) for h, v in sampling]
    if across > 1:
        # Decoders blend neighbours of the coarser channels.
        blocks[1:] = [np.full_like(each, generator.integers(0, 2**bits)) for each in blocks[1:]]
    if combination["orientation"] != "not said":
        data = exif(combination["orientation"], "<>"[generator.integers(2)])
        segment += jpeg_segment(0xE1, b"Exif\0\0" + data)
    content = jpeg_file(
        blocks,
        height,
        width,
        sampling=sampling,
        names=names,
        frame=FRAMES[process],
        bits=bits,
        restart=int(generator.integers(1, 4)) if combination["restart markers"] == "yes" else 0,
        segments=segment,
    )
    if combination["after the picture"] == "a second picture":
        content = mpo(content, jpeg_file([np.zeros((3, 2), int)], 20, 10))
    elif combination["after the picture"] == "something else":
        content += b"\xff\xd8 and so on" + bytes(100)
    why = {"lossless": "lossless", "arithmetic": "arithmetic", "JPEG-LS": "JPEG-LS"}.get(process, "")
    why = why or ("12 bits" if bits == 12 else "")
    why = why or {"CMYK": "CMYK", "YCCK": "CMYK", "two channels": "2 channels"}.get(
        combination["colours"], ""
    )
    if why:
        return content, ".jpg", (None, None, f"{why}.*not supported")
    # The coarser channels are constant, so that their pixels are as well.
    planes = [block_picture(each, height, width) for each in blocks if across == 1 or each is blocks[0]]
    planes += [np.full((height, width), each[0, 0]) for each in blocks[1:] if across > 1]
    colours = rgb_of(*planes) if combination["colours"].startswith("YCbCr") else np.stack(planes)
    return content, ".jpg", turned((colours.astype(np.uint8), None, "JPEG"), combination["orientation"])
