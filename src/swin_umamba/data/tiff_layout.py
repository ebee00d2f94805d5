"""How the pages of a TIFF file store their samples: sizes, types, colours and encodings.

Sources: TIFF 6.0 (Adobe, 1992); TIFF Technical Notes 1 to 3 (Adobe) for floating-point predictors and JPEG.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from swin_umamba.data.image import DEFLATE_MAX_RATIO
from swin_umamba.data.tiff_tags import Page

WHITE_IS_ZERO, GREY, RGB, PALETTE, YCBCR = 0, 1, 2, 3, 6
COLOURS = {WHITE_IS_ZERO: 1, GREY: 1, RGB: 3, PALETTE: 1, YCBCR: 3}
_OTHER_COLOURS = {
    4: "transparency masks",
    5: "CMYK",
    8: "CIELab",
    9: "ICCLab",
    10: "ITULab",
    32803: "raw mosaics",
}

NONE, LZW, JPEG, DEFLATE, OLD_DEFLATE, PACKBITS, ZSTD = 1, 5, 7, 8, 32946, 32773, 50000
APERIO_YCBCR, _, PLAIN_JPEG_2000 = JPEG_2000 = 33003, 33005, 34712  # the second is Aperio's RGB
# Most bytes that one stored byte can become: LZW encodes up to 4096 bytes in 12 bits, PackBits 128 bytes in
# two. Zstandard and JPEG have no such bound below a computer's memory, so they get one here.
MAX_RATIO = {NONE: 1, LZW: 2731, PACKBITS: 64} | dict.fromkeys(
    (DEFLATE, OLD_DEFLATE, ZSTD, JPEG), DEFLATE_MAX_RATIO
)
MAX_RATIO |= dict.fromkeys(JPEG_2000, 2**14)  # of a tile without tissue, little is left
_OTHER_COMPRESSIONS = dict.fromkeys((2, 3, 4, 32771), "CCITT") | {
    6: "old-style JPEG",
    34887: "LERC",
    34925: "LZMA",
    50001: "WebP",
    50002: "JPEG XL",
}
HORIZONTAL, FLOATING_POINT = 2, 3
_KINDS = {1: "u", 2: "i", 3: "f", 4: "u"}  # 4 is "undefined", which the standard lets readers treat as 1
PACKED_BITS = {*range(1, 8), *range(9, 16)}
_MAX_TILE_BYTES = 2**30
RECOMPRESS = "save it without compression, or with LZW or deflate"


@dataclass(frozen=True)
class Layout:
    """How the samples of a page are stored; all pages of one volume have equal layouts.

    Attributes
    ----------
    width, length
        Columns and rows.
    samples
        Values per pixel.
    bits, dtype
        Bits per value in the file; dtype of the values in an array.
    photometric
        Meaning of the values (tag 262).
    extra
        Kinds of the values after the colours (tag 338), 0 where it does not say.
    planar
        Whether each value of a pixel has a plane of its own.
    compression, predictor, reversed_bits
        Encoding of the bytes.
    tiled
        Whether the page has tiles; otherwise it has strips.
    tile
        Rows and columns of a tile or strip.
    """

    width: int
    length: int
    samples: int
    bits: int
    dtype: np.dtype
    photometric: int
    extra: tuple[int, ...]
    planar: bool
    compression: int
    predictor: int
    reversed_bits: bool
    tiled: bool
    tile: tuple[int, int]

    @property
    def kind(self) -> str:
        """Description in words of what the pages of one image have in common."""
        extra = f" and extra samples {self.extra}" if self.extra else ""
        return (
            f"{self.length} x {self.width} pixels of {self.samples} x {self.bits} bits ({self.dtype}), "
            f"photometric interpretation {self.photometric}{extra}"
        )

    @property
    def values(self) -> int:
        """Number of values in a page."""
        return self.width * self.length * self.samples

    @property
    def grid(self) -> tuple[int, int, int]:
        """Number of planes, rows and columns of tiles or strips."""
        rows, columns = math.ceil(self.length / self.tile[0]), math.ceil(self.width / self.tile[1])
        return self.samples if self.planar else 1, rows, columns

    @property
    def tile_samples(self) -> int:
        """Number of values of a pixel that are stored together."""
        return 1 if self.planar else self.samples

    @property
    def row_bytes(self) -> int:
        """Number of bytes in a row of a tile, before compression."""
        return (self.tile[1] * self.tile_samples * self.bits + 7) // 8

    def rows_of(self, row: int) -> int:
        """Return how many pixel rows the given row of tiles must hold; the last strip may be shorter."""
        return self.tile[0] if self.tiled else min(self.tile[0], self.length - row * self.tile[0])


def layout_of(page: Page) -> Layout:
    """Return how a page stores its samples.

    Raises
    ------
    DataError
        The tags contradict each other, or specify something unsupported.
    """
    width, length, samples = page.number_of(256, 0), page.number_of(257, 0), page.number_of(277, 1)
    if min(width, length, samples) < 1:
        raise page.damaged(f"it claims {width} x {length} pixels of {samples} values")
    if page.number_of(32997, 1) > 1:
        raise page.unsupported("files with a volume in one page are", "save each slice as a page")
    if 262 not in page:
        raise page.unsupported(
            "files that do not say what their values mean (tag 262) are", "save it with another program"
        )
    compression = page.number_of(259, NONE)
    if compression not in MAX_RATIO:  # first, since some of them omit other tags
        name = _OTHER_COMPRESSIONS.get(compression, f"number {compression}")
        raise page.unsupported(f"files with compression {name} are", RECOMPRESS)
    bits, dtype = _type_of(page, samples)
    photometric = page.number_of(262, 0)
    tiled = 322 in page
    layout = Layout(
        width=width,
        length=length,
        samples=samples,
        bits=bits,
        dtype=dtype,
        photometric=photometric,
        extra=_extra_samples(page, photometric, samples),
        planar=page.number_of(284, 1) == 2 and samples > 1,
        compression=compression,
        predictor=page.number_of(317, 1),
        reversed_bits=page.number_of(266, 1) == 2,
        tiled=tiled,
        tile=(page.number_of(323, 0), page.number_of(322, 0))
        if tiled
        else (min(page.number_of(278, length) or length, length), width),
    )
    if min(layout.tile) < 1 or layout.tile[0] * layout.row_bytes > _MAX_TILE_BYTES:
        raise page.damaged(f"it claims tiles or strips of {layout.tile[0]} x {layout.tile[1]} pixels")
    _check_coding(page, layout)
    return layout


def _type_of(page: Page, samples: int) -> tuple[int, np.dtype]:
    """Return the bits of a value and its type in an array."""
    stored = {int(value) for value in page.array(258)[:samples]} or {1}
    formats = {int(value) for value in page.array(339)[:samples]} or {1}
    bits, kind = min(stored), _KINDS.get(min(formats), "")
    if len(stored) == len(formats) == 1:
        if bits in (8, 16, 32, 64) and kind and not (kind == "f" and bits == 8):
            return bits, np.dtype(f"{kind}{bits // 8}")
        if bits in PACKED_BITS and kind == "u":
            return bits, np.dtype(np.uint8 if bits < 8 else np.uint16)
    raise page.unsupported(
        f"files with values of {sorted(stored)} bits and sample format {sorted(formats)} are",
        "save it with 8, 16 or 32 bits for each value",
    )


def _extra_samples(page: Page, photometric: int, samples: int) -> tuple[int, ...]:
    if photometric not in COLOURS:
        name = _OTHER_COLOURS.get(photometric, f"photometric interpretation {photometric}")
        raise page.unsupported(
            f"files of {name} are", "convert it to RGB or grey with a program that knows it"
        )
    extra = page.array(338)
    count = samples - COLOURS[photometric]
    if count < 0 or len(extra) > count:
        raise page.damaged(
            f"it claims {samples} values a pixel, {len(extra)} of them beyond the {COLOURS[photometric]} of "
            "its colours"
        )
    return tuple(int(kind) for kind in extra) + (0,) * (count - len(extra))


def _check_coding(page: Page, layout: Layout) -> None:
    """Refuse unsupported combinations, and those that TIFF readers interpret differently."""
    compression, predictor = layout.compression, layout.predictor
    if predictor != 1 and (
        compression in (NONE, PACKBITS, JPEG, *JPEG_2000)
        or predictor not in (HORIZONTAL, FLOATING_POINT)
        or layout.bits in PACKED_BITS
        or (predictor == FLOATING_POINT and layout.dtype.kind != "f")
    ):
        raise page.unsupported(
            f"files with predictor {predictor}, compression {compression} and values of type {layout.dtype} "
            "are",
            RECOMPRESS,
        )
    unsigned = layout.dtype.kind == "u"
    plain_bytes = unsigned and layout.bits == 8 and not layout.extra
    if compression == JPEG and (
        not plain_bytes or layout.photometric == PALETTE or (layout.planar and layout.photometric == YCBCR)
    ):
        raise page.unsupported("files with JPEG of anything but 8-bit grey, RGB or YCbCr are", RECOMPRESS)
    if compression in JPEG_2000:
        if (
            not unsigned
            or layout.bits not in (8, 16)
            or layout.planar
            or layout.photometric in (WHITE_IS_ZERO, PALETTE)
            or (layout.photometric == YCBCR and compression == PLAIN_JPEG_2000)
            or (compression == APERIO_YCBCR and (layout.samples, layout.bits) != (3, 8))
        ):
            raise page.unsupported("files with JPEG 2000 of anything but grey or RGB are", RECOMPRESS)
    elif layout.photometric == YCBCR and compression != JPEG:
        subsampling = tuple(int(value) for value in page.array(530)) or (2, 2)
        if not plain_bytes or subsampling != (1, 1):
            raise page.unsupported(
                f"files of YCbCr without JPEG, with values of type {layout.dtype} and subsampling "
                f"{subsampling}, are",
                "convert it to RGB",
            )
    if (layout.photometric == WHITE_IS_ZERO and not unsigned) or (
        layout.photometric == PALETTE and (layout.extra or not unsigned or layout.bits > 16)
    ):
        raise page.unsupported(
            f"files of photometric interpretation {layout.photometric} with {layout.samples} values of type "
            f"{layout.dtype} a pixel are",
            "convert it to RGB or grey (black is 0)",
        )
