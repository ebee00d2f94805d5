"""TIFF read by region: pyramids, OME-TIFF, Aperio's and Hamamatsu's slides, and damage in them."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from regions.slides import aperio_file, hamamatsu_file, jpeg_2000_of, tissue
from swin_umamba.data.image_io import read_image
from swin_umamba.errors import DataError, UsageError
from swin_umamba.regions.opening import open_region_source
from swin_umamba.regions.source import RegionSource

ALL = slice(None)
REGIONS = [
    (ALL, ALL),
    (slice(3, 70), slice(60, 66)),
    (slice(99, 100), slice(0, 1)),
    (slice(64, 80), slice(0, 64)),
]
JPEG_DIFFERENCE = 12  # of smooth pictures at quality 95


def check_regions(source: RegionSource, expected: np.ndarray, slack: int = 0) -> None:
    """Compare regions with those of the whole, (channels, z, y, x)."""
    assert source.shape == expected.shape
    for y, x in REGIONS:
        region, wanted = source.read(ALL, y, x), expected[:, :, y, x]
        assert region.dtype == expected.dtype
        assert np.abs(region.astype(float) - wanted).max() <= slack


@pytest.mark.parametrize(
    "how",
    [
        {"tile": (32, 48)},
        {"rowsperstrip": 17},
        {"tile": (64, 64), "compression": "zlib", "predictor": True},
        {"tile": (64, 64), "compression": "lzw"},
        {"tile": (64, 64), "bigtiff": True, "compression": "zstd"},
    ],
)
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_regions_are_those_of_the_whole(tmp_path: Path, how: dict[str, Any], dtype: str) -> None:
    data = np.random.default_rng(0).integers(0, 250, (111, 97)).astype(dtype)
    how = {**how, "predictor": dtype != "float32"} if "predictor" in how else how
    tifffile.imwrite(tmp_path / "a.tif", data, photometric="minisblack", metadata=None, **how)
    with open_region_source(tmp_path / "a.tif") as source:
        check_regions(source, data[None, None])
        assert source.chunk[1:] == how.get("tile", (111, 97))
        assert np.array_equal(pickle.loads(pickle.dumps(source)).read(ALL, ALL, ALL)[0, 0], data)


def test_only_the_tiles_of_a_region_are_read(tmp_path: Path) -> None:
    data = np.random.default_rng(0).integers(0, 250, (128, 128)).astype(np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", data, tile=(32, 32), compression="zlib", photometric="minisblack")
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        place = file.pages[0].dataoffsets[5]
    content = bytearray((tmp_path / "a.tif").read_bytes())
    content[place : place + 8] = bytes(8)
    (tmp_path / "a.tif").write_bytes(content)
    source = open_region_source(tmp_path / "a.tif")
    assert np.array_equal(source.read(ALL, slice(64, 128), ALL)[0, 0], data[64:])
    with pytest.raises(DataError, match="tile or strip 6 cannot be decompressed"):
        source.read(ALL, ALL, ALL)


def test_kinds_of_pixels_mean_what_they_mean_in_whole_files(tmp_path: Path) -> None:
    numbers = np.arange(111 * 97, dtype=np.uint8).reshape(111, 97)
    colours = np.random.default_rng(0).integers(0, 65535, (3, 256)).astype(np.uint16)
    opaque = np.dstack([numbers, numbers, numbers, np.full_like(numbers, 255)])
    files: list[tuple[np.ndarray, dict[str, Any]]] = [
        (numbers, {"photometric": "miniswhite"}),
        (numbers, {"photometric": "palette", "colormap": colours}),
        (opaque, {"photometric": "rgb", "extrasamples": ["unassalpha"]}),
        (opaque[..., :3], {"photometric": "rgb", "planarconfig": "contig"}),
        (np.moveaxis(opaque[..., :3], -1, 0), {"photometric": "rgb", "planarconfig": "separate"}),
        (np.stack([numbers] * 4), {"photometric": "minisblack", "imagej": True, "metadata": {"axes": "ZYX"}}),
        (np.stack([numbers] * 2), {"photometric": "minisblack", "ome": True, "metadata": {"axes": "CYX"}}),
        (numbers, {"photometric": "minisblack", "extratags": [(274, 3, 1, 6, True)]}),
    ]
    for number, (data, how) in enumerate(files):
        path = tmp_path / f"{number}.tif"
        tile = {} if how.get("imagej") else {"tile": (32, 32)}
        tifffile.imwrite(path, data, **tile, **how)
        whole = read_image(path)
        expected = whole.data if whole.data.ndim == 4 else whole.data[:, None]
        source = open_region_source(path)
        assert source.flat == (whole.data.ndim == 3)
        assert np.array_equal(source.read(ALL, ALL, ALL), expected), how
        assert (source.spacing is not None) == whole.has_spacing


@pytest.mark.parametrize("place", ["inside", "in the chain"])
@pytest.mark.parametrize("slices", [1, 3])
def test_the_levels_of_a_pyramid(tmp_path: Path, place: str, slices: int) -> None:
    data = np.random.default_rng(0).integers(0, 60000, (slices, 2, 211, 150)).astype(np.uint16)
    if place == "in the chain":
        if slices > 1:
            pytest.skip("there, levels belong to one page")
        data = data[:, :1]
    levels = [data, data[..., ::2, ::2], data[..., ::4, ::4]]
    inside = place == "inside"
    sizes = {"PhysicalSizeX": 0.5, "PhysicalSizeY": 0.25, "PhysicalSizeZ": 3.0}
    with tifffile.TiffWriter(tmp_path / "a.tif", ome=inside) as file:
        how: dict[str, Any] = {"tile": (64, 64), "photometric": "minisblack"}
        first = {"subifds": 2, "metadata": {"axes": "ZCYX", **sizes}} if inside else {"metadata": None}
        file.write(levels[0] if inside else levels[0][0, 0], **how, **first)
        for level in levels[1:]:
            file.write(level if inside else level[0, 0], subfiletype=1, metadata=None, **how)
    for number, level in enumerate(levels):
        source = open_region_source(tmp_path / "a.tif", number)
        assert np.array_equal(source.read(ALL, ALL, ALL), level.transpose(1, 0, 2, 3))
        assert [each.downsample[1] for each in source.levels] == [1, 2, 4]
        if inside:
            z = 0.003 if slices > 1 else 1.0
            assert source.spacing == pytest.approx((z, 0.00025 * 2**number, 0.0005 * 2**number))
    with pytest.raises(UsageError, match="no level 3"):
        open_region_source(tmp_path / "a.tif", 3)
    with pytest.raises(UsageError, match="holds one image"):
        open_region_source(tmp_path / "a.tif", series="1")


def test_levels_that_disagree_are_refused(tmp_path: Path) -> None:
    data = np.zeros((128, 128), np.uint8)
    for smaller in (data, data[::2], np.zeros((64, 64), np.uint16), np.zeros((64, 64, 3), np.uint8)):
        with tifffile.TiffWriter(tmp_path / "a.tif") as file:
            file.write(data, subifds=1, tile=(32, 32), photometric="minisblack", metadata=None)
            kind = "rgb" if smaller.ndim == 3 else "minisblack"
            file.write(smaller, subfiletype=1, tile=(32, 32), photometric=kind, metadata=None)
        with pytest.raises(DataError, match="levels of the pyramid disagree"):
            open_region_source(tmp_path / "a.tif")


def by_tifffile(path: Path, page: int) -> np.ndarray:
    """Return a page as tifffile decodes it, (3, y, x)."""
    with tifffile.TiffFile(path) as file:
        return np.moveaxis(file.pages[page].asarray(), -1, 0)


@pytest.mark.parametrize("kind", ["svs", "ndpi"])
def test_openslide_sees_the_same(tmp_path: Path, kind: str) -> None:
    openslide = pytest.importorskip("openslide")
    if kind == "svs":
        aperio_file(tmp_path / "a.svs", tissue(200, 328))
    else:
        hamamatsu_file(tmp_path / "a.ndpi", [tissue(96, 192), tissue(48, 96)], blocks=6)
    slide = openslide.OpenSlide(tmp_path / f"a.{kind}")
    for number in range(2):
        source = open_region_source(tmp_path / f"a.{kind}", number)
        size = slide.level_dimensions[number]
        assert source.shape == (3, 1, *size[::-1])
        pixels = np.asarray(slide.read_region((0, 0), number, size).convert("RGB"))
        assert np.array_equal(source.read(ALL, ALL, ALL)[:, 0], np.moveaxis(pixels, -1, 0))
    assert float(slide.properties["openslide.mpp-x"]) / 1000 * 2**2 == pytest.approx(
        source.spacing[2] * (1 if kind == "svs" else 2)
    )


@pytest.mark.parametrize("compression", ["jpeg", "aperio_jp2000_rgb"])
def test_a_slide_of_aperio(tmp_path: Path, compression: str) -> None:
    picture = tissue(200, 328)
    levels = aperio_file(tmp_path / "a.svs", picture, compression)
    for number, level in enumerate(levels):
        with open_region_source(tmp_path / "a.svs", number) as source:
            assert source.chunk == (1, min(64, len(level)), 64)
            assert [each.downsample for each in source.levels] == [(1, 1, 1), (1, 4, 4)]
            assert source.spacing == pytest.approx((1.0, 0.000499 * 4**number, 0.000499 * 4**number))
            region = source.read(ALL, slice(3, 50), ALL)[:, 0]
        wanted = by_tifffile(tmp_path / "a.svs", 2 * number)
        assert np.array_equal(region, wanted[:, 3:50])
        if compression != "jpeg":
            assert np.array_equal(wanted, level.transpose(2, 0, 1))


def test_jpeg_2000_of_aperio_in_ycbcr(tmp_path: Path) -> None:
    picture = tissue(64, 64)
    red, green, blue = (picture[..., channel].astype(float) for channel in range(3))
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    stored = np.stack([luma, 128 + (blue - luma) / 1.772, 128 + (red - luma) / 1.402], -1)
    stream = jpeg_2000_of(np.clip(np.rint(stored), 0, 255).astype(np.uint8))
    for number, least, most in ((33003, 0, 2), (33005, 30, 255)):
        with tifffile.TiffWriter(tmp_path / "a.svs") as file:
            file.write(
                iter([stream]),
                shape=picture.shape,
                dtype=np.uint8,
                tile=(64, 64),
                photometric="rgb",
                compression=number,
                metadata=None,
                description="Aperio Image Library|MPP = 0.5",
            )
        region = open_region_source(tmp_path / "a.svs").read(ALL, ALL, ALL)[:, 0]
        assert least <= np.abs(region.astype(int) - picture.transpose(2, 0, 1)).max() <= most


@pytest.mark.parametrize("shift", [0, 5 * 2**30])
def test_a_slide_of_hamamatsu(tmp_path: Path, shift: int) -> None:
    levels = [tissue(96, 192), tissue(48, 128)[:, :96], tissue(24, 64)[:, :48]]
    hamamatsu_file(tmp_path / "a.ndpi", levels[:2], blocks=6, shift=shift)
    for number, level in enumerate(levels[:2]):
        with open_region_source(tmp_path / "a.ndpi", number) as source:
            wanted = by_tifffile(tmp_path / "a.ndpi", number)
            assert np.abs(wanted.astype(int) - level.transpose(2, 0, 1)).max() <= JPEG_DIFFERENCE
            assert source.chunk == (1, min(256, len(level)), 48)
            assert source.spacing == pytest.approx((1.0, 0.0005 * 2**number, 0.0005 * 2**number))
            for y, x in [(ALL, ALL), (slice(7, 9), slice(40, 50)), (slice(47, 48), slice(0, 1))]:
                assert np.array_equal(source.read(ALL, y, x)[:, 0], wanted[:, y, x])


def test_missing_tiles_are_refused(tmp_path: Path) -> None:
    picture = tissue(200, 328)
    aperio_file(tmp_path / "a.svs", picture)
    with tifffile.TiffFile(tmp_path / "a.svs", mode="r+b") as file:
        lengths = list(file.pages[0].databytecounts)
        file.pages[0].tags[325].overwrite([0, *lengths[1:]])
    with pytest.raises(DataError, match="pixels are missing"):
        open_region_source(tmp_path / "a.svs")
    small = tissue(16, 96)
    for changes, what in (
        ({"t65426": (4, [600, 900])}, "form no tiles|no head"),
        ({"t65426": (4, [2**30])}, "pixels are missing"),
        ({"t65426": (4, [0, 5])}, "pixels are missing"),
        ({"t65432": (4, [0])}, "differ in length"),
        ({"t65432": (4, [1] * 4)}, "pixels are missing"),
        ({"t279": (4, [2**31])}, "pixels are missing"),
        ({"t65421": (11, [-1.0])}, "without a slide"),
    ):
        pictures = [small] if "t65421" in changes else [small, small[::2, ::2]]
        hamamatsu_file(tmp_path / "a.ndpi", pictures, blocks=6, **changes)
        with pytest.raises(DataError, match=what):
            open_region_source(tmp_path / "a.ndpi").read(ALL, ALL, ALL)


def test_parts_that_are_too_large_are_refused(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", shape=(20000, 20000), dtype=np.uint8, photometric="minisblack")
    with pytest.raises(DataError, match="stored in parts of 20000 x 20000"):
        open_region_source(tmp_path / "a.tif")
