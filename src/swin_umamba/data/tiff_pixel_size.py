"""Size of a pixel in a TIFF file according to its tags and nnU-Net's spacing files.

OME-XML and ImageJ's description have modules of their own, which use the units defined here.
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
"""Length of a unit in mm, by OME symbol."""

# Screens have about 4 pixels per millimetre, printers and scanners up to 100. Programs write such numbers
# into any picture, whatever it shows; only finer pixels come from a microscope.
_COARSEST_BY_TAGS = 0.01
_SMALLEST, _LARGEST = 1e-9, 1e4
_UNITS_OF_TAGS = {2: INCH, 3: CENTIMETRE}
# nnU-Net's files have about fifty bytes. A larger file belongs to another program.
_MAX_SPACING_FILE = 2**16
_CHANNEL = re.compile(r"_\d{4}$")


def plausible(*lengths: float) -> bool:
    """Return whether all lengths, in mm, are plausible sizes of a pixel."""
    return all(math.isfinite(length) and _SMALLEST <= length <= _LARGEST for length in lengths)


def size_by_tags(page: Page) -> tuple[float, float] | None:
    """Return the size (y, x) of a pixel in mm from the resolution tags; None if they do not give it.

    They count only with an explicit unit (tag 296 is inch or centimetre), and only for pixels finer than 0.01
    mm (2540 per inch): the 72, 96 or 300 dots per inch of most pictures refer to paper.
    """
    unit = _UNITS_OF_TAGS.get(page.number_of(296, 1))
    if unit is None:
        return None
    size = pixels_per_unit_to_size(page, unit)
    return size if size and max(size) < _COARSEST_BY_TAGS else None


def size_for_tags(spacing: tuple[float, ...]) -> dict[str, Any]:
    """Return tifffile's arguments for writing the size (y, x) of a pixel in mm, if the tags can hold it."""
    y, x = (CENTIMETRE / each for each in spacing)
    # A tag holds the quotient of two 32-bit integers.
    if not all(1e-6 <= each < 2**32 for each in (y, x)):
        return {}
    return {"resolution": (x, y), "resolutionunit": "CENTIMETER"}


def pixels_per_unit_to_size(page: Page, unit: float) -> tuple[float, float] | None:
    """Return the size (y, x) of a pixel from tags 283 and 282, if plausible; ``unit`` is in mm."""
    resolution = [float(values[0]) for values in (page.array(283), page.array(282)) if len(values)]
    if len(resolution) != 2 or not all(math.isfinite(each) and each > 0 for each in resolution):
        return None
    y, x = (unit / each for each in resolution)
    return (y, x) if plausible(y, x) else None


def spacing_file(path: Path, *, of_labels: bool) -> Path:
    """Return the path where nnU-Net expects the spacing of a TIFF volume.

    It is beside the volume and named after the case: ``CASE.json`` for the image ``CASE_0000.tif`` and for
    the label map ``CASE.tif``.
    """
    stem = path.stem
    return path.with_name((stem if of_labels else _CHANNEL.sub("", stem)) + ".json")


def own_spacing_file(labels: Path) -> Path | None:
    """Return the spacing file of a label map, if it is a TIFF file that has one which holds nothing else."""
    if labels.suffix.lower() not in (".tif", ".tiff"):
        return None
    place = spacing_file(labels, of_labels=True)
    try:
        return place if _spacing_content(place).keys() == {"spacing"} else None
    except DataError:  # it is somebody's, and no JSON
        return None


def read_spacing_file(path: Path, *, of_labels: bool) -> tuple[float, float, float] | None:
    """Return the spacing of a TIFF volume along z, y and x in mm from nnU-Net's file; None without one.

    Raises
    ------
    DataError
        The file exists, but its ``spacing`` is not three positive numbers.
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

    If its spacing is unknown, that of an older volume with the same name is removed; anything else in the
    file stays.
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
    """Return the contents of what may be nnU-Net's spacing file; empty if it is not one."""
    if not place.is_file() or place.stat().st_size > _MAX_SPACING_FILE:
        return {}
    hint = 'write {"spacing": [z, y, x]} in mm into it, or move it away'
    content = read_json(place, object, hint=hint, largest=_MAX_SPACING_FILE, nan=True)
    return content if isinstance(content, dict) else {}
