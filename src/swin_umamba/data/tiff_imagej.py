"""ImageJ's description in a TIFF file: hyperstacks, the size of a pixel, calibrated values.

Source: ImageJ's FileSaver and FileOpener (ImageJ 1.54), whose ``key=value`` lines SCIFIO also writes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from swin_umamba.data.tiff_pixel_size import MILLIMETRES, pixels_per_unit_to_size, plausible, size_by_tags
from swin_umamba.data.tiff_tags import Page

_HEADS = ("ImageJ=", "SCIFIO=")
_UNITS = {
    name: MILLIMETRES[symbol]
    for symbol, names in {
        "µm": ("µm", "μm", "um", "micron", "microns", "micrometer", "micrometre"),
        "nm": ("nm", "nanometer", "nanometre"),
        "mm": ("mm", "millimeter", "millimetre"),
        "m": ("m", "meter", "metre"),
        "pm": ("pm", "picometer", "picometre"),
        "Å": ("å", "angstrom"),
    }.items()
    for name in names
}
# ImageJ takes these from the resolution tags of pictures, which mostly refer to paper: see size_by_tags.
_TAG_UNITS = ("inch", "inches", "in", "cm", "centimeter", "centimetre")
_STRAIGHT_LINE, _UNCALIBRATED = 0, 20
_SAVE_AGAIN = "open it in ImageJ, check Image > Properties, and save it as TIFF again"


@dataclass(frozen=True)
class ImageJ:
    """The parsed description of the first page."""

    page: Page
    items: dict[str, str]

    @classmethod
    def of(cls, page: Page) -> ImageJ | None:
        """Return ImageJ's description of a file; None if there is none."""
        text = next((text for text in page.texts(270) if text.startswith(_HEADS)), None)
        if text is None:
            return None
        lines = (line.partition("=") for line in text.splitlines())
        return cls(page, {key.strip(): value.strip() for key, _, value in lines})

    def stack(self, pages: Sequence[Page]) -> np.ndarray:
        """Return the page number of each channel and slice, ``(channels, slices)``.

        Raises
        ------
        DataError
            There are frames (time), or the pages do not match the description.
        """
        channels, slices, frames = (self._count(key) for key in ("channels", "slices", "frames"))
        images = self._count("images")
        if channels * slices * frames == 1:
            slices = images  # a plain stack
        if frames > 1:
            raise self.page.unsupported(
                f"files with {frames} points in time (ImageJ's frames) are",
                "save each as a file of its own; if these are slices, say so in ImageJ's Image > Properties",
            )
        if channels * slices != len(pages) or images not in (1, len(pages)):
            raise self.page.unsupported(
                f"files whose {len(pages)} pages are {images} images of {channels} channels and {slices} "
                "slices by ImageJ's description are",
                _SAVE_AGAIN,
            )
        # The channels of a slice are consecutive.
        values: np.ndarray = np.array([page.number for page in pages]).reshape(slices, channels).T
        return values

    def pixel_size(self, ndim: int) -> tuple[float, ...] | None:
        """Return the size of a pixel along (z,) y and x in mm; None if it is unknown.

        If no distance between slices is given, it is 1 in the unit of the file, since ImageJ omits that
        value.
        """
        units = [self._unit(key) for key in ("zunit", "yunit", "unit")]
        if units[2] in _TAG_UNITS or not units[2]:
            return size_by_tags(self.page) if ndim == 2 else None
        if any(unit not in _UNITS for unit in units):
            return None
        z, y, x = (_UNITS[unit] for unit in units)
        rows, columns = pixels_per_unit_to_size(self.page, y), pixels_per_unit_to_size(self.page, x)
        distance = z * abs(_number(self.items.get("spacing", "1")))
        if rows is None or columns is None or (ndim == 3 and not plausible(distance)):
            return None
        return (distance, rows[0], columns[1])[3 - ndim :]

    def calibrated(self, data: np.ndarray, *, indexed: bool) -> np.ndarray:
        """Return the values that ImageJ shows: a + b * stored, if the file has such a calibration.

        Raises
        ------
        DataError
            The calibration is of another kind, or the file is meant to be a label map.
        """
        kind = _number(self.items.get("cf", str(_UNCALIBRATED)))
        if kind == _UNCALIBRATED or data.dtype.kind == "f":  # ImageJ does not calibrate these
            return data
        a, b = (_number(self.items.get(key, "nan")) for key in ("c0", "c1"))
        if kind != _STRAIGHT_LINE or indexed or not (math.isfinite(a) and math.isfinite(b)) or not b:
            raise self.page.unsupported(
                f"{'label maps' if indexed else 'files'} whose values have a calibration in ImageJ are",
                "remove it with Analyze > Calibrate > None, and save it as TIFF again",
            )
        if b == 1 and a.is_integer() and abs(a) < 2**31 and data.itemsize <= 2:
            values: np.ndarray = data.astype(np.int32) + np.int32(a)
            return values
        return (a + b * data.astype(np.float64)).astype(np.float32)

    def _count(self, key: str) -> int:
        text = self.items.get(key, "1")
        if not text.isdigit() or int(text) < 1:
            raise self.page.unsupported(
                f"files with {key}={text[:20]} in ImageJ's description are", _SAVE_AGAIN
            )
        return int(text)

    def _unit(self, key: str) -> str:
        text = self.items.get(key, self.items.get("unit", ""))
        # ImageJ escapes letters beyond ASCII as Java does.
        return re.sub(r"\\u([0-9A-Fa-f]{4})", lambda found: chr(int(found[1], 16)), text).lower()


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
