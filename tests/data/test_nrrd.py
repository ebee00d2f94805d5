"""NRRD files: what is refused, what is never opened, and the segments of 3D Slicer."""

from __future__ import annotations

import bz2
import gzip
from pathlib import Path

import numpy as np
import pytest

from data.nrrd_files import VOXELS, save
from swin_umamba.data.image import Image
from swin_umamba.data.image_io import image_stem, read_image, read_labels, write_labels
from swin_umamba.errors import DataError

SPACE = {"space": "LPS", "space directions": "(1,0,0) (0,2,0) (0,0,3)", "space origin": "(1,2,3)"}


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"type": "block"}, "not supported"),
        ({"type": "float16"}, "not supported"),
        ({"dimension": "7"}, "7 axes"),
        ({"dimension": "4"}, "sizes must be 4"),
        ({"sizes": "4 3 0"}, "impossible size"),
        ({"sizes": "4000 30000 20000"}, "the limit is"),
        ({"sizes": "4 3 3"}, "holds 24 bytes of data and should hold 36"),
        ({"sizes": "4 3 1"}, "more data"),
        ({"encoding": "zrl"}, "not supported"),
        ({"type": "short", "sizes": "4 3 1"}, "endian"),
        ({"type": "short", "sizes": "4 3 1", "endian": "middle"}, "endian"),
        ({"Sizes": "4 3 2"}, "twice"),
        ({"space direction": "(1,0,0)"}, "not supported"),
        ({"spacings": "1 1 -1"}, "spacing must be positive"),
        ({"spacings": "1 1 0"}, "spacing must be positive"),
        ({"spacings": "1 1"}, "2 entries for 3 axes"),
        ({"spacings": "1 1 x"}, "must be numbers"),
        ({"spacings": "1 1 1", "units": '"mm" "mm" "pixels"'}, "not lengths"),
        ({"spacings": "1 1 1", "units": '"mm"'}, "1 entries"),
        ({**SPACE, "spacings": "1 1 1"}, "of their own"),
        ({**SPACE, "space": "moon"}, "called 'moon'"),
        ({**SPACE, "space dimension": "3"}, "either name a space"),
        ({"space directions": "(1,0,0) (0,2,0) (0,0,3)"}, "either name a space"),
        ({**SPACE, "space directions": "(1,0,0) (0,2,0)"}, "must be 3 vectors"),
        ({**SPACE, "space directions": "(1,0,0) (0,2,0) (0,0)"}, "vectors of 3 numbers"),
        ({**SPACE, "space directions": "(1,0,0) (0,2,0) (0,nan,3)"}, "vectors of 3 numbers"),
        ({**SPACE, "space directions": "(1,0,0) (0,2,0) (0,0,0)"}, "spacing must be positive"),
        ({**SPACE, "space directions": "(1,0,0) (0,2,0) (0,1,0)"}, "0 degrees apart"),
        ({**SPACE, "space directions": "none none (0,1,0)"}, "not supported"),
        ({**SPACE, "space units": '"pixel" "pixel" "pixel"'}, "not lengths"),
        ({**SPACE, "kinds": "domain domain list"}, "kind list has a direction"),
        ({"kinds": "domain domain complex"}, "kind complex"),
        ({"kinds": "HSV-color domain domain"}, "kind hsv-color"),
        ({"kinds": "list list domain"}, "not supported"),
        ({"line skip": "-1"}, "skipped"),
        ({"line skip": "99"}, "skipped"),
        ({"byte skip": "-2"}, "skipped"),
        ({"byte skip": "1"}, "holds 23 bytes"),
        ({"encoding": "hex", "byte skip": "-1"}, "skipped"),
        ({"encoding": "gzip"}, "compressed voxels are damaged"),
        ({"encoding": "bzip2"}, "compressed voxels are damaged"),
        ({"encoding": "hex"}, "hexadecimal"),
    ],
)
def test_headers_that_contradict_themselves_or_are_unusual(
    tmp_path: Path, fields: dict[str, str], why: str
) -> None:
    with pytest.raises(DataError, match=why):
        read_image(save(tmp_path / "a.nrrd", **fields))


def test_files_that_are_no_nrrd(tmp_path: Path) -> None:
    for content, why in (
        (b"\0" * 1000, "does not begin"),
        (b"NRRD0009\n", "version"),
        (b"NRRD0004\n", "dimension"),
    ):
        (tmp_path / "a.nrrd").write_bytes(content)
        with pytest.raises(DataError, match=why):
            read_image(tmp_path / "a.nrrd")


def test_compressed_voxels_are_checked_to_the_last_byte(tmp_path: Path) -> None:
    for encoding, compress in (("gzip", gzip.compress), ("bzip2", bz2.compress)):
        packed = compress(VOXELS.tobytes())
        wrong = bytearray(packed)
        wrong[-5] ^= 1
        for content in (packed[:-1], bytes(wrong), compress(bytes(25)), compress(bytes(23)), b""):
            with pytest.raises(DataError, match=r"voxels|compressed bytes"):
                read_image(save(tmp_path / "a.nrrd", content, encoding=encoding))


@pytest.mark.parametrize(
    ("fields", "spacing", "known"),
    [
        ({}, (1.0, 1.0, 1.0), (False, False)),
        ({"spacings": "nan 2 3"}, (1.0, 1.0, 1.0), (False, False)),
        ({"axis mins": "0 0 0", "axis maxs": "4 6 8"}, (1.0, 1.0, 1.0), (False, False)),
        ({"spacings": "1 2 3"}, (3.0, 2.0, 1.0), (True, False)),
        ({"spacings": "1 2 3", "units": '"cm" "cm" "cm"'}, (30.0, 20.0, 10.0), (True, False)),
        (SPACE, (3.0, 2.0, 1.0), (True, True)),
        ({**SPACE, "space": "scanner-xyz"}, (3.0, 2.0, 1.0), (True, False)),
        ({**SPACE, "space origin": "(nan,nan,nan)"}, (3.0, 2.0, 1.0), (True, False)),
        ({**SPACE, "space units": '"mm" "mm" "\N{MICRO SIGN}m"'}, (0.003, 2.0, 1.0), (True, True)),
        ({**SPACE, "measurement frame": "(0,1,0) (1,0,0) (0,0,1)"}, (3.0, 2.0, 1.0), (True, True)),
    ],
)
def test_what_a_file_says_of_its_place(
    tmp_path: Path, fields: dict[str, str], spacing: tuple[float, ...], known: tuple[bool, bool]
) -> None:
    image = read_image(save(tmp_path / "a.nrrd", **fields))
    assert image.spacing == pytest.approx(spacing, rel=1e-15)
    assert (image.has_spacing, image.has_orientation) == known


def test_axes_of_time_and_channels(tmp_path: Path) -> None:
    """The fourth axis of a space with time, of no kind, and one of a single value."""
    data = np.arange(48, dtype=np.uint8)
    time = {
        "space": "LPST",
        "space directions": "(1,0,0,0) (0,2,0,0) (0,0,3,0) (0,0,0,9)",
        "space origin": "(1,2,3,4)",
    }
    for fields in (time, {}, {"kinds": "domain domain domain time"}):
        image = read_image(
            save(tmp_path / "a.nrrd", data.tobytes(), dimension="4", sizes="4 3 2 2", **fields)
        )
        np.testing.assert_array_equal(image.data, data.reshape(2, 2, 3, 4))
    assert read_image(
        save(tmp_path / "a.nrrd", dimension="4", sizes="1 4 3 2", kinds="scalar domain domain domain")
    ).data.shape == (1, 2, 3, 4)
    slanted = {**time, "space directions": "(1,0,0,0) (0,2,0,0) (0,0,3,1) (0,0,0,9)"}
    with pytest.raises(DataError, match="space and time"):
        read_image(save(tmp_path / "a.nrrd", data.tobytes(), dimension="4", sizes="4 3 2 2", **slanted))


def test_an_opaque_alpha_channel_is_dropped(tmp_path: Path) -> None:
    data = np.arange(24, dtype=np.uint8).reshape(3, 2, 4)
    data[..., 3] = 255
    fields = {"sizes": "4 2 3", "kinds": "RGBA-color domain domain"}
    image = read_image(save(tmp_path / "a.nrrd", data.tobytes(), **fields))
    np.testing.assert_array_equal(image.data, np.moveaxis(data[..., :3], -1, 0))
    data[0, 0, 3] = 0
    with pytest.raises(DataError, match="transparent"):
        read_image(save(tmp_path / "a.nrrd", data.tobytes(), **fields))


def test_where_itk_sees_an_image_without_a_space(tmp_path: Path) -> None:
    """Only a stand-in, but label maps written on it must lie on the image for ITK."""
    sitk = pytest.importorskip("SimpleITK")
    for extra in ({}, {"centerings": "node node node"}, {"centers": "cell cell cell"}):
        path = save(tmp_path / "a.nrrd", **{"spacings": "1 2 3", "axis mins": "4 5 6"}, **extra)
        image = read_image(path)
        write_labels(tmp_path / "labels.nrrd", image.data[0], like=image)
        seen, written = (sitk.ReadImage(str(each)) for each in (path, tmp_path / "labels.nrrd"))
        assert seen.GetOrigin() == written.GetOrigin()
        assert seen.GetDirection() == written.GetDirection()
        assert not read_image(tmp_path / "labels.nrrd").has_orientation


# --- Segmentations of 3D Slicer ---


def segments(*each: tuple[int, int, str]) -> list[str]:
    """Return the lines of segments with a value, layer and name each."""
    lines = []
    for number, (value, layer, name) in enumerate(each):
        start = f"Segment{number}_"
        lines += [f"{start}ID:=Segment_{number + 1}", f"{start}Name:={name}", f"{start}Color:=0.5 0.6 0.7"]
        lines += [f"{start}LabelValue:={value}", f"{start}Layer:={layer}", f"{start}Tags:=a:b|c:=d"]
    return lines


def layers(path: Path, data: np.ndarray, *lines: str) -> Path:
    """Write ``(layers, z, y, x)`` as Slicer does, the layers fastest."""
    sizes = " ".join(map(str, (len(data), *data.shape[:0:-1])))
    content = np.moveaxis(data, 0, -1).tobytes()
    fields = {"dimension": "4", "sizes": sizes, "kinds": "list domain domain domain"}
    fields |= {**SPACE, "space directions": "none (1,0,0) (0,2,0) (0,0,3)"}
    return save(path, content, *lines, **fields)


def test_segments_keep_their_label_values(tmp_path: Path) -> None:
    """Values are not positions: the first segment may be 3."""
    data = np.array([0, 3, 1, 3, 0, 0, 7, 7] * 3, np.uint8)
    path = save(
        tmp_path / "case.seg.nrrd", data.tobytes(), *segments((3, 0, "liver"), (1, 0, "cyst"), (7, 0, "b"))
    )
    np.testing.assert_array_equal(read_labels(path).data.ravel(), data)
    assert image_stem(path) == "case"


def test_layers_that_do_not_overlap_become_one_map(tmp_path: Path) -> None:
    data = np.zeros((2, 2, 3, 4), np.uint8)
    data[0, 0, :2] = 5
    data[0, 1, 0] = 9
    data[1, 1, 2] = 2
    path = layers(tmp_path / "a.seg.nrrd", data, *segments((5, 0, "a"), (2, 1, "b"), (9, 0, "c")))
    labels = read_labels(path)
    np.testing.assert_array_equal(labels.data[0], data[0] + data[1])
    np.testing.assert_array_equal(read_image(path).data, data)
    assert labels.spacing == (3.0, 2.0, 1.0)


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        (segments((5, 0, "liver"), (2, 1, "cyst")), "overlap in 1 voxels .*'liver' and 'cyst'"),
        (segments((5, 0, "liver"), (5, 1, "cyst")), "'liver' and 'cyst' have the same label value 5"),
        (segments((5, 0, "liver")), "belong to no segment: .2. in layer 1"),
        (segments((5, 0, "liver"), (2, 2, "cyst")), "layer 2 of 2"),
        (segments((5, 0, "liver"), (0, 1, "cyst")), "label value 0"),
        (segments((5, 0, "liver"), (-2, 1, "cyst")), "label value '-2'"),
        # As Slicer wrote them before 4.11.
        (["Segment0_Name:=liver", "Segment1_Name:=cyst"], "same label value 1"),
        ([], "a label map has one channel"),
    ],
)
def test_layers_that_are_no_label_map(tmp_path: Path, lines: list[str], why: str) -> None:
    data = np.zeros((2, 2, 3, 4), np.uint8)
    data[0, 0, 0] = 5
    data[1, 0, :, 1] = 2
    with pytest.raises(DataError, match=why):
        read_labels(layers(tmp_path / "a.seg.nrrd", data, *lines))


def test_label_maps_are_written_as_segments(tmp_path: Path) -> None:
    labels = np.zeros((2, 3, 4), np.int64)
    labels[0, 0] = 3
    labels[1, 1] = 300
    write_labels(tmp_path / "a.seg.nrrd", labels, like=Image.without_geometry(labels[None], tmp_path))
    head = (tmp_path / "a.seg.nrrd").read_bytes().partition(b"\n\n")[0].decode()
    assert "Segment0_LabelValue:=3\n" in head
    assert "Segment1_LabelValue:=300\n" in head
    assert "Segment1_Extent:=0 3 0 2 0 1\n" in head
    np.testing.assert_array_equal(read_labels(tmp_path / "a.seg.nrrd").data[0], labels)
