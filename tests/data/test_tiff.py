"""TIFF: pictures, volumes, channels, and damaged files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from conformance.tiff_writer import ASCII, LONG, SHORT, Coding, Page, page_of, tiff_file
from swin_umamba.data.image_io import read_image, read_labels, write_labels
from swin_umamba.errors import DataError


@pytest.fixture
def volume() -> np.ndarray:
    """Random uint16 (z, y, x)."""
    return np.random.default_rng(0).integers(0, 65536, (4, 12, 17), np.uint16)


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


SO_MANY = {"ImageWidth": 10_000, "ImageLength": 10_000, "RowsPerStrip": 10_000}


@pytest.mark.parametrize(
    ("compression", "claims", "why"),
    [
        (None, {"ImageWidth": 100_000, "ImageLength": 100_000}, "limit"),
        (None, {"ImageLength": 0}, r"impossible shape|damaged"),
        *((each, SO_MANY, r"page 1 .* pixels are missing") for each in ("zlib", "lzw", "packbits")),
    ],
)
def test_sizes_that_the_file_cannot_hold(
    tmp_path: Path, volume: np.ndarray, compression: str | None, claims: dict[str, int], why: str
) -> None:
    tifffile.imwrite(tmp_path / "a.tif", volume[0], compression=compression)
    with tifffile.TiffFile(tmp_path / "a.tif", mode="r+b") as tiff:
        for name, value in claims.items():
            tiff.pages[0].tags[name].overwrite(value)
    with pytest.raises(DataError, match=why):
        read_image(tmp_path / "a.tif")


def test_the_most_compressible_pictures_are_read(tmp_path: Path) -> None:
    for compression in ("zlib", "lzw", "packbits"):
        tifffile.imwrite(tmp_path / "a.tif", np.zeros((2000, 2000), np.uint8), compression=compression)
        assert not read_image(tmp_path / "a.tif").data.any()


@pytest.mark.parametrize(
    ("axes", "shape", "seen"),
    [
        ("ZYX", (3, 5, 6), (1, 3, 5, 6)),
        ("QYX", (3, 5, 6), (1, 3, 5, 6)),
        ("IYX", (3, 5, 6), (1, 3, 5, 6)),
        (None, (3, 5, 6), (1, 3, 5, 6)),
        ("CYX", (3, 5, 6), (3, 5, 6)),
        ("CZYX", (2, 3, 5, 6), (2, 3, 5, 6)),
        ("ZCYX", (3, 2, 5, 6), (2, 3, 5, 6)),
        ("TCZYX", (1, 2, 3, 5, 6), (2, 3, 5, 6)),
        ("TYX", (3, 5, 6), None),
        ("RYX", (3, 5, 6), None),
        ("TZYX", (2, 3, 5, 6), None),
        (None, (2, 3, 5, 6), None),
    ],
)
def test_axes_of_tifffile(
    tmp_path: Path, axes: str | None, shape: tuple[int, ...], seen: tuple[int, ...] | None
) -> None:
    data = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    metadata = {"axes": axes} if axes else {}
    tifffile.imwrite(tmp_path / "a.tif", data, photometric="minisblack", metadata=metadata)
    if seen is None:
        with pytest.raises(DataError, match=r"pages with the axes .* not supported"):
            read_image(tmp_path / "a.tif")
        return
    expected = data.swapaxes(0, 1) if axes == "ZCYX" else data
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif").data, expected.reshape(seen))


@pytest.mark.parametrize(
    "text",
    [
        '{"shape": [3, 5, 6], "axes": "%s"}',
        '{"axes": "%s", "shape": [3, 5, 6]}',
        '{"note": "x", "axes": "%s", "fps": 2, "shape": [3, 5, 6]}',
    ],
)
def test_the_order_of_what_tifffile_writes_means_nothing(tmp_path: Path, text: str) -> None:
    def write(axes: str) -> Path:
        pages = [page_of(np.full((5, 6, 1), value, np.uint8), 1, Coding()) for value in range(3)]
        pages[0].tags[270] = (ASCII, text % axes)
        (tmp_path / f"{axes}.tif").write_bytes(tiff_file(pages))
        return tmp_path / f"{axes}.tif"

    assert read_image(write("ZYX")).data[0, :, 0, 0].tolist() == [0, 1, 2]
    assert read_image(write("CYX")).data[:, 0, 0].tolist() == [0, 1, 2]
    with pytest.raises(DataError, match=r"axes 3 T .* not supported"):
        read_image(write("TYX"))


@pytest.mark.parametrize(
    "text", ['{"shape": [9, 5, 7]}', '{"shape": "x"}', '{"shape": [2, 5', '{"shape": [0]}']
)
def test_descriptions_of_another_image_say_nothing(tmp_path: Path, text: str) -> None:
    """Programs keep the description of the image that they have cropped."""
    pages = [page_of(np.full((5, 6, 1), value, np.uint8), 1, Coding()) for value in range(3)]
    pages[0].tags[270] = (ASCII, text)
    (tmp_path / "a.tif").write_bytes(tiff_file(pages))
    assert read_image(tmp_path / "a.tif").data[0, :, 0, 0].tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("tag", "value", "name"),
    [
        *((tag, (LONG, [1, 2, 3]), "MetaMorph") for tag in (33628, 33629)),
        *((tag, (LONG, [1, 2, 3]), name) for tag, name in ((34361, "FluoView"), (34412, "LSM"))),
        *((tag, (LONG, [1, 2, 3]), name) for tag, name in ((33445, "GEL"), (43314, "NIH Image"))),
        (65420, (LONG, [1, 2, 3]), "NDPI"),
        (305, (ASCII, "SI.LINE_FORMAT_VERSION = 1"), "ScanImage"),  # its pages may be channels
    ],
)
def test_programs_with_planes_and_scales_in_tags_of_their_own(
    tmp_path: Path, tag: int, value: tuple[int, object], name: str
) -> None:
    page = page_of(np.zeros((5, 6, 1), np.uint8), 1, Coding())
    page.tags[tag] = value
    (tmp_path / "a.tif").write_bytes(tiff_file([page, page]))
    with pytest.raises(DataError, match=f"{name} are not supported"):
        read_image(tmp_path / "a.tif")


def test_reduced_pages(tmp_path: Path) -> None:
    """Old and new tags; a page of a document; a mask; and a file of nothing but a thumbnail."""
    large, small = (page_of(np.full((n, n, 1), n, np.uint8), 1, Coding()) for n in (9, 3))
    path = tmp_path / "a.tif"
    for tag, value in ((254, 1), (254, 3), (255, 2)):
        small.tags = {**small.tags, tag: (LONG if tag == 254 else SHORT, value)}
        path.write_bytes(tiff_file([small, large, small]))
        assert read_image(path).data.shape == (1, 9, 9)
        path.write_bytes(tiff_file([small]))
        with pytest.raises(DataError, match=r"(?s)all pages are reduced copies.* not supported"):
            read_image(path)
        del small.tags[tag]
    large.tags[254] = (LONG, 2)
    path.write_bytes(tiff_file([large, large]))
    assert read_image(path).data.shape == (1, 2, 9, 9)
    large.tags[254] = (LONG, 4)
    path.write_bytes(tiff_file([large, large]))
    with pytest.raises(DataError, match="transparency masks are not supported"):
        read_image(path)


@pytest.mark.parametrize(
    "other",
    [
        page_of(np.zeros((5, 7, 1), np.uint8), 1, Coding()),
        page_of(np.zeros((5, 6, 1), np.uint16), 1, Coding(bits=16)),
        page_of(np.zeros((5, 6, 1), np.uint8), 0, Coding()),
        page_of(np.zeros((5, 6, 3), np.uint8), 2, Coding()),
        page_of(np.zeros((5, 6, 1), np.uint8), 1, Coding(), t274=(SHORT, 3)),
    ],
)
def test_pages_of_several_kinds(tmp_path: Path, other: Page) -> None:
    page = page_of(np.zeros((5, 6, 1), np.uint8), 1, Coding())
    (tmp_path / "a.tif").write_bytes(tiff_file([page, other]))
    with pytest.raises(DataError, match="images of different shapes or kinds"):
        read_image(tmp_path / "a.tif")


def test_pages_of_several_codings_are_one_volume(tmp_path: Path) -> None:
    planes = np.random.default_rng(0).integers(0, 256, (4, 40, 50, 1), np.uint8)
    codings = [Coding(), Coding(compression="LZW", rows=7), Coding(compression="deflate", tile=(16, 16))]
    pages = [
        page_of(plane, 1, coding) for plane, coding in zip(planes, [*codings, Coding(rows=3)], strict=True)
    ]
    (tmp_path / "a.tif").write_bytes(tiff_file(pages))
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif").data[0], planes[..., 0])


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_orientations_that_are_not_defined_count_as_none(tmp_path: Path, orientation: int) -> None:
    plane = np.arange(30, dtype=np.uint8).reshape(5, 6, 1)
    (tmp_path / "a.tif").write_bytes(tiff_file([page_of(plane, 1, Coding(), t274=(SHORT, orientation))]))
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif").data[0], plane[..., 0])


def test_more_values_than_are_allowed(tmp_path: Path) -> None:
    plane = np.zeros((40, 50, 1), np.uint8)
    path = tmp_path / "a.tif"
    path.write_bytes(tiff_file([page_of(plane, 1, Coding())] * 5))
    assert read_image(path, max_voxels=10_000).data.size == 10_000
    with pytest.raises(DataError, match="claims 10000 values; the limit is 9999"):
        read_image(path, max_voxels=9_999)
    palette = {"t320": (SHORT, [0, 65535, 0] * 256)}
    path.write_bytes(tiff_file([page_of(plane, 3, Coding(), **palette)]))
    with pytest.raises(DataError, match="claims 6000 values"):  # as colours
        read_image(path, max_voxels=5_999)
