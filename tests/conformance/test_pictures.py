"""PNG, JPEG and BMP files of every pair of features are read as they were meant, or refused."""

from __future__ import annotations

import io
import random
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
from PIL import Image as PillowImage

from conformance import picture_files as files
from conformance.combinations import Combination, Outcomes, covering_combinations, possible_pairs
from swin_umamba.data.image_io import read_image, read_labels
from swin_umamba.errors import DataError

SIZES = ((1, 1), (1, 9), (5, 3), (8, 8), (9, 13), (17, 6))
ORIENTATIONS = ("not said", *range(1, 9))

# What a file must become: colours, the same as a label map, each None if refused and then why.
Expected = tuple[np.ndarray | None, np.ndarray | None, str]
Made = tuple[bytes, str, Expected]


def sizes_of(combination: Combination) -> tuple[np.random.Generator, int, int]:
    """Return random numbers and a size that depend on nothing but the combination."""
    seed = random.Random(repr(sorted(combination.items(), key=str))).getrandbits(32)
    generator = np.random.default_rng(seed)
    return generator, *SIZES[int(generator.integers(len(SIZES)))]


def turned(expected: Expected, orientation: int | str) -> Expected:
    if orientation == "not said":
        return expected
    image, labels, why = expected
    return *(each if each is None else files.seen(each, int(orientation)) for each in (image, labels)), why


# --- PNG ---

PNG_PIXELS = {
    **{f"grey {bits}": (files.GREY, bits) for bits in (1, 2, 4, 8, 16)},
    **{f"palette {bits}": (files.PALETTE, bits) for bits in (1, 2, 4, 8)},
    **{f"RGB {bits}": (files.RGB, bits) for bits in (8, 16)},
    **{f"grey and alpha {bits}": (files.GREY_ALPHA, bits) for bits in (8, 16)},
    **{f"RGB and alpha {bits}": (files.RGBA, bits) for bits in (8, 16)},
}
PNG_FEATURES = {
    "pixels": tuple(PNG_PIXELS),
    "rows": ("in order", "interlaced"),
    "filters": ("none", "all in turn"),
    "orientation": ORIENTATIONS,
    "transparency": ("none", "of a colour that does not occur", "of some pixels"),
    "other chunks": ("none", "colour profile", "gamma and Display P3", "text and size of a pixel"),
}
OTHER_CHUNKS: dict[str, Sequence[files.Chunk]] = {
    "none": (),
    "colour profile": ((b"iCCP", b"mine\0\0" + b"no profile"),),
    "gamma and Display P3": (
        (b"gAMA", b"\0\1\x86\xa0"),
        (b"cICP", bytes([12, 13, 0, 1])),
        (b"sBIT", b"\1" * 4),
    ),
    "text and size of a pixel": ((b"tEXt", b"Title\0" + b"x" * 3000), (b"pHYs", b"\0\0\x0b\x13" * 2 + b"\1")),
}


def png_exists(combination: Combination) -> bool:
    has_alpha = "alpha" in combination["pixels"]
    return not (has_alpha and combination["transparency"] == "of a colour that does not occur")


def make_png(combination: Combination) -> Made:
    generator, height, width = sizes_of(combination)
    colour_type, depth = PNG_PIXELS[combination["pixels"]]
    transparency = combination["transparency"]
    values = generator.integers(0, 2**depth, (height, width, files.PNG_VALUES[colour_type]))
    before, after = list(OTHER_CHUNKS[combination["other chunks"]]), []
    image = labels = values[..., :1]
    if colour_type == files.PALETTE:
        palette = generator.integers(0, 256, (2**depth, 3))
        before.append((b"PLTE", bytes(palette.ravel().tolist())))
        image = palette[values[..., 0]]
    elif colour_type in (files.RGB, files.RGBA):
        image = values[..., :3]
    if transparency != "none":
        used = transparency == "of some pixels"
        if colour_type == files.PALETTE:
            free = values[0, 0, 0] if used else (values.max() + 1) % 2**depth
            values[values == free] = values[0, 0, 0] if used else (free + 1) % 2**depth
            image = palette[values[..., 0]]
            before.append((b"tRNS", bytes([255] * int(free) + [0])))
        elif colour_type in (files.GREY, files.RGB):
            key = values[0, 0].copy()
            if not used:
                values[(values == key).all(axis=-1)] = (key + 1) % 2**depth
            before.append((b"tRNS", key.astype(">u2").tobytes()))
    if colour_type in (files.GREY_ALPHA, files.RGBA):
        values[..., -1] = 2**depth - 1
        if transparency != "none":
            values[-1, -1, -1] -= 1
    if combination["orientation"] != "not said":
        # Of either byte order, before or after the pixels, with or without a name.
        chunk = b"Exif\0\0" * bool(generator.integers(2)) + files.exif(
            combination["orientation"], "<>"[generator.integers(2)]
        )
        (before if generator.integers(2) else after).append((b"eXIf", chunk))
    content = files.png_file(
        values,
        depth,
        colour_type,
        interlaced=combination["rows"] == "interlaced",
        filters=(0,) if combination["filters"] == "none" else (1, 2, 3, 4, 0),
        before=before,
        after=after,
        pieces=int(generator.integers(1, 4)),
    )
    dtype = np.uint16 if depth == 16 else np.uint8
    picture = np.ascontiguousarray(image.transpose(2, 0, 1), dtype)
    indices = np.ascontiguousarray(labels.transpose(2, 0, 1), dtype)
    refused = transparency == "of some pixels"
    keyed = colour_type in (files.GREY, files.PALETTE)
    return (
        content,
        ".png",
        turned(
            (
                None if refused else picture,
                indices if keyed or (colour_type == files.GREY_ALPHA and not refused) else None,
                "transparent",
            ),
            combination["orientation"],
        ),
    )


# --- JPEG ---

FRAMES = {
    "baseline": 0xC0,
    "extended": 0xC1,
    "progressive": 0xC2,
    "lossless": 0xC3,
    "arithmetic": 0xC9,
    "JPEG-LS": 0xF7,
}
JFIF = files.jpeg_segment(0xE0, b"JFIF\0\1\2\0\0\1\0\1\0\0")
JPEG_COLOURS = {
    # Components, their names, and the segment that says what they are.
    "grey": (1, (1,), JFIF),
    "YCbCr": (3, (1, 2, 3), JFIF),
    "YCbCr by Adobe": (3, (0, 1, 2), files.jpeg_segment(0xEE, b"Adobe\0\x64\0\0\0\0\1")),
    "RGB by Adobe": (3, (1, 2, 3), files.jpeg_segment(0xEE, b"Adobe\0\x64\0\0\0\0\0")),
    "RGB by name": (3, tuple(b"RGB"), b""),
    "CMYK": (4, (1, 2, 3, 4), files.jpeg_segment(0xEE, b"Adobe\0\x64\0\0\0\0\0")),
    "YCCK": (4, (1, 2, 3, 4), files.jpeg_segment(0xEE, b"Adobe\0\x64\0\0\0\0\2")),
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
        data = files.exif(combination["orientation"], "<>"[generator.integers(2)])
        segment += files.jpeg_segment(0xE1, b"Exif\0\0" + data)
    content = files.jpeg_file(
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
        content = files.mpo(content, files.jpeg_file([np.zeros((3, 2), int)], 20, 10))
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
    planes = [files.block_picture(each, height, width) for each in blocks if across == 1 or each is blocks[0]]
    planes += [np.full((height, width), each[0, 0]) for each in blocks[1:] if across > 1]
    colours = files.rgb_of(*planes) if combination["colours"].startswith("YCbCr") else np.stack(planes)
    return content, ".jpg", turned((colours.astype(np.uint8), None, "JPEG"), combination["orientation"])


# --- BMP ---

MASKS = {
    "5-6-5": (16, (0xF800, 0x07E0, 0x001F, 0)),
    "4-4-4": (16, (0x0F00, 0x00F0, 0x000F, 0)),
    "1-5-5-5 opaque": (16, (0x7C00, 0x03E0, 0x001F, 0x8000)),
    "8-8-8 red first": (32, (0xFF, 0xFF00, 0xFF0000, 0)),
    "8-8-8-8 opaque": (32, (0xFF0000, 0xFF00, 0xFF, 0xFF000000)),
    "8-8-8-8 transparent": (32, (0xFF0000, 0xFF00, 0xFF, 0xFF000000)),
    "10-10-10": (32, (0x3FF00000, 0xFFC00, 0x3FF, 0)),
}
BMP_FEATURES = {
    "header": ("12 bytes", "40 bytes", "52 bytes", "56 bytes", "64 bytes", "108 bytes", "124 bytes"),
    "bits": (1, 2, 4, 8, 16, 24, 32),
    "palette": ("no", "grey ramp", "colours", "two: black and white"),
    "pixels": ("plain", "runs", "runs and literals", "runs with gaps", "as a PNG file", *MASKS),
    "rows": ("from below", "from above"),
    "before the pixels": ("nothing", "7 bytes"),
}


def bmp_exists(combination: Combination) -> bool:
    header, bits, pixels = int(combination["header"].split()[0]), combination["bits"], combination["pixels"]
    if (combination["palette"] == "no") != (bits > 8):
        return False
    if header == 12 and (
        pixels != "plain" or combination["rows"] == "from above" or combination["palette"].startswith("two")
    ):
        return False
    if pixels.startswith("runs") and bits not in (4, 8):
        return False
    if pixels == "as a PNG file" and bits != 24:
        return False
    if pixels in MASKS:
        has_alpha = MASKS[pixels][1][3] > 0
        return bits == MASKS[pixels][0] and header != 12 and not (has_alpha and header == 52)
    return True


def make_bmp(combination: Combination) -> Made:
    generator, height, width = sizes_of(combination)
    header, bits, pixels = int(combination["header"].split()[0]), combination["bits"], combination["pixels"]
    top_down = combination["rows"] == "from above"
    palette: list[tuple[int, int, int]] = []
    compression, masks = 0, ()
    labels, why = None, ""
    if bits <= 8:
        values, palette, image = indexed_bmp(combination, generator, height, width)
        labels = values[None]
        content = files.bmp_rows(values, bits, top_down=top_down)
        if pixels.startswith("runs"):
            compression = {8: 1, 4: 2}[bits]
            short = pixels == "runs with gaps"
            content = files.bmp_runs(values, bits, literal=pixels == "runs and literals", short=short)
            if short and not values[:, -1].all():
                why = "leave out pixels"
            why = "compression" if top_down else why
    elif pixels in MASKS:
        masks = MASKS[pixels][1]
        values, image = masked_bmp(masks, generator, height, width, opaque="transparent" not in pixels)
        content = files.bmp_rows(values, bits, top_down=top_down)
        compression = 6 if masks[3] and header == 40 else 3
        masks = masks if masks[3] or header >= 56 else masks[:3]
        why = {"8-8-8-8 transparent": "transparent", "10-10-10": "mask"}.get(pixels, "")
        why = "header of 64" if header == 64 else why
    else:
        masks = {16: (0x7C00, 0x3E0, 0x1F), 24: (0xFF0000, 0xFF00, 0xFF), 32: (0xFF0000, 0xFF00, 0xFF)}[bits]
        values, image = masked_bmp((*masks, 0), generator, height, width)
        if bits != 24:
            values |= generator.integers(0, 2, values.shape) << (bits - 1)  # of no meaning
        masks = ()
        content = files.bmp_rows(values, bits, top_down=top_down)
        if pixels == "as a PNG file":
            compression, why = 5, "compression 5"
    made = files.bmp_file(
        content,
        width,
        -height if top_down else height,
        bits,
        header=header,
        compression=compression,
        palette=palette,
        masks=masks,
        gap=7 if combination["before the pixels"] == "7 bytes" else 0,
    )
    if why:
        refused = f"{why}" if why == "transparent" else f"{why}.*not supported|not supported.*|{why}"
        return made, ".bmp", (None, None, refused)
    return made, ".bmp", (image.astype(np.uint8), None if labels is None else labels.astype(np.uint8), "")


def indexed_bmp(
    combination: Combination, generator: np.random.Generator, height: int, width: int
) -> tuple[np.ndarray, list[tuple[int, int, int]], np.ndarray]:
    """Return indices, the palette, and what is seen, grey or colours."""
    bits, kind = combination["bits"], combination["palette"]
    count = 2 if kind.startswith("two") else 2**bits
    # Few values a row, so that there are runs.
    values = np.repeat(generator.integers(0, count, (height, width)), 3, axis=1)[:, :width]
    if kind == "colours":
        palette = generator.integers(0, 256, (count, 3))
    else:
        palette = np.linspace(0, 255, count).astype(int)[:, None].repeat(3, axis=1)
    grey = kind == "grey ramp" or (bits == 1 and kind != "colours")
    seen = values[None] if grey else palette[values].transpose(2, 0, 1)
    return values, [tuple(each) for each in palette.tolist()], seen


def masked_bmp(
    masks: Sequence[int], generator: np.random.Generator, height: int, width: int, *, opaque: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    """Return pixels as one number each, and their colours: few bits stretched to 255, rounded down."""
    stored = np.zeros((height, width), np.int64)
    colours = []
    for place, mask in enumerate(masks):
        largest = int(bin(mask).count("1") and 2 ** bin(mask).count("1") - 1)
        values = generator.integers(0, largest + 1, (height, width))
        if place == 3:
            values[:] = largest
            values[0, 0] -= 0 if opaque else 1
        stored |= values * (mask & -mask)
        colours.append(values * 255 // max(largest, 1))
    return stored, np.stack(colours[:3])


# --- the tests ---

FORMATS: dict[
    str, tuple[dict[str, Sequence[Any]], Callable[[Combination], bool], Callable[[Combination], Made]]
]
FORMATS = {
    "PNG": (PNG_FEATURES, png_exists, make_png),
    "JPEG": (JPEG_FEATURES, jpeg_exists, make_jpeg),
    "BMP": (BMP_FEATURES, bmp_exists, make_bmp),
}


def check(path: Path, read: Callable[[Path], Any], expected: np.ndarray | None, why: str, slack: int) -> str:
    """Return what is wrong with what became of a file, or nothing."""
    try:
        image = read(path)
    except DataError as error:
        if expected is not None:
            return f"refused: {error}"
        return "" if re.search(why, str(error)) and "damaged" not in str(error) else f"refused with {error}"
    if expected is None:
        return "read, should be refused"
    if image.data.dtype != expected.dtype or image.data.shape != expected.shape:
        return f"{image.data.dtype} {image.data.shape}, should be {expected.dtype} {expected.shape}"
    off = int(np.abs(image.data.astype(int) - expected).max())
    return f"wrong by {off}" if off > slack else ""


def outcomes_of(name: str, folder: Path, at_least: int) -> Outcomes:
    features, exists, make = FORMATS[name]
    outcomes = Outcomes(name)
    for combination in covering_combinations(features, exists, at_least=at_least):
        content, suffix, (image, labels, why) = make(combination)
        path = folder / f"a{suffix}"
        path.write_bytes(content)
        # Decoders may round the conversion of JPEG's colours as they like.
        slack = int(str(combination.get("colours")).startswith("YCbCr"))
        wrong = check(path, read_image, image, why, slack)
        wrong_labels = check(path, read_labels, labels, f"{why}|channel|JPEG", 0)
        outcomes.differences += [f"{combination}: {each}" for each in (wrong, wrong_labels) if each]
        outcomes.add(combination, "refused" if image is None else "read")
    return outcomes


@pytest.mark.parametrize(("name", "at_least"), [("PNG", 150), ("JPEG", 120), ("BMP", 120)])
def test_files_are_read_as_meant_or_refused(
    tmp_path: Path, name: str, at_least: int, record_property: Callable[[str, object], None]
) -> None:
    outcomes = outcomes_of(name, tmp_path, at_least)
    possible = possible_pairs(*FORMATS[name][:2])
    record_property("summary", outcomes.summary(possible))
    assert not outcomes.differences, "\n".join(outcomes.differences[:20])
    assert outcomes.covered() == possible
    outcomes.compare_with_document()


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMATS)
def test_thousands_of_files(
    tmp_path: Path, name: str, record_property: Callable[[str, object], None]
) -> None:
    outcomes = outcomes_of(name, tmp_path, 3000)
    record_property("summary", outcomes.summary(possible_pairs(*FORMATS[name][:2])))
    assert not outcomes.differences, "\n".join(outcomes.differences[:20])


def second_reader(name: str, content: bytes) -> np.ndarray:
    """Return ``(channels, y, x)`` as another library sees a file, as it is stored."""
    if name == "BMP":
        with PillowImage.open(io.BytesIO(content)) as picture:
            data = np.asarray(picture.convert("RGB") if picture.mode in ("P", "RGBA") else picture)
    else:
        data = (imagecodecs.png_decode if name == "PNG" else imagecodecs.jpeg8_decode)(content)
    return data[None] if data.ndim == 2 else data.transpose(2, 0, 1)


# What the second reader sees as well; libpng stretches few bits.
CONFIRMED: dict[str, dict[str, Sequence[Any]]] = {
    "PNG": {"pixels": [each for each in PNG_PIXELS if "grey" not in each or "8" in each or "16" in each]},
    "JPEG": {
        "process": ("baseline", "extended", "progressive"),
        "bits": (8,),
        "colours": [each for each in JPEG_COLOURS if "K" not in each and each != "two channels"],
    },
    "BMP": {
        "bits": (1, 4, 8, 16, 24, 32),
        "palette": ("no", "colours"),
        "pixels": ("plain", "runs", "runs and literals", "5-6-5"),
        "header": ("12 bytes", "40 bytes", "56 bytes", "108 bytes", "124 bytes"),
        "before the pixels": ("nothing",),
    },
}


@pytest.mark.parametrize("name", FORMATS)
def test_a_second_reader_sees_what_the_files_were_made_of(name: str) -> None:
    """The expected arrays are not wrong in the same way as the reader."""
    features, exists, make = FORMATS[name]
    confirmed = 0
    features = {**features, "orientation": ("not said",), **CONFIRMED[name]}
    for combination in covering_combinations(features, exists, at_least=60):
        content, _, (image, _, _) = make(combination)
        if image is not None:
            data = second_reader(name, content)[: len(image)]
            assert data.shape == image.shape, combination
            slack = int(str(combination.get("colours")).startswith("YCbCr"))
            assert np.abs(data.astype(int) - image).max() <= slack, combination
            confirmed += 1
    assert confirmed >= 30
