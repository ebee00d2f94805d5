"""TIFF files of ImageJ: hyperstacks, lookup tables, sizes, calibrated values."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from conformance.tiff_writer import ASCII, RATIONAL, SHORT, Coding, page_of, tiff_file
from swin_umamba.data.image_io import read_image, read_labels
from swin_umamba.errors import DataError

RNG = np.random.default_rng(0)
PAGES = RNG.integers(0, 256, (6, 4, 5, 1), np.uint8)


def imagej_file(
    path: Path, lines: str, pages: np.ndarray = PAGES, photometric: int = 1, **tags: tuple[int, object]
) -> Path:
    made = [page_of(page, photometric, Coding(bits=8 * page.itemsize), **tags) for page in pages]
    made[0].tags[270] = (ASCII, "ImageJ=1.54f\n" + lines.replace(" ", "\n") + "\n")
    path.write_bytes(tiff_file(made))
    return path


@pytest.mark.parametrize(("axes", "shape"), [("ZCYX", (3, 2, 8, 7)), ("CYX", (2, 8, 7)), ("ZYX", (5, 8, 7))])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_hyperstacks_of_tifffile(tmp_path: Path, axes: str, shape: tuple[int, ...], dtype: type) -> None:
    data = RNG.integers(0, 200, shape).astype(dtype)
    metadata = {"axes": axes, "unit": "um", "spacing": 1.5}
    tifffile.imwrite(tmp_path / "a.tif", data, imagej=True, metadata=metadata, resolution=(4, 2))
    image = read_image(tmp_path / "a.tif")
    expected = data.swapaxes(0, 1) if axes == "ZCYX" else data if axes == "CYX" else data[None]
    np.testing.assert_array_equal(image.data, expected)
    assert image.data.dtype == dtype
    np.testing.assert_allclose(image.spacing, (1.5e-3, 5e-4, 2.5e-4)[-len(image.spacing) :])


def test_colours_in_slices(tmp_path: Path) -> None:
    data = RNG.integers(0, 256, (3, 8, 7, 3), np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", data, imagej=True, metadata={"axes": "ZYXS"})
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif").data, data.transpose(3, 0, 1, 2))


def test_a_lookup_table_is_for_the_screen(tmp_path: Path) -> None:
    """One channel of values, not three of colours; and the values of the stack are the slices'."""
    table = RNG.integers(0, 65536, (3, 256), np.uint16)
    tags = {"t320": (SHORT, table.ravel().tolist())}
    image = read_image(imagej_file(tmp_path / "a.tif", "images=6 slices=6", PAGES, 3, **tags))
    np.testing.assert_array_equal(image.data, PAGES[None, ..., 0])
    tifffile.imwrite(tmp_path / "b.tif", PAGES[0, ..., 0], imagej=True, colormap=table)
    np.testing.assert_array_equal(read_image(tmp_path / "b.tif").data, PAGES[:1, ..., 0])
    np.testing.assert_array_equal(read_labels(tmp_path / "b.tif").data, PAGES[:1, ..., 0])


def test_an_inverting_lookup_table_is_refused(tmp_path: Path) -> None:
    path = imagej_file(tmp_path / "a.tif", "images=6", PAGES, 0)
    for read in (read_image, read_labels):
        with pytest.raises(DataError, match=r"(?s)inverting lookup table.*Invert LUT"):
            read(path)


@pytest.mark.parametrize(
    ("lines", "shape"),
    [
        ("images=6", (1, 6, 4, 5)),
        ("slices=6", (1, 6, 4, 5)),
        ("images=6 channels=6", (6, 4, 5)),
        ("images=6 channels=2 slices=3 hyperstack=true mode=composite", (2, 3, 4, 5)),
    ],
)
def test_what_pages_are(tmp_path: Path, lines: str, shape: tuple[int, ...]) -> None:
    assert read_image(imagej_file(tmp_path / "a.tif", lines)).data.shape == shape


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        ("images=6 frames=6", "6 points in time"),
        ("images=6 channels=2 frames=3", "3 points in time"),
        ("images=7 slices=7", "6 pages are 7 images"),
        ("images=6 slices=3", "of 1 channels and 3 slices"),
        ("images=1", "6 pages"),
        ("images=-6", "images=-6"),
        ("images=6 slices=many", "slices=many"),
    ],
)
def test_other_stacks_are_refused(tmp_path: Path, lines: str, why: str) -> None:
    with pytest.raises(DataError, match=f"{why}.* not supported"):
        read_image(imagej_file(tmp_path / "a.tif", lines))


def test_one_page_for_many_images_is_not_read_as_one(tmp_path: Path) -> None:
    """ImageJ writes stacks above 4 GB, and tifffile truncated ones, with a single directory."""
    data = RNG.integers(0, 256, (5, 8, 7), np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", data, imagej=True, metadata={"axes": "ZYX"}, truncate=True)
    with pytest.raises(DataError, match="1 pages are 5 images"):
        read_image(tmp_path / "a.tif")
    tifffile.imwrite(tmp_path / "b.tif", data, photometric="minisblack", truncate=True)
    with pytest.raises(DataError, match=r"1 pages with the axes 5 Z"):
        read_image(tmp_path / "b.tif")


def resolution(x: int, y: int, unit: int = 1) -> dict[str, tuple[int, object]]:
    return {"t282": (RATIONAL, (x, 1)), "t283": (RATIONAL, (y, 1)), "t296": (SHORT, unit)}


@pytest.mark.parametrize(
    ("lines", "tags", "expected"),
    [
        ("images=6 unit=micron spacing=3", resolution(4, 2), (3e-3, 5e-4, 2.5e-4)),
        ("images=6 unit=micron", resolution(4, 2), (1e-3, 5e-4, 2.5e-4)),
        ("images=6 unit=micron spacing=-3", resolution(4, 2), (3e-3, 5e-4, 2.5e-4)),
        ("images=6 unit=\\u00B5m spacing=3", resolution(4, 2), (3e-3, 5e-4, 2.5e-4)),
        ("images=6 unit=mm spacing=3", resolution(4, 2), (3, 0.5, 0.25)),
        ("images=6 unit=nm spacing=3", resolution(4, 2), (3e-6, 5e-7, 2.5e-7)),
        ("images=6 unit=mm yunit=micron zunit=nm spacing=3", resolution(4, 2), (3e-6, 5e-4, 0.25)),
        ("images=6 unit=micron spacing=0", resolution(4, 2), None),
        ("images=6 unit=micron spacing=x", resolution(4, 2), None),
        ("images=6 unit=micron spacing=3", {}, None),
        ("images=6 unit=micron spacing=3", resolution(0, 2), None),
        ("images=6 unit=pixel spacing=3", resolution(4, 2), None),
        ("images=6 unit=furlong spacing=3", resolution(4, 2), None),
        ("images=6 unit=mm zunit=pixel spacing=3", resolution(4, 2), None),
        ("images=6 unit=inch spacing=3", resolution(72, 72, 2), None),
        ("images=6 unit=cm spacing=3", resolution(20000, 20000, 3), None),
        ("images=6 spacing=3", resolution(4, 2), None),
        ("unit=cm", resolution(20000, 40000, 3), (2.5e-4, 5e-4)),
        ("unit=inch", resolution(300, 300, 2), None),
        ("unit=um", resolution(4, 2), (5e-4, 2.5e-4)),
    ],
)
def test_the_size_of_a_voxel_or_of_a_pixel(
    tmp_path: Path, lines: str, tags: dict[str, tuple[int, object]], expected: tuple[float, ...] | None
) -> None:
    flat = not lines.startswith("images")
    image = read_image(imagej_file(tmp_path / "a.tif", lines, PAGES[:1] if flat else PAGES, **tags))
    assert image.has_spacing == (expected is not None)
    assert len(image.spacing) == 3 - flat
    np.testing.assert_allclose(image.spacing, expected or 1)


def test_calibrated_values(tmp_path: Path) -> None:
    """A signed image of 16 bits, as ImageJ stores the Hounsfield units of a CT."""
    hounsfield = RNG.integers(-1000, 3000, (6, 4, 5, 1))
    stored = (hounsfield + 32768).astype(np.uint16)
    path = imagej_file(tmp_path / "a.tif", "images=6 cf=0 c0=-32768.0 c1=1.0 vunit=Gray", stored)
    image = read_image(path)
    np.testing.assert_array_equal(image.data, hounsfield[None, ..., 0])
    assert image.data.dtype == np.int32
    with pytest.raises(DataError, match="label maps whose values have a calibration"):
        read_labels(path)
    image = read_image(imagej_file(path, "images=6 cf=0 c0=-10.5 c1=0.25 vunit=x"))
    np.testing.assert_array_equal(image.data, np.float32(-10.5 + 0.25 * PAGES[None, ..., 0]))
    assert image.data.dtype == np.float32


@pytest.mark.parametrize(
    "lines", ["cf=21 vunit=OD", "cf=1 c0=1 c1=2 c2=3", "cf=0 c0=1", "cf=0 c0=1 c1=0", "cf=x"]
)
def test_other_calibrations_are_refused(tmp_path: Path, lines: str) -> None:
    with pytest.raises(DataError, match=r"(?s)calibration.* not supported.*Calibrate > None"):
        read_image(imagej_file(tmp_path / "a.tif", f"images=6 {lines}"))


def test_no_calibration(tmp_path: Path) -> None:
    floats = PAGES.astype(np.float32)
    np.testing.assert_array_equal(
        read_image(imagej_file(tmp_path / "a.tif", "images=6 cf=0 c0=5 c1=2", floats)).data[0], floats[..., 0]
    )
    image = read_image(imagej_file(tmp_path / "a.tif", "images=6 cf=20 vunit=x"))
    np.testing.assert_array_equal(image.data[0], PAGES[..., 0])
