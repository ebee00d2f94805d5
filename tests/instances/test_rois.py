"""Regions of interest as ImageJ reads them."""

from __future__ import annotations

import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
from skimage.draw import polygon2mask

from swin_umamba.errors import DataError, UsageError
from swin_umamba.instances.outlines import outlines_of
from swin_umamba.instances.rois import write_rois
from swin_umamba.instances.table import objects_of

ROWS = ["0110000", "1111022", "1001020", "1111022", "0000000", "5300003"]
INSTANCES = np.array([list(map(int, row)) for row in ROWS])


def written(path: Path, instances: np.ndarray = INSTANCES, **arguments: np.ndarray) -> dict[str, bytes]:
    write_rois(path, objects_of(instances, **arguments), outlines_of(instances))
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}


def test_bytes_of_a_traced_region(tmp_path: Path) -> None:
    content = written(tmp_path / "rois.zip")["5.roi"]
    assert content[:8] == b"Iout\x00\xe3\x08\x00"
    top, left, bottom, right, corners = struct.unpack(">4hH", content[8:18])
    assert (top, left, bottom, right, corners) == (5, 0, 6, 1, 4)
    assert content[18:40] == bytes(22)
    assert content[40:44] == bytes([255, 230, 159, 0])
    assert content[44:60] == bytes(16)
    assert struct.unpack(">I", content[60:64]) == (80,)
    assert struct.unpack(">4h", content[64:72]) == (0, 1, 1, 0)
    assert struct.unpack(">4h", content[72:80]) == (0, 0, 1, 1)
    assert struct.unpack(">II", content[96:104]) == (144, 1)
    assert content[144:] == "5".encode("utf-16-be")


def test_bytes_of_a_composite_region(tmp_path: Path) -> None:
    content = written(tmp_path / "rois.zip")["3.roi"]
    assert content[6] == 1
    assert struct.unpack(">4hH", content[8:18]) == (5, 1, 6, 7, 0)
    assert struct.unpack(">I", content[36:40]) == (26,)
    path = struct.unpack(">26f", content[64 : 64 + 104])
    one = (0, 1, 5, 1, 2, 5, 1, 2, 6, 1, 1, 6, 4)
    other = (0, 6, 5, 1, 7, 5, 1, 7, 6, 1, 6, 6, 4)
    assert path == one + other


def test_roifile_reads_the_map_back(tmp_path: Path) -> None:
    roifile = pytest.importorskip("roifile")
    rng = np.random.default_rng(0)
    instances = rng.integers(0, 4, (9, 8)).repeat(2, axis=0).repeat(3, axis=1)
    instances[0, 0] = 70_000
    contents = written(tmp_path / "rois.zip", instances)
    drawn = np.zeros_like(instances)
    for name, content in contents.items():
        region = roifile.ImagejRoi.frombytes(content)
        assert f"{region.name}.roi" == name
        rings = region.coordinates(multi=True)
        inside = np.zeros(instances.shape, bool)
        for ring in rings if isinstance(rings, list) else [rings]:
            inside ^= polygon2mask(instances.shape, ring[:, ::-1] - 0.5)
        drawn[inside] = int(region.name)
    np.testing.assert_array_equal(drawn, instances)


def test_the_same_objects_give_the_same_bytes(tmp_path: Path) -> None:
    written(tmp_path / "a.zip")
    written(tmp_path / "b.zip")
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()


def test_coordinates_end_where_imagej_ends(tmp_path: Path) -> None:
    instances = np.zeros((1, 32_768), np.uint8)
    instances[0, 32_766] = 1
    content = written(tmp_path / "rois.zip", instances)["1.roi"]
    assert struct.unpack(">4h", content[8:16]) == (0, 32_766, 1, 32_767)
    instances[0, 32_767] = 2
    with pytest.raises(DataError, match=r"32768.*32767") as caught:
        write_rois(tmp_path / "far.zip", objects_of(instances), outlines_of(instances))
    assert "GeoJSON" in str(caught.value)
    assert not (tmp_path / "far.zip").exists()


def test_more_corners_than_a_traced_region_holds_make_a_composite_one(tmp_path: Path) -> None:
    comb = np.ones((2, 32_767), np.uint8)
    comb[0, 1::2] = 0
    content = written(tmp_path / "rois.zip", comb)["1.roi"]
    assert content[6] == 1
    (values,) = struct.unpack(">I", content[36:40])
    (polygon,) = outlines_of(comb)[1]
    assert values == 3 * (len(polygon[0]) - 1) + 1
    assert values > 3 * 65_535


def test_a_case_without_objects_is_an_empty_archive(tmp_path: Path) -> None:
    assert written(tmp_path / "rois.zip", np.zeros((3, 3), int)) == {}


def test_outlines_of_another_map_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="different objects"):
        write_rois(tmp_path / "rois.zip", objects_of(INSTANCES), outlines_of(INSTANCES * 2))
