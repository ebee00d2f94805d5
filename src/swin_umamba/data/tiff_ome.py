"""OME-XML in a TIFF file: which page is which channel and slice, and the size of a pixel.

Source: the OME-TIFF specification and the schema 2016-06 (openmicroscopy.org).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree import ElementTree

import numpy as np

from swin_umamba.data.tiff_layout import Layout
from swin_umamba.data.tiff_pixel_size import MILLIMETRES, plausible
from swin_umamba.data.tiff_tags import Page
from swin_umamba.errors import DataError

_UNITS = {**MILLIMETRES, "μm": MILLIMETRES["µm"]}  # the Greek letter as well as the micro sign
_EXPORT = "export the image as one OME-TIFF file of its own"


@dataclass(frozen=True)
class Ome:
    """The OME-XML of the first page."""

    page: Page
    root: ElementTree.Element

    @classmethod
    def of(cls, page: Page) -> Ome | None:
        """Return the OME-XML of a file; None if there is none.

        Raises
        ------
        DataError
            It cannot be read, or says that the image is in other files, which are never opened.
        """
        text = next((text for text in page.texts(270) if _is_ome(text)), None)
        if text is None:
            return None
        try:
            if "<!DOCTYPE" in text or "<!ENTITY" in text:
                raise ElementTree.ParseError("definitions of entities are not read")
            # The text is already decoded, whatever encoding its first line names.
            root = ElementTree.fromstring(
                text.strip().encode("utf-8"), ElementTree.XMLParser(encoding="utf-8")
            )
        except ElementTree.ParseError as error:
            raise page.damaged(f"its OME-XML cannot be read: {error}") from error
        ome = cls(page, root)
        ome._refuse_other_files()
        return ome

    def stack(self, pages: Sequence[Page], layout: Layout) -> np.ndarray:
        """Return the page number of each channel and slice, ``(channels, slices)``.

        Raises
        ------
        DataError
            The file holds several images or points in time, or the XML does not match its pages.
        """
        pixels = self._pixels()
        size = {axis: self._count(pixels, f"Size{axis}") for axis in "XYZCT"}
        if size["T"] > 1:
            raise self.page.unsupported(f"files with {size['T']} points in time are", _EXPORT)
        if (size["X"], size["Y"]) != (layout.width, layout.length) or size["C"] % layout.samples:
            raise self._contradiction(
                f"{size['X']} x {size['Y']} pixels of {size['C']} channels, its pages hold {layout.width} x "
                f"{layout.length} of {layout.samples}"
            )
        size["C"] //= layout.samples
        order = pixels.get("DimensionOrder", "")
        if not order.startswith("XY") or sorted(order[2:]) != ["C", "T", "Z"]:
            raise self._contradiction(f"the order of dimensions {order[:20]!r}")
        numbers = self._planes(pixels, order, size, len(pages))
        faster, slower = (axis for axis in order[2:] if axis != "T")
        stack = np.array(numbers).reshape(size[slower], size[faster])
        return stack.T if faster == "C" else stack

    def pixel_size(self, ndim: int) -> tuple[float, ...] | None:
        """Return the size of a pixel along (z,) y and x in mm; None if it is unknown."""
        pixels = self._pixels()
        lengths = []
        for axis in "ZYX"[3 - ndim :]:
            unit = _UNITS.get(pixels.get(f"PhysicalSize{axis}Unit", "µm"), math.nan)
            try:
                lengths.append(unit * float(pixels.get(f"PhysicalSize{axis}", "nan")))
            except ValueError:
                return None
        return tuple(lengths) if plausible(*lengths) else None

    def _planes(self, pixels: ElementTree.Element, order: str, size: dict[str, int], pages: int) -> list[int]:
        """Return the page of each plane, in the order of dimensions."""
        count = size["Z"] * size["C"]
        if count > pages:
            raise self._contradiction(f"{count} planes, but there are {pages} pages")
        numbers = [-1] * count
        elements = pixels.findall("{*}TiffData")
        if not elements and pixels.find("{*}BinData") is not None:
            raise self.page.unsupported("files whose pixels stand in their OME-XML are", _EXPORT)
        for element in elements or [ElementTree.Element("TiffData")]:
            first, step = 0, 1
            for axis in order[2:]:
                place = self._count(element, f"First{axis}", 0)
                if place >= size[axis]:
                    raise self._contradiction(f"First{axis}={place} of {size[axis]}")
                first += step * place
                step *= size[axis]
            page = self._count(element, "IFD", 0)
            several = count - first if "IFD" not in element.attrib else 1
            for plane in range(self._count(element, "PlaneCount", several)):
                if first + plane >= count or page + plane >= pages or numbers[first + plane] >= 0:
                    raise self._contradiction("a page for a plane that is not there or has another page")
                numbers[first + plane] = page + plane
        if min(numbers) < 0:
            raise self._contradiction("planes without a page")
        return numbers

    def _pixels(self) -> ElementTree.Element:
        images = self.root.findall("{*}Image")
        if len(images) != 1:
            raise self.page.unsupported(f"files with {len(images)} images by their OME-XML are", _EXPORT)
        found = images[0].findall("{*}Pixels")
        if len(found) != 1:
            raise self._contradiction(f"{len(found)} sets of pixels")
        return found[0]

    def _refuse_other_files(self) -> None:
        """Refuse a part of a set of files, whose own pages do not suffice to tell what they mean."""
        own_id, own_name = self.root.get("UUID"), self.page.path.name
        whole = self.root.find(".//{*}BinaryOnly")
        elsewhere = None if whole is None else whole.get("MetadataFile", "")
        for each in self.root.iterfind(".//{*}UUID"):
            name, identity = each.get("FileName"), (each.text or "").strip()
            if name != own_name and not (own_id and identity == own_id) and (name or own_id):
                elsewhere = elsewhere or name or identity
        if elsewhere is not None:
            raise DataError(
                f"by its OME-XML, parts of this image lie in another file: {elsewhere[:200]!r}; only "
                "the file that was given is read",
                where=self.page.path,
                hint=_EXPORT,
            )

    def _count(self, element: ElementTree.Element, name: str, default: int | None = None) -> int:
        text = element.get(name, "" if default is None else str(default))
        if not text.isdigit() or len(text) > 9:
            raise self._contradiction(f"{name}={text[:20]!r}")
        return int(text)

    def _contradiction(self, what: str) -> DataError:
        return DataError(
            f"the OME-XML of the file does not fit its pages: it says {what}",
            where=self.page.path,
            hint=_EXPORT,
        )


def _is_ome(text: str) -> bool:
    return text.lstrip().startswith("<") and "<OME" in text[:2000].replace("<ome:OME", "<OME")
