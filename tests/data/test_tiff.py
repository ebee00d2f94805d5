"""TIFF: pictures, volumes, channels, and damaged files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from swin_umamba.data.image_io import read_image, read_labels, write_labels
from swin_umamba.errors import DataError


@pytest.fixture
def volume() -> np.ndarray:
    """Random uint16 (z, y, x)."""
    return np.random.default_rng(0).integers(0, 65536, (4, 12, 17), np.uint16)


@pytest.mark.parametrize("compression", [None, "zlib", "lzw"])
@pytest.mark.parametrize("byteorder", ["<", ">"])
def test_pages_are_a_volume(
    tmp_path: Path, volume: np.ndarray, compression: str | None, byteorder: str
) -> None:
    tifffile.imwrite(
        tmp_path / "a.tif", volume, byteorder=byteorder, compression=compression, photometric="minisblack"
    )
    image = read_image(tmp_path / "a.tif")
    np.testing.assert_array_equal(image.data, volume[None])
    assert image.data.dtype == np.uint16
    assert image.spacing == (1.0, 1.0, 1.0)


def test_picture_of_one_page(tmp_path: Path, volume: np.ndarray) -> None:
    tifffile.imwrite(tmp_path / "a.tiff", volume[0])
    np.testing.assert_array_equal(read_image(tmp_path / "a.tiff").data, volume[:1])


@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_colours(tmp_path: Path, planar: str) -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (6, 9, 3), np.uint8)
    stored = rgb if planar == "contig" else rgb.transpose(2, 0, 1)
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric="rgb", planarconfig=planar)
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif").data, rgb.transpose(2, 0, 1))


def test_alpha(tmp_path: Path) -> None:
    rgba = np.random.default_rng(0).integers(0, 256, (6, 9, 4), np.uint8)
    rgba[..., 3] = 255
    tifffile.imwrite(tmp_path / "a.tif", rgba, photometric="rgb", extrasamples=["unassalpha"])
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif").data, rgba[..., :3].transpose(2, 0, 1))
    rgba[0, 0, 3] = 0
    tifffile.imwrite(tmp_path / "b.tif", rgba, photometric="rgb", extrasamples=["unassalpha"])
    with pytest.raises(DataError, match="transparent"):
        read_image(tmp_path / "b.tif")


def test_imagej_channels(tmp_path: Path, volume: np.ndarray) -> None:
    stack = np.stack([volume, volume[::-1]], axis=1)
    tifffile.imwrite(tmp_path / "a.tif", stack, imagej=True, metadata={"axes": "ZCYX"})
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif").data, stack.transpose(1, 0, 2, 3))


def test_palette(tmp_path: Path) -> None:
    indices = np.array([[0, 1, 2], [2, 1, 0]], np.uint8)
    colormap = np.zeros((3, 256), np.uint16)
    colormap[:, 1], colormap[:, 2] = (257, 514, 771), (65535, 0, 257 * 9)
    tifffile.imwrite(tmp_path / "a.tif", indices, photometric="palette", colormap=colormap)
    np.testing.assert_array_equal(read_labels(tmp_path / "a.tif").data, indices[None])
    colours = np.array([[0, 0, 0], [1, 2, 3], [255, 0, 9]])[indices]
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif").data, colours.transpose(2, 0, 1))


def test_labels_come_back(tmp_path: Path, volume: np.ndarray) -> None:
    tifffile.imwrite(tmp_path / "a.tif", volume, photometric="minisblack")
    image = read_image(tmp_path / "a.tif")
    for largest, dtype in ((3, np.uint8), (300, np.uint16), (70000, np.int32)):
        labels = np.random.default_rng(0).integers(0, largest, volume.shape)
        labels[0, 0, 0] = largest
        write_labels(tmp_path / "labels.tif", labels, image)
        back = read_labels(tmp_path / "labels.tif").data
        np.testing.assert_array_equal(back[0], labels)
        assert back.dtype == dtype


@pytest.mark.parametrize("axes", ["TYX", "TZCYX"])
def test_time_is_refused(tmp_path: Path, axes: str) -> None:
    tifffile.imwrite(
        tmp_path / "a.tif",
        np.zeros((2,) * (len(axes) - 2) + (5, 5), np.uint8),
        imagej=True,
        metadata={"axes": axes},
    )
    with pytest.raises(DataError, match="2 points in time"):
        read_image(tmp_path / "a.tif")


def test_images_of_different_shapes(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        writer.write(np.zeros((5, 5), np.uint8))
        writer.write(np.zeros((6, 5), np.uint8))
    with pytest.raises(
        DataError, match=r"images of different shapes or kinds: page 1 is 5 x 5 .* page 2 6 x 5"
    ):
        read_image(tmp_path / "a.tif")


def test_grey_in_which_0_is_white(tmp_path: Path, volume: np.ndarray) -> None:
    tifffile.imwrite(tmp_path / "a.tif", volume[0], photometric="miniswhite")
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif").data[0], 65535 - volume[0])
    with pytest.raises(DataError, match="label maps in which 0 is white"):
        read_labels(tmp_path / "a.tif")


def test_complex_values_are_refused(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((5, 5), np.complex64))
    with pytest.raises(DataError, match="not supported"):
        read_image(tmp_path / "a.tif")


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_no_truncation_loses_pixels(tmp_path: Path, volume: np.ndarray, compression: str | None) -> None:
    tifffile.imwrite(tmp_path / "a.tif", volume, compression=compression, photometric="minisblack")
    content = (tmp_path / "a.tif").read_bytes()
    for length in range(1, len(content), 23):
        (tmp_path / "cut.tif").write_bytes(content[:length])
        try:
            data = read_image(tmp_path / "cut.tif").data
        except DataError:
            continue
        # The very last bytes describe the last page once more.
        assert length > len(content) - 100
        np.testing.assert_array_equal(data, volume[None])


def test_mutations_end_in_an_image_or_a_data_error(tmp_path: Path, volume: np.ndarray) -> None:
    tifffile.imwrite(tmp_path / "a.tif", volume[:2], photometric="minisblack", compression="zlib")
    content = (tmp_path / "a.tif").read_bytes()
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(400):
        mutated = bytearray(content)
        for _ in range(2):
            # The tags lie in the first bytes and behind the pixels of the first page.
            mutated[int(rng.integers(0, 400)) if rng.random() < 0.8 else int(rng.integers(len(content)))] ^= (
                1 << int(rng.integers(8))
            )
        (tmp_path / "mutated.tif").write_bytes(mutated)
        try:
            image = read_image(tmp_path / "mutated.tif")
            assert image.data.size <= 10 * volume.size
        except DataError:
            refused += 1
    assert 40 < refused < 400


def test_size_that_the_file_cannot_hold(tmp_path: Path, volume: np.ndarray) -> None:
    tifffile.imwrite(tmp_path / "a.tif", volume[0])
    with tifffile.TiffFile(tmp_path / "a.tif", mode="r+b") as tiff:
        tiff.pages[0].tags["ImageWidth"].overwrite(100_000)
        tiff.pages[0].tags["ImageLength"].overwrite(100_000)
    with pytest.raises(DataError, match="limit"):
        read_image(tmp_path / "a.tif")


@pytest.mark.parametrize("compression", ["zlib", "lzw", "packbits"])
def test_compressed_pixels_that_cannot_become_so_many(
    tmp_path: Path, volume: np.ndarray, compression: str
) -> None:
    tifffile.imwrite(tmp_path / "a.tif", volume[0], compression=compression)
    with tifffile.TiffFile(tmp_path / "a.tif", mode="r+b") as tiff:
        for name in ("ImageWidth", "ImageLength", "RowsPerStrip"):
            tiff.pages[0].tags[name].overwrite(10_000)
    with pytest.raises(DataError, match=r"page 1 .* pixels are missing"):
        read_image(tmp_path / "a.tif")


def test_no_rows(tmp_path: Path, volume: np.ndarray) -> None:
    tifffile.imwrite(tmp_path / "a.tif", volume[0])
    with tifffile.TiffFile(tmp_path / "a.tif", mode="r+b") as tiff:
        tiff.pages[0].tags["ImageLength"].overwrite(0)
    with pytest.raises(DataError, match=r"impossible shape|damaged"):
        read_image(tmp_path / "a.tif")


def test_the_most_compressible_pictures_are_read(tmp_path: Path) -> None:
    for compression in ("zlib", "lzw", "packbits"):
        tifffile.imwrite(tmp_path / "a.tif", np.zeros((2000, 2000), np.uint8), compression=compression)
        assert not read_image(tmp_path / "a.tif").data.any()
