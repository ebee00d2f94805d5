"""How the pixels of a DICOM file are stored."""

from __future__ import annotations

from dataclasses import dataclass

from swin_umamba.data.dicom.elements import UNDEFINED_LENGTH, DataSet, PixelElement
from swin_umamba.data.dicom.files import damaged_file

_SAMPLES, _PHOTOMETRIC, _PLANAR, _FRAMES = 0x00280002, 0x00280004, 0x00280006, 0x00280008
_ROWS, _COLUMNS = 0x00280010, 0x00280011
_ALLOCATED, _STORED, _HIGH, _SIGNED = 0x00280100, 0x00280101, 0x00280102, 0x00280103
# OverlayBitPosition of each overlay: the bit next to the pixel bits that holds it.
_OVERLAY_BITS = tuple(0x60000102 + (group << 16) for group in range(0, 0x20, 2))
STORAGE_TAGS = (
    *(_SAMPLES, _PHOTOMETRIC, _PLANAR, _FRAMES, _ROWS, _COLUMNS),
    *(_ALLOCATED, _STORED, _HIGH, _SIGNED, *_OVERLAY_BITS),
)


def name_of_uid(uid: str, default: str) -> str:
    """Return the standard's name of a UID, for messages."""
    from pydicom.uid import UID_dictionary  # type: ignore[attr-defined]

    return UID_dictionary[uid][0] if uid in UID_dictionary else default


@dataclass(frozen=True)
class Storage:
    """How the pixels of a file are stored; most names are the standard's.

    ``has_overlay`` says whether some bits next to the pixel bits hold overlays.
    """

    syntax: str
    little_endian: bool
    element: PixelElement
    rows: int
    columns: int
    samples: int
    planar: bool
    frames: int
    photometric: str
    allocated: int
    stored: int
    high_bit: int
    signed: bool
    has_overlay: bool


def read_storage(data_set: DataSet, pixels: PixelElement) -> Storage:
    """Return how the pixels of a file are stored.

    Raises
    ------
    DataError
        The header is damaged, or describes more pixels than the file contains.
    """
    elements = data_set.elements
    frames = elements.whole(_FRAMES, 1)
    rows, columns = elements.whole(_ROWS), elements.whole(_COLUMNS)
    samples = elements.whole(_SAMPLES, 1)
    allocated = elements.whole(_ALLOCATED)
    stored = elements.whole(_STORED, allocated)
    high = elements.whole(_HIGH, stored - 1)
    if 0 in (frames, rows, columns, samples) or not 0 < stored <= high + 1 <= allocated:
        raise elements.damaged(
            f"{frames} frames of {rows} x {columns} pixels of {samples} samples, {stored} of {allocated} "
            f"bits up to bit {high}"
        )
    if pixels.length == UNDEFINED_LENGTH:
        needed = 8 * frames  # each has at least the header of its fragment
    else:
        shared = 3 if elements.text(_PHOTOMETRIC) == "YBR_FULL_422" else 1  # two of three samples are stored
        needed = frames * rows * columns * samples * allocated // 8 // shared
    if needed > pixels.available:
        raise damaged_file(
            elements.path,
            f"pixels are missing: the header describes {needed} bytes or more, and there are "
            f"{pixels.available}",
        )
    return Storage(
        syntax=data_set.syntax,
        little_endian=data_set.little_endian,
        element=pixels,
        rows=rows,
        columns=columns,
        samples=samples,
        planar=elements.whole(_PLANAR, 0) == 1,
        frames=frames,
        photometric=elements.text(_PHOTOMETRIC),
        allocated=allocated,
        stored=stored,
        high_bit=high,
        signed=elements.whole(_SIGNED, 0) == 1,
        has_overlay=any(elements.whole(tag, 0) for tag in _OVERLAY_BITS),
    )
