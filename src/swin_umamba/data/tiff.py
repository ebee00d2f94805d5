"""TIFF files: pictures, and volumes of several pages.

``docs/formats.md`` says what their pixels mean, how large they are, and what is refused. The pages are read
here rather than by tifffile, which fills missing pixels with zeros, opens other files that a file names, and
allocates the memory that tags claim before a caller can check them.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import tifffile

from swin_umamba.data.image import MAX_VOXELS, Image
from swin_umamba.data.orientation import ORIENTATION_TAG, oriented
from swin_umamba.data.picture_checks import check_pixels
from swin_umamba.data.tiff_colours import channels_of, refuse_inverting_table, to_channels
from swin_umamba.data.tiff_imagej import ImageJ
from swin_umamba.data.tiff_layout import PALETTE, Layout, layout_of
from swin_umamba.data.tiff_ome import Ome
from swin_umamba.data.tiff_pixel_size import read_spacing_file, size_by_tags, size_for_tags
from swin_umamba.data.tiff_pixels import read_samples
from swin_umamba.data.tiff_tags import Page, read_pages
from swin_umamba.errors import DataError
from swin_umamba.json_files import parse_json

_REDUCED, _MASK = 1, 4
# Tags of programs that store more than pages in them: planes without a page, value scales, other axes.
_PROGRAMS = {33628: "MetaMorph", 33629: "MetaMorph", 34361: "Olympus FluoView", 34412: "Zeiss LSM"} | {
    33445: "Molecular Dynamics GEL",
    43314: "NIH Image",
    65420: "Hamamatsu NDPI",
}
_ONE_IMAGE = "save one picture or volume a file, without axes of time or position"


def read_tiff(path: Path, *, indexed: bool, max_voxels: int = MAX_VOXELS) -> Image:
    """Read a TIFF file; see ``formats.Reader``.

    It has one page, or several of one kind: the slices of a volume, or slices and channels as described by
    OME-XML, ImageJ or tifffile. Reduced copies of pages are not read.

    Returns
    -------
    Image
        ``(channels, y, x)`` or ``(channels, z, y, x)`` in the dtype of the file, upright. Its spacing is
        known if nnU-Net's spacing file, OME-XML, ImageJ's description or the tags give it.

    Raises
    ------
    DataError
        The file is damaged, too large, or holds something other than one picture or volume.
    """
    with path.open("rb") as file:
        pages = read_pages(path, file)
        found = describe(pages)
        _check_size(path, found, max_voxels)
        data = _read_stack(pages, found, indexed=indexed)
        image = Image.without_geometry(data[:, 0] if found.flat else data, path)
        spacing = found.spacing(of_labels=indexed)
        if spacing is not None:
            image = replace(image, spacing=spacing, has_spacing=True)
        return _upright(image, orientation_of(found.first))


def tiff_shape(path: Path) -> tuple[int, ...]:
    """Return the shape of what ``read_tiff`` would return, not upright, without pixels; see ``Format``."""
    with path.open("rb") as file:
        found = describe(read_pages(path, file))
    _check_size(path, found, MAX_VOXELS)
    layout, channels = found.layout, len(found.stack)
    if channels == 1:
        channels = channels_of(layout, indexed=found.imagej is not None)
    return (channels, *(() if found.flat else found.stack.shape[1:]), layout.length, layout.width)


@dataclass(frozen=True)
class Described:
    """What the pages of a file are.

    Attributes
    ----------
    first, layout
        The first page that is no reduced copy, and how it is stored.
    ome, imagej
        The description, at most one of them.
    stack
        The page number of each channel and slice, ``(channels, slices)``.
    """

    first: Page
    layout: Layout
    ome: Ome | None
    imagej: ImageJ | None
    stack: np.ndarray

    @property
    def flat(self) -> bool:
        """Whether there is one slice."""
        return len(self.stack[0]) == 1

    def spacing(self, *, of_labels: bool) -> tuple[float, ...] | None:
        """Return the size of a pixel along (z,) y and x in mm; None if it is not known."""
        if not self.flat and (found := read_spacing_file(self.first.path, of_labels=of_labels)):
            return found
        if description := self.ome or self.imagej:
            return description.pixel_size(2 if self.flat else 3)
        return size_by_tags(self.first) if self.flat else None


def describe(pages: Sequence[Page]) -> Described:
    """Return what the pages of a file are.

    Raises
    ------
    DataError
        They do not make up one picture or volume.
    """
    whole = _full_pages(pages)
    first, layout = whole[0], layout_of(whole[0])
    if ome := Ome.of(pages[0]) or Ome.of(first):
        return Described(first, layout, ome, None, ome.stack(pages, layout))
    imagej = ImageJ.of(first)
    stack = imagej.stack(whole) if imagej else _plain_stack(whole, layout)
    return Described(first, layout, None, imagej, stack)


def _full_pages(pages: Sequence[Page]) -> list[Page]:
    """Return the pages except thumbnails and the smaller levels of pyramids."""
    kinds = [page.number_of(254, {2: _REDUCED}.get(page.number_of(255, 0), 0)) for page in pages]
    if any(kind & _MASK for kind in kinds):
        raise pages[0].unsupported("files with transparency masks are", "save the image without a mask")
    whole = [page for page, kind in zip(pages, kinds, strict=True) if not kind & _REDUCED]
    if not whole:
        raise pages[0].unsupported(
            "files of which all pages are reduced copies (raw photographs, for example) are",
            "save the image in full size as a plain TIFF",
        )
    return whole


def _plain_stack(pages: Sequence[Page], layout: Layout) -> np.ndarray:
    """Return the page number of each channel and slice, ``(channels, slices)``.

    Pages are slices unless tifffile's description gives them other axes.
    """
    first = pages[0]
    program = next((name for tag, name in _PROGRAMS.items() if tag in first), None)
    if program is None and len(pages) > 1 and any(text.startswith("SI.") for text in first.texts(305)):
        program = "ScanImage"
    if program:
        raise first.unsupported(f"files of {program} are", "export the image as OME-TIFF or as plain pages")
    numbers = np.array([page.number for page in pages])
    axes = _axes_of_tifffile(first, layout)
    count = math.prod(size for _, size in axes)
    if count == 1:
        return numbers[None]
    names = "".join(name for name, _ in axes)
    if count != len(pages) or names not in ("Z", "C", "CZ", "ZC"):
        shape = " x ".join(f"{size} {name}" for name, size in axes)
        raise first.unsupported(f"files of {len(pages)} pages with the axes {shape} are", _ONE_IMAGE)
    numbers = numbers.reshape([size for _, size in axes])
    if len(names) == 1:
        return numbers[None] if names == "Z" else numbers[:, None]
    return numbers if names == "CZ" else numbers.T


def _axes_of_tifffile(page: Page, layout: Layout) -> list[tuple[str, int]]:
    """Return the name and length of each axis of the pages; unnamed axes and lists count as slices."""
    # Until 2025, tifffile wrote the axes before the shape, and its user's additions may be anywhere.
    text = next((text for text in page.texts(270) if text[:1] == "{" and '"shape":' in text), "{}")
    try:
        described = parse_json(text, dict, where=page.path)
    except DataError:
        return []
    shape, names = described.get("shape"), described.get("axes")
    if not isinstance(shape, list) or not all(type(size) is int and size > 0 for size in shape):
        return []
    total, pages = math.prod(shape), math.prod(shape) // layout.values
    if pages <= 1 or total % layout.values:
        return []  # one page, or the description of another image
    if not isinstance(names, str) or len(names) != len(shape):
        names = "Z" * len(shape)
    axes, rest = [], pages
    for name, size in zip(names, shape, strict=True):
        if rest == 1:
            break
        if size > 1:
            axes.append(("Z" if name in "ZQI" else name, size))
        rest //= size
    return axes


def _check_size(path: Path, found: Described, max_voxels: int) -> None:
    layout = found.layout
    values = found.stack.size * layout.values * (3 if layout.photometric == PALETTE else 1)
    if values > max_voxels:
        raise DataError(
            f"the file claims {values} values; the limit is {max_voxels}",
            where=path,
            hint="crop the image or cut it into tiles; if it is not that large, the file is damaged",
        )
    check_pixels(path, layout.width * layout.length)


def _read_stack(pages: Sequence[Page], found: Described, *, indexed: bool) -> np.ndarray:
    """Return the pages as ``(channels, slices, y, x)``."""
    stack = found.stack
    first = pages[stack.flat[0]]
    kind = layout_of(first).kind
    data = None
    for (channel, number), index in np.ndenumerate(stack):
        page = pages[index]
        layout = layout_of(page)
        if layout.kind != kind or orientation_of(page) != orientation_of(first):
            raise DataError(
                f"the file holds images of different shapes or kinds: page {first.number + 1} is {kind}, "
                f"page {page.number + 1} {layout.kind}",
                where=page.path,
                hint="save each image as a file of its own",
            )
        values = channels_in(page, layout, read_samples(page, layout), found.imagej, indexed=indexed)
        if len(values) > 1 and len(stack) > 1:
            raise page.unsupported(
                f"files with {len(values)} values a pixel in each of {len(stack)} channels are",
                "save one channel a page",
            )
        if data is None:
            data = np.empty((len(values) * len(stack), *stack.shape[1:], *values.shape[1:]), values.dtype)
        data[channel if len(stack) > 1 else slice(None), number] = values[0] if len(stack) > 1 else values
    assert data is not None
    return data


def channels_in(
    page: Page, layout: Layout, values: np.ndarray, imagej: ImageJ | None, *, indexed: bool
) -> np.ndarray:
    """Return the channels that stored values represent; see ``to_channels``."""
    if imagej is None:
        return to_channels(page, layout, values, indexed=indexed)
    refuse_inverting_table(page, layout)
    # A lookup table from ImageJ only affects the display; the data are the values.
    return to_channels(page, layout, imagej.calibrated(values, indexed=indexed), indexed=True)


def orientation_of(page: Page) -> int:
    """Return tag 274; undefined values count as 1, as in libtiff."""
    stored = page.number_of(ORIENTATION_TAG, 1)
    return stored if 1 <= stored <= 8 else 1


def _upright(image: Image, orientation: int) -> Image:
    spacing = image.spacing
    if orientation >= 5:
        spacing = (*spacing[:-2], spacing[-1], spacing[-2])
    return replace(image.with_data(oriented(image.data, orientation)), spacing=spacing)


def encode_tiff(data: np.ndarray, like: Image, suffix: str) -> bytes | None:
    """Return a TIFF file: one channel, a page per slice, or a three-channel uint8 or uint16 picture as RGB.

    The tags of a picture give its pixel size, if that is known.
    """
    coloured = data.ndim == 3 and len(data) == 3 and data.dtype in (np.uint8, np.uint16)
    if len(data) != 1 and not coloured:
        return None
    buffer = io.BytesIO()
    pixels = np.ascontiguousarray(data.transpose(1, 2, 0)) if coloured else data[0]
    photometric = "rgb" if coloured else "minisblack"
    size = size_for_tags(like.spacing) if data.ndim == 3 and like.has_spacing else {}
    tifffile.imwrite(buffer, pixels, photometric=photometric, compression="zlib", metadata=None, **size)
    return buffer.getvalue()
