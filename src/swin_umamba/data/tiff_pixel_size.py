"""How large a pixel of a TIFF file is, as far as tags and nnU-Net's spacing files say.

OME-XML and ImageJ's description have modules of their own, which take units from here.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

from swin_umamba.data.image import Image
from swin_umamba.data.tiff_tags import Page
from swin_umamba.errors import DataError
from swin_umamba.json_files import read_json, write_json
from swin_umamba.schema import number

INCH, CENTIMETRE = 25.4, 10.0
MILLIMETRES = {"pm": 1e-9, "Å": 1e-7, "nm": 1e-6, "µm": 1e-3, "mm": 1.0, "cm": CENTIMETRE} | {
    "dm": 100.0,
    "m": 1000.0,
    "in": INCH,
    "thou": INCH / 1000,
}
"""Length of a unit in mm, by the symbols of OME."""

# Screens have about 4 pixels a millimetre, printers and scanners up to 100. Programs write such numbers into
# any picture, whatever it shows; only finer pixels come from a microscope.
_COARSEST_BY_TAGS = 0.01
_SMALLEST, _LARGEST = 1e-9, 1e4
_UNITS_OF_TAGS = {2: INCH, 3: CENTIMETRE}
# A file of nnU-Net's has fifty bytes. What is larger belongs to another program.
_MAX_SPACING_FILE = 2**16
_CHANNEL = re.compile(r"_\d{4}$")


def plausible(*lengths: float) -> bool:
    """Tell whether all lengths, in mm, can be sizes of a pixel."""
    return all(math.isfinite(length) and _SMALLEST <= length <= _LARGEST for length in lengths)


def size_by_tags(page: Page) -> tuple[float, float] | None:
    """Return the size (y, x) of a pixel in mm by the resolution tags; None if they do not say.

    They count only with their unit (tag 296 is inch or centimetre, and not left out), and only for pixels
    finer than 0.01 mm (2540 an inch): the 72, 96 or 300 dots an inch of most pictures are about paper.
    """
    unit = _UNITS_OF_TAGS.get(page.number_of(296, 1))
    if unit is None:
        return None
    size = pixels_per_unit_to_size(page, unit)
    return size if size and max(size) < _COARSEST_BY_TAGS else None


def size_for_tags(spacing: tuple[float, ...]) -> dict[str, Any]:
    """Return what lets tifffile write the size (y, x) in mm of a pixel, if the tags can hold it."""
    y, x = (CENTIMETRE / each for each in spacing)
    # A tag holds the quotient of two integers of 32 bits.
    if not all(1e-6 <= each < 2**32 for each in (y, x)):
        return {}
    return {"resolution": (x, y), "resolutionunit": "CENTIMETER"}


def pixels_per_unit_to_size(page: Page, unit: float) -> tuple[float, float] | None:
    """Return the size (y, x) of a pixel from tags 283 and 282 in a unit of so many mm, if it is plausible."""
    resolution = [float(values[0]) for values in (page.array(283), page.array(282)) if len(values)]
    if len(resolution) != 2 or not all(math.isfinite(each) and each > 0 for each in resolution):
        return None
    y, x = (unit / each for each in resolution)
    return (y, x) if plausible(y, x) else None


def spacing_file(path: Path, *, of_labels: bool) -> Path:
    """Return where nnU-Net looks for the spacing of a TIFF volume.

    It lies beside the volume and is called as the case: ``CASE.json`` for the image ``CASE_0000.tif`` and for
    the label map ``CASE.tif``.
    """
    stem = path.stem
    return path.with_name((stem if of_labels else _CHANNEL.sub("", stem)) + ".json")


def read_spacing_file(path: Path, *, of_labels: bool) -> tuple[float, float, float] | None:
    """Return what nnU-Net's spacing file says of a TIFF volume, along z, y and x in mm; None without one.

    Raises
    ------
    DataError
        There is a file, but its ``spacing`` is not three positive numbers.
    """
    place = spacing_file(path, of_labels=of_labels)
    content = _spacing_content(place)
    if "spacing" not in content:
        return None
    spacing = content["spacing"]
    if (
        not isinstance(spacing, list)
        or len(spacing) != 3
        or not all(number().holds(each) and plausible(each) for each in spacing)
    ):
        raise DataError(
            f"the spacing of {path.name} must be three positive numbers, not {str(spacing)[:100]}",
            where=place,
            hint='write {"spacing": [z, y, x]} in mm',
        )
    return float(spacing[0]), float(spacing[1]), float(spacing[2])


def write_spacing_file(path: Path, like: Image, *, of_labels: bool) -> None:
    """Write nnU-Net's spacing file beside a TIFF volume on the grid of ``like``.

    If its spacing is not known, that of an older volume of this name is taken away; whatever else the file
    holds stays.
    """
    if len(like.spatial_shape) != 3:
        return
    place = spacing_file(path, of_labels=of_labels)
    if like.has_spacing:
        write_json(place, {"spacing": list(like.spacing)})
    elif "spacing" in (content := _spacing_content(place)):
        del content["spacing"]
        if content:
            write_json(place, content)
        else:
            place.unlink()


def _spacing_content(place: Path) -> dict[str, Any]:
    """Return what a file holds that may be nnU-Net's spacing file; nothing if it is none."""
    if not place.is_file() or place.stat().st_size > _MAX_SPACING_FILE:
        return {}
    hint = 'write {"spacing": [z, y, x]} in mm into it, or move it away'
    content = read_json(place, object, hint=hint, largest=_MAX_SPACING_FILE, nan=True)
    return content if isinstance(content, dict) else {}
