"""TIFF files of all features, with the image that each must become; see ``tiff_writer``."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from conformance.combinations import Combination
from conformance.exif import as_seen
from conformance.picture import ORIENTATIONS, sizes_of
from conformance.tiff_writer import ASCII, LONG, RATIONAL, SHORT, Coding, page_of, tiff_file

# Of white is 0, grey, RGB, palette, transparency mask, CMYK, YCbCr, CIELab.
WHITE, GREY, RGB, PALETTE, MASK, CMYK, YCBCR, LAB = 0, 1, 2, 3, 4, 5, 6, 8
NOT_SUPPORTED = "not supported"

HEADERS = {
    "little-endian": ("<", False),
    "big-endian": (">", False),
    "BigTIFF little-endian": ("<", True),
    "BigTIFF big-endian": (">", True),
}
VALUES: dict[str, tuple[int, Any]] = {
    "1 bit": (1, np.uint8),
    "2 bits": (2, np.uint8),
    "4 bits": (4, np.uint8),
    "8 bits": (8, np.uint8),
    "12 bits": (12, np.uint16),
    "16 bits": (16, np.uint16),
    "32 bits": (32, np.uint32),
    "64 bits": (64, np.uint64),
    "signed 8": (8, np.int8),
    "signed 16": (16, np.int16),
    "signed 32": (32, np.int32),
    "float 16": (16, np.float16),
    "float 32": (32, np.float32),
    "float 64": (64, np.float64),
}


@dataclass
class Made:
    """A file, and what it must become: None if it is refused, with words of the message."""

    content: bytes
    image: np.ndarray | None
    labels: np.ndarray | None
    why: str = NOT_SUPPORTED
    spacing: tuple[float, ...] | None = None
    slack: int = 0
    beside: dict[str, str] = field(default_factory=dict)


def random_values(generator: np.random.Generator, shape: tuple[int, ...], values: str) -> np.ndarray:
    """Return values over the whole range of a type, in runs, so that they can be compressed."""
    bits, dtype = VALUES[values]
    if np.dtype(dtype).kind == "f":
        data = generator.normal(0, 1000, shape).astype(dtype)
    elif np.dtype(dtype).kind == "i":
        data = generator.integers(-(2 ** (bits - 1)), 2 ** (bits - 1), shape, dtype)
    else:
        data = generator.integers(0, 2**bits - 1, shape, dtype, endpoint=True)
    return np.where(generator.random(shape) < 0.3, data.flat[0], data)


def as_labels(image: np.ndarray | None) -> np.ndarray | None:
    """Return an image as a label map, None if it cannot be one."""
    if image is None or len(image) > 1 or (image < 0).any():
        return None
    if image.dtype.kind != "f":
        return image
    whole = (image == np.floor(image)).all() and image.max() < 2**31
    return image.astype(np.int32) if whole else None


# Samples and codings.

CODING_FEATURES = {
    "bytes": tuple(HEADERS),
    "values": tuple(VALUES),
    "compression": ("none", "LZW", "deflate", "PackBits", "Zstandard", "JPEG", "LZMA"),
    "predictor": ("none", "horizontal", "floating point"),
    "pixels in": ("one strip", "strips", "tiles"),
    "channels": ("one", "three together", "three apart"),
    "bits in a byte": ("usual", "reversed"),
}


def coding_exists(features: Combination) -> bool:
    if features["compression"] == "JPEG" and (
        features["values"] != "8 bits" or features["bits in a byte"] != "usual"
    ):
        return False
    return features["predictor"] == "none" or predictor_fits(features)


def predictor_fits(features: Combination) -> bool:
    """Tell whether programs agree about what a predictor means there."""
    by_value = features["compression"] in ("LZW", "deflate", "Zstandard", "LZMA")
    fits = features["predictor"] == "horizontal" or "float" in features["values"]
    return by_value and fits and VALUES[features["values"]][0] % 8 == 0


def make_coding(features: Combination) -> Made:
    generator, length, width = sizes_of(features)
    bits, _ = VALUES[features["values"]]
    order, big = HEADERS[features["bytes"]]
    predictor = ("none", None, "horizontal", "floating point").index(features["predictor"]) or 1
    compression = features["compression"]
    channels = 1 if features["channels"] == "one" else 3
    if features["pixels in"] == "tiles":
        length, width = length + 20, width + 40  # several rows and columns of tiles
    chunks = {"strips": {"rows": 2}, "tiles": {"tile": (16, 32)}}.get(features["pixels in"], {})
    coding = Coding(
        bits=bits,
        order=order,
        compression="deflate" if compression == "LZMA" else compression,
        predictor=predictor,
        planar=features["channels"] == "three apart",
        reversed_bits=features["bits in a byte"] == "reversed",
        **chunks,
    )
    stored = random_values(generator, (length, width, channels), features["values"])
    if compression == "JPEG":
        stored[:] = generator.integers(0, 256, channels)
    page = page_of(stored, GREY if channels == 1 else RGB, coding)
    if compression == "LZMA":
        page.tags[259] = (SHORT, 34925)
    image: np.ndarray | None = stored.transpose(2, 0, 1)
    if compression == "LZMA" or not coding_exists(features):
        image = None
    return Made(
        tiff_file([page], order, big),
        image,
        as_labels(image),
        f"{NOT_SUPPORTED}|channel|whole numbers",
        slack=2 if compression == "JPEG" else 0,
    )


# Colours, alpha and orientation.

COLOURS = {
    "grey": (GREY, 1, ()),
    "grey and 4 unnamed": (GREY, 5, (0, 0, 0, 0)),
    "grey and opaque alpha": (GREY, 2, (2,)),
    "0 is white": (WHITE, 1, ()),
    "RGB": (RGB, 3, ()),
    "RGB and 1 unnamed": (RGB, 4, (0,)),
    "RGB and 1 without tag": (RGB, 4, None),
    "RGB and opaque alpha": (RGB, 4, (2,)),
    "RGB and transparent alpha": (RGB, 4, (2,)),
    "RGB and opaque multiplied alpha": (RGB, 4, (1,)),
    "RGB and 1 unnamed and opaque alpha": (RGB, 5, (0, 2)),
    "palette": (PALETTE, 1, ()),
    "palette of 0 to 255": (PALETTE, 1, ()),
    "YCbCr": (YCBCR, 3, ()),
    "YCbCr of half resolution": (YCBCR, 3, ()),
    "YCbCr in JPEG": (YCBCR, 3, ()),
    "YCbCr of half resolution in JPEG": (YCBCR, 3, ()),
    "transparency mask": (MASK, 1, ()),
    "CMYK": (CMYK, 4, ()),
    "CIELab": (LAB, 3, ()),
}
OPAQUE = {"4 bits": 15, "8 bits": 255, "16 bits": 65535, "float 32": 1}
COLOUR_FEATURES = {
    "colours": tuple(COLOURS),
    "values": ("4 bits", "8 bits", "16 bits", "signed 16", "float 32"),
    "orientation": ORIENTATIONS,
    "channels": ("together", "apart"),
    "pages": (1, 3),
}


def colours_exist(features: Combination) -> bool:
    colours, values = features["colours"], features["values"]
    if "JPEG" in colours:
        return values == "8 bits" and features["channels"] == "together"
    if "palette" in colours or colours == "transparency mask":
        return values in ("4 bits", "8 bits")
    if colours == "0 is white":
        return "bits" in values
    return (colours != "YCbCr" or values == "8 bits") and ("alpha" not in colours or values in OPAQUE)


def make_colours(features: Combination) -> Made:
    generator, length, width = sizes_of(features)
    colours, values = features["colours"], features["values"]
    photometric, samples, extra = COLOURS[colours]
    bits, _ = VALUES[values]
    coding = Coding(bits=bits, planar=features["channels"] == "apart", compression="LZW", rows=3)
    tags: dict[str, tuple[int, Any]] = {}
    if extra:
        tags["t338"] = (SHORT, list(extra))
    if features["orientation"] != "not said":
        tags["t274"] = (SHORT, features["orientation"])
    palette = generator.integers(0, 256, (3, 2**bits), np.uint16) if photometric == PALETTE else None
    if palette is not None:
        palette[0, 0] = 255
        tags["t320"] = (SHORT, (palette if "255" in colours else palette * 257).ravel().tolist())
    if photometric == YCBCR and "JPEG" not in colours:
        half = "half" in colours
        tags |= {"t530": (SHORT, [2, 2] if half else [1, 1]), "t532": (RATIONAL, _levels())}
    if "JPEG" in colours:
        coding = Coding(compression="JPEG", jpeg={"subsampling": 2 if "half" in colours else 0})
    pages, images = [], []
    for _ in range(features["pages"]):
        stored = random_values(generator, (length, width, samples), values)
        if "JPEG" in colours:
            stored[:] = generator.integers(0, 256, samples)
        if "alpha" in colours:
            stored[..., -1] = OPAQUE[values]
            stored[-1, -1, -1] -= "transparent" in colours
        pages.append(page_of(stored, photometric, coding, **tags))
        images.append(_meant(colours, photometric, bits, stored.transpose(2, 0, 1), palette))
    image = _stacked([image for image, _ in images])
    labels = None if photometric == WHITE else as_labels(_stacked([labels for _, labels in images]))
    refused = (
        photometric in (MASK, CMYK, LAB)
        or colours == "YCbCr of half resolution"
        or "transparent" in colours
        or not colours_exist(features)
    )
    why = "transparent" if "transparent" in colours else NOT_SUPPORTED
    seen = [
        None if each is None or refused else _turned(each, features["orientation"])
        for each in (image, labels)
    ]
    return Made(
        tiff_file(pages),
        *seen,
        f"{why}|channel|whole numbers",
        slack=3 if "JPEG" in colours else int(colours == "YCbCr"),
    )


def _levels() -> list[tuple[int, int]]:
    return [(0, 1), (255, 1), (128, 1), (255, 1), (128, 1), (255, 1)]


def _meant(
    colours: str, photometric: int, bits: int, stored: np.ndarray, palette: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the channels that stored values mean in an image, and in a label map."""
    if palette is not None:
        return palette[:, stored[0]].astype(np.uint8), stored
    if colours == "YCbCr":
        y, cb, cr = stored.astype(float) - np.array([0, 128, 128])[:, None, None]
        rgb = [y + 1.402 * cr, y - 0.344136 * cb - 0.714136 * cr, y + 1.772 * cb]
        return np.clip(np.round(rgb), 0, 255).astype(np.uint8), stored
    if photometric == WHITE:
        return (2**bits - 1 - stored.astype(np.int64)).astype(stored.dtype), stored
    kept = stored[:-1] if "alpha" in colours else stored
    return kept, kept


def _stacked(images: list[np.ndarray]) -> np.ndarray:
    return images[0] if len(images) == 1 else np.stack(images, axis=1)


def _turned(image: np.ndarray, orientation: int | str) -> np.ndarray:
    return image if orientation == "not said" else as_seen(image, int(orientation))


# Pages: slices, channels, time, reduced copies, and the size of a pixel.

STACK_FEATURES = {
    "described by": ("nothing", "tifffile", "ImageJ", "OME-XML"),
    "pages are": ("a picture", "slices", "channels", "slices and channels", "points in time"),
    "size of a pixel": ("not said", "micrometres", "millimetres", "dots an inch", "pixels", "not of slices"),
    "spacing file": ("none", "there"),
    "other pages": ("none", "a thumbnail behind", "a thumbnail first", "levels inside"),
    "orientation": (1, 6),
    "bytes": ("little-endian", "BigTIFF big-endian"),
}
_COUNTS = {
    "a picture": (1, 1, 1),
    "slices": (1, 3, 1),
    "channels": (2, 1, 1),
    "slices and channels": (2, 3, 1),
    "points in time": (1, 1, 3),
}
# Along z, y and x.
_SIZE = (1.5, 0.5, 0.25)
_FILE = (2.0, 0.5, 0.75)


def stack_exists(features: Combination) -> bool:
    if features["described by"] == "nothing":
        return features["pages are"] in ("a picture", "slices")
    return features["other pages"] != "a thumbnail first" or features["described by"] == "tifffile"


def make_stack(features: Combination) -> Made:
    generator, length, width = sizes_of(features)
    length += 2  # never as small as a thumbnail
    channels, slices, times = _COUNTS[features["pages are"]]
    order, big = HEADERS[features["bytes"]]
    by, size = features["described by"], features["size of a pixel"]
    description, tags = _description(by, size, (channels, slices, times), (length, width))
    tags["t274"] = (SHORT, features["orientation"])
    stored = generator.integers(0, 200, (slices, channels, times, length, width), np.uint8)
    # Channels first in ImageJ's order and in the XML; tifffile gets slices within channels.
    pages_in_order = stored.swapaxes(0, 1) if by == "tifffile" else stored
    pages = [
        page_of(page[..., None], GREY, Coding(order=order), **tags)
        for page in pages_in_order.reshape(-1, length, width)
    ]
    small = page_of(stored[0, 0, 0, :1, :1, None], GREY, Coding(order=order), t254=(LONG, 1))
    if features["other pages"] == "levels inside":
        pages[0].inner = [small, small]
    if description:
        pages[0].tags[270] = (ASCII, description)
    if "thumbnail" in features["other pages"]:
        pages.insert(0 if "first" in features["other pages"] else len(pages), small)
    image = None if times > 1 else _turned(np.moveaxis(stored[:, :, 0], 1, 0), features["orientation"])
    flat = slices == 1
    if image is not None and flat:
        image = image[:, 0]
    spacing = _size_of_pixel(by, size, flat)
    beside = {}
    if features["spacing file"] == "there":
        beside = dict.fromkeys(("a.json", "a_0000.json"), json.dumps({"spacing": _FILE}))
        spacing = spacing if flat else _FILE
    if spacing is not None and features["orientation"] == 6:
        spacing = (*spacing[:-2], spacing[-1], spacing[-2])
    labels = image if channels == 1 else None
    return Made(
        tiff_file(pages, order, big), image, labels, f"{NOT_SUPPORTED}|channel", spacing, beside=beside
    )


def _size_of_pixel(by: str, size: str, flat: bool) -> tuple[float, ...] | None:
    """Return the size of a pixel in mm that a file tells, along (z,) y and x."""
    unit = {"micrometres": 1e-3, "millimetres": 1.0, "not of slices": 1e-3}.get(size)
    if unit is None:
        return None
    told: tuple[float, ...] | None = tuple(unit * each for each in _SIZE)
    if by in ("nothing", "tifffile"):  # tags, which know nothing of slices, and count for microscopes only
        told = told if flat and unit < 0.01 else None
    elif size == "not of slices" and not flat:
        told = (unit, *told[1:]) if by == "ImageJ" and told else None
    return told and told[1:] if flat else told


def _description(
    by: str, size: str, counts: tuple[int, int, int], shape: tuple[int, int]
) -> tuple[str, dict[str, tuple[int, Any]]]:
    """Return the text of tag 270 and the tags of resolution."""
    channels, slices, times = counts
    millimetres = {"micrometres": 1e-3, "millimetres": 1.0, "not of slices": 1e-3}.get(size)
    tags: dict[str, tuple[int, Any]] = {}
    if by == "ImageJ":
        lines = ["ImageJ=1.54p", f"images={channels * slices * times}"]
        lines += [
            f"{name}={n}" for name, n in zip(("channels", "slices", "frames"), counts, strict=True) if n > 1
        ]
        unit = {"micrometres": "\\u00B5m", "not of slices": "micron", "millimetres": "mm"}.get(size)
        unit = {"dots an inch": "inch", "pixels": "pixel"}.get(size, unit)
        lines += [f"unit={unit}"] if unit else []
        lines += [f"spacing={_SIZE[0]}"] if size in ("micrometres", "millimetres", "pixels") else []
        if unit:
            tags = {"t283": (RATIONAL, (2, 1)), "t282": (RATIONAL, (4, 1)), "t296": (SHORT, 1)}
    elif size != "not said" and not (by == "OME-XML" and millimetres):
        per_cm = {"micrometres": 20_000, "not of slices": 20_000, "millimetres": 20}.get(size, 118)
        tags = {"t283": (RATIONAL, (per_cm, 1)), "t282": (RATIONAL, (2 * per_cm, 1)), "t296": (SHORT, 3)}
    if size == "dots an inch":
        tags = {"t283": (RATIONAL, (300, 1)), "t282": (RATIONAL, (300, 1)), "t296": (SHORT, 2)}
    if size == "pixels" and tags:
        tags["t296"] = (SHORT, 1)
    if by == "ImageJ":
        return "\n".join([*lines, ""]), tags
    if by == "tifffile":
        axes = [(n, name) for n, name in zip(counts, "CZT", strict=True) if n > 1]
        return json.dumps(
            {"shape": [*(n for n, _ in axes), *shape], "axes": "".join(name for _, name in axes) + "YX"}
        ), tags
    return _ome_xml(size, counts, shape) if by == "OME-XML" else "", tags


def _ome_xml(size: str, counts: tuple[int, int, int], shape: tuple[int, int]) -> str:
    sizes = {"X": _SIZE[2], "Y": _SIZE[1]} | ({} if size == "not of slices" else {"Z": _SIZE[0]})
    unit = {"millimetres": "mm", "pixels": "pixel"}.get(size)
    told = (
        ""
        if size in ("not said", "dots an inch")
        else "".join(
            f'PhysicalSize{axis}="{length}" ' + (f'PhysicalSize{axis}Unit="{unit}" ' if unit else "")
            for axis, length in sizes.items()
        )
    )
    return (
        '<?xml version="1.0" encoding="UTF-8"?>'
        '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" UUID="urn:uuid:1">'
        '<Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type="uint8" '
        f'{told}SizeX="{shape[1]}" SizeY="{shape[0]}" '
        f'SizeC="{counts[0]}" SizeZ="{counts[1]}" SizeT="{counts[2]}">'
        f'<Channel ID="Channel:0:0" SamplesPerPixel="1"/><TiffData IFD="0" PlaneCount="{np.prod(counts)}">'
        '<UUID FileName="of_another_name.tif">urn:uuid:1</UUID></TiffData></Pixels></Image></OME>'
    )
