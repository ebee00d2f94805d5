"""The size of a pixel by tags and by nnU-Net's spacing file."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
from nnunetv2.imageio.tif_reader_writer import Tiff3DIO

from conformance.tiff_writer import RATIONAL, SHORT, Coding, page_of, tiff_file
from swin_umamba.data.image_io import Image, read_image, read_labels, write_image, write_labels
from swin_umamba.errors import DataError

VOLUME = np.random.default_rng(0).integers(0, 200, (3, 5, 6), np.uint8)


def picture(
    path: Path, x: tuple[int, int], y: tuple[int, int], unit: int | None, orientation: int = 1
) -> Image:
    tags: dict[str, tuple[int, object]] = {
        "t282": (RATIONAL, x),
        "t283": (RATIONAL, y),
        "t274": (SHORT, orientation),
    }
    if unit is not None:
        tags["t296"] = (SHORT, unit)
    path.write_bytes(tiff_file([page_of(VOLUME[0, ..., None], 1, Coding(), **tags)]))
    return read_image(path)


@pytest.mark.parametrize(
    ("x", "y", "unit", "expected"),
    [
        ((40000, 1), (20000, 1), 3, (5e-4, 2.5e-4)),
        ((25400, 1), (25400, 1), 2, (1e-3, 1e-3)),
        ((10**8, 3), (10**8, 3), 3, (3e-7, 3e-7)),
        ((2541, 1), (2541, 1), 2, (25.4 / 2541, 25.4 / 2541)),
        # The resolution of screens, printers and scanners.
        *(((dots, 1), (dots, 1), 2, None) for dots in (1, 72, 96, 150, 254, 300, 600, 1200, 2400, 2540)),
        ((2835, 100), (2835, 100), 3, None),
        # No unit, one left out (the standard would make it inches), or one that is not defined.
        ((40000, 1), (40000, 1), 1, None),
        ((40000, 1), (40000, 1), None, None),
        ((40000, 1), (40000, 1), 5, None),
        # No number.
        ((0, 1), (40000, 1), 3, None),
        ((40000, 0), (40000, 1), 3, None),
        ((0, 0), (0, 0), 3, None),
        # One of the two is of paper.
        ((40000, 1), (300, 1), 3, None),
    ],
)
def test_resolution_tags(
    tmp_path: Path,
    x: tuple[int, int],
    y: tuple[int, int],
    unit: int | None,
    expected: tuple[float, float] | None,
) -> None:
    image = picture(tmp_path / "a.tif", x, y, unit)
    assert image.has_spacing == (expected is not None)
    np.testing.assert_allclose(image.spacing, expected or (1, 1), rtol=1e-7)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_picture_has_turned_pixels(tmp_path: Path, orientation: int) -> None:
    image = picture(tmp_path / "a.tif", (40000, 1), (20000, 1), 3, orientation)
    expected = (5e-4, 2.5e-4) if orientation < 5 else (2.5e-4, 5e-4)
    np.testing.assert_allclose(image.spacing, expected)
    assert image.spatial_shape == ((5, 6) if orientation < 5 else (6, 5))


def test_tags_know_nothing_of_slices(tmp_path: Path) -> None:
    resolution = {"resolution": (40000, 40000), "resolutionunit": "CENTIMETER"}
    tifffile.imwrite(tmp_path / "a.tif", VOLUME, photometric="minisblack", **resolution)
    assert not read_image(tmp_path / "a.tif").has_spacing


@pytest.mark.parametrize("spacing", [[2.0, 0.5, 0.75], [1, 1, 1], [1e-3, 2e-4, 2.5e-4]])
@pytest.mark.parametrize("ending", [".tif", ".tiff"])
def test_spacing_files_say_to_us_what_they_say_to_nnunet(
    tmp_path: Path, spacing: list[float], ending: str
) -> None:
    for name in ("case_1_0000", "case_1_0001", "case_1"):
        tifffile.imwrite(tmp_path / f"{name}{ending}", VOLUME, photometric="minisblack")
    (tmp_path / "case_1.json").write_text(json.dumps({"spacing": spacing}))
    for channel in range(2):
        path = tmp_path / f"case_1_000{channel}{ending}"
        image, (values, properties) = read_image(path), Tiff3DIO().read_images([str(path)])
        np.testing.assert_array_equal(image.data, values)
        assert image.has_spacing
        assert list(image.spacing) == properties["spacing"] == spacing
    labels, (values, properties) = (
        read_labels(path := tmp_path / f"case_1{ending}"),
        Tiff3DIO().read_seg(str(path)),
    )
    np.testing.assert_array_equal(labels.data, values)
    assert list(labels.spacing) == properties["spacing"] == spacing


def test_a_label_map_whose_name_ends_like_a_channel(tmp_path: Path) -> None:
    """Case ``la_0001`` beside case ``la``, each with a spacing of its own."""
    tifffile.imwrite(tmp_path / "la_0001.tif", VOLUME, photometric="minisblack")
    (tmp_path / "la.json").write_text('{"spacing": [9, 9, 9]}')
    (tmp_path / "la_0001.json").write_text('{"spacing": [3, 2, 1]}')
    labels = read_labels(tmp_path / "la_0001.tif")
    assert list(labels.spacing) == Tiff3DIO().read_seg(str(tmp_path / "la_0001.tif"))[1]["spacing"]
    assert read_image(tmp_path / "la_0001.tif").spacing == (9, 9, 9)


def test_without_a_spacing_file_the_spacing_is_not_known(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a_0000.tif", VOLUME, photometric="minisblack")
    image = read_image(tmp_path / "a_0000.tif")
    assert (image.has_spacing, image.spacing) == (False, (1, 1, 1))
    # Another program's notes on the picture.
    for content in (
        '{"shapes": [], "imageData": ""}',
        "[1, 2]",
        '{"spacings": [1, 2, 3]}',
        '"' + "x" * 70_000,
    ):
        (tmp_path / "a.json").write_text(content)
        assert not read_image(tmp_path / "a_0000.tif").has_spacing
    tifffile.imwrite(tmp_path / "b_0000.tif", VOLUME[0], photometric="minisblack")
    (tmp_path / "b.json").write_text('{"spacing": [1, 2, 3]}')  # nnU-Net has none for pictures
    assert not read_image(tmp_path / "b_0000.tif").has_spacing


def test_a_volume_without_spacing_does_not_keep_that_of_an_older_one(tmp_path: Path) -> None:
    path, beside = tmp_path / "case.tif", tmp_path / "case.json"
    unknown = Image.without_geometry(VOLUME[None], path)
    known = replace(unknown, spacing=(3.0, 0.5, 0.25), has_spacing=True)
    write_labels(path, VOLUME, known)
    assert read_labels(path).spacing == (3, 0.5, 0.25)
    write_labels(path, VOLUME, unknown)
    assert not read_labels(path).has_spacing
    assert not beside.exists()
    beside.write_text('{"spacing": [9, 9, 9], "reader": "me"}')
    write_labels(path, VOLUME, unknown)
    assert json.loads(beside.read_text()) == {"reader": "me"}
    beside.write_text('{"spacing": [9, 9, 9]}')
    write_labels(
        path, VOLUME[0], Image.without_geometry(VOLUME[None, 0], path)
    )  # nnU-Net has none for pictures
    assert beside.exists()


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "\xff",
        "[" * 50_000,
        *(
            f'{{"spacing": {each}}}'
            for each in (
                *("[1, 2]", "[1, 2, 3, 4]", "2", "null", '["1", 2, 3]', "[true, 1, 1]"),
                *("[0, 1, 1]", "[-1, 1, 1]", "[NaN, 1, 1]", "[Infinity, 1, 1]", "[1e9, 1, 1]"),
            )
        ),
    ],
)
def test_a_spacing_file_that_makes_no_sense(tmp_path: Path, content: str) -> None:
    tifffile.imwrite(tmp_path / "a_0000.tif", VOLUME, photometric="minisblack")
    (tmp_path / "a.json").write_text(content, encoding="latin-1")
    with pytest.raises(DataError) as caught:
        read_image(tmp_path / "a_0000.tif")
    assert caught.value.where == str(tmp_path / "a.json")
    assert '"spacing": [z, y, x]' in str(caught.value)


def test_the_spacing_of_volumes_is_written_where_nnunet_reads_it(tmp_path: Path) -> None:
    image = replace(Image.without_geometry(VOLUME[None], tmp_path), spacing=(2.5, 0.3, 0.7), has_spacing=True)
    write_image(tmp_path / "case_0000.tif", image)
    write_labels(tmp_path / "labels" / "case_0000.tif", VOLUME, like=image)
    assert Tiff3DIO().read_images([str(tmp_path / "case_0000.tif")])[1]["spacing"] == [2.5, 0.3, 0.7]
    assert Tiff3DIO().read_seg(str(tmp_path / "labels" / "case_0000.tif"))[1]["spacing"] == [2.5, 0.3, 0.7]
    assert read_image(tmp_path / "case_0000.tif").spacing == (2.5, 0.3, 0.7)
    assert read_labels(tmp_path / "labels" / "case_0000.tif").spacing == (2.5, 0.3, 0.7)


def test_nothing_is_written_beside_pictures_and_volumes_of_unknown_spacing(tmp_path: Path) -> None:
    write_image(tmp_path / "a.tif", Image.without_geometry(VOLUME[None], tmp_path))
    flat = replace(Image.without_geometry(VOLUME[:1], tmp_path), spacing=(0.3, 0.7), has_spacing=True)
    write_image(tmp_path / "b.tif", flat)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.tif", "b.tif"]


@pytest.mark.parametrize("size", [1e-9, 2.5e-4, 0.0099, 0.3, 1e4])
def test_a_picture_keeps_the_size_of_its_pixels(tmp_path: Path, size: float) -> None:
    image = Image.without_geometry(VOLUME[:1], tmp_path / "a.png")
    image = replace(image, spacing=(size, 2.5e-4), has_spacing=True)
    write_image(tmp_path / "a.tif", image)
    found = read_image(tmp_path / "a.tif")
    if 1e-8 < size < 0.01:  # of coarser pixels the tags are about paper, finer ones they cannot hold
        assert found.spacing == pytest.approx(image.spacing, rel=1e-6)
    else:
        assert not found.has_spacing
    np.testing.assert_array_equal(found.data, image.data)
