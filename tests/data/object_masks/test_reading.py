"""One way in for objects: numbers, a file for each, LabelMe, QuPath and ImageJ."""

from __future__ import annotations

import base64
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image as PillowImage

from swin_umamba.data.image_io import Image
from swin_umamba.data.object_masks import imagej
from swin_umamba.data.object_masks.object_map import ObjectMap
from swin_umamba.data.object_masks.reading import read_objects
from swin_umamba.errors import DataError, GeometryError

SHAPE = (10, 12)
TRUTH = np.zeros(SHAPE, int)
TRUTH[1:5, 2:6] = 1
TRUTH[5:9, 3:11] = 2
TRUTH[0:3, 8:12] = 3
CORNERS = ((2, 1, 6, 5), (3, 5, 11, 9), (8, 0, 12, 3))


def image_of(shape: tuple[int, ...] = SHAPE) -> Image:
    return Image.without_geometry(np.zeros((1, *shape), np.uint8), Path("image.png"))


def ring(left: float, top: float, right: float, bottom: float) -> list[list[float]]:
    return [[left, top], [right, top], [right, bottom], [left, bottom]]


def check(found: ObjectMap, class_names: tuple[str | None, ...] = (None,) * 3) -> None:
    np.testing.assert_array_equal(found.instances, TRUTH)
    assert found.class_names == class_names
    assert found.remarks == ()


@pytest.mark.parametrize("dtype", [np.uint16, np.uint32, np.float32])
def test_a_map_of_numbers(tmp_path: Path, dtype: type) -> None:
    numbers = np.where(TRUTH == 3, 65535 if dtype is np.uint16 else 70_000, TRUTH).astype(dtype)
    tifffile.imwrite(tmp_path / "a.tif", numbers)
    check(read_objects(tmp_path / "a.tif", image_of()))


def test_an_object_in_two_pieces_is_one_and_said(tmp_path: Path) -> None:
    numbers = TRUTH.astype(np.uint8)
    numbers[9, 0] = 2
    PillowImage.fromarray(numbers).save(tmp_path / "a.png")
    found = read_objects(tmp_path / "a.png", image_of())
    assert len(found.class_names) == 3
    assert found.remarks == ("objects in several pieces: 1 more pieces than numbers, each number one object",)


def test_a_volume_of_numbers(tmp_path: Path) -> None:
    numbers = np.zeros((4, *SHAPE), np.uint16)
    numbers[1:3] = TRUTH * 300
    tifffile.imwrite(tmp_path / "a.tif", numbers, photometric="minisblack")
    found = read_objects(tmp_path / "a.tif", image_of(numbers.shape))
    np.testing.assert_array_equal(found.instances, numbers // 300)


def test_a_file_for_each_object(tmp_path: Path) -> None:
    for number in (1, 2, 3):
        PillowImage.fromarray((number == TRUTH).astype(np.uint8) * 255).save(tmp_path / f"{number}.png")
    check(read_objects(tmp_path, image_of()))
    PillowImage.fromarray(np.zeros(SHAPE, np.uint8)).save(tmp_path / "4.png")
    assert read_objects(tmp_path, image_of()).remarks == ("1 objects cover no centre of a pixel: left out",)
    PillowImage.fromarray(np.ones((3, 3), np.uint8)).save(tmp_path / "5.png")
    with pytest.raises(GeometryError, match=r"5\.png"):
        read_objects(tmp_path, image_of())


@pytest.mark.parametrize("values", [np.array([[0.5, 1]]), np.array([[-1, 1]]), np.array([[np.nan, 1]])])
def test_numbers_that_are_none(tmp_path: Path, values: np.ndarray) -> None:
    tifffile.imwrite(tmp_path / "a.tif", values.astype(np.float32))
    with pytest.raises(DataError, match=r"a\.tif"):
        read_objects(tmp_path / "a.tif", image_of((1, 2)))


def test_jpeg_holds_no_numbers(tmp_path: Path) -> None:
    PillowImage.fromarray(TRUTH.astype(np.uint8)).save(tmp_path / "a.jpg")
    with pytest.raises(DataError, match="JPEG changes pixel values"):
        read_objects(tmp_path / "a.jpg", image_of())


def labelme(*shapes: dict[str, Any], size: tuple[int, int] = SHAPE) -> dict[str, Any]:
    return {"version": "5.5.0", "shapes": list(shapes), "imageHeight": size[0], "imageWidth": size[1]}


def test_labelme(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    PillowImage.fromarray(np.full((3, 4), 255, np.uint8)).convert("1").save(buffer, format="PNG")
    shapes = (
        {"label": "a", "points": ring(*CORNERS[0]), "shape_type": "polygon", "group_id": None},
        {"label": "b", "points": [[11, 9], [3, 5]], "shape_type": "rectangle"},
        {
            "label": "a",
            "points": [[8, 0], [11, 2]],
            "shape_type": "mask",
            "mask": base64.b64encode(buffer.getvalue()).decode(),
        },
    )
    (tmp_path / "a.json").write_text(json.dumps(labelme(*shapes)))
    check(read_objects(tmp_path / "a.json", image_of()), ("a", "b", "a"))


def test_labelme_groups_and_circles(tmp_path: Path) -> None:
    parts = [{"label": "a", "points": ring(*corners), "group_id": 7} for corners in CORNERS[::2]]
    circle = {"label": "a", "points": [[4, 7], [4, 9]], "shape_type": "circle"}
    (tmp_path / "a.json").write_text(json.dumps(labelme(*parts, circle)))
    found = read_objects(tmp_path / "a.json", image_of())
    assert len(found.class_names) == 2
    assert (found.instances == 1).sum() == 16 + 12
    assert (found.instances == 2).sum() == 12


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        (
            {"label": "a", "points": [[1, 1]], "shape_type": "point"},
            r"shape 0 \(a\) is a point, which has no",
        ),
        ({"label": "a", "points": [[1, 1]], "shape_type": "circle"}, "two points"),
        ({"label": "a", "points": [[1, 1], [2, 2]]}, "three points"),
        ({"label": "a", "points": [[1, 1, 1]]}, "points"),
        ({"points": []}, "label"),
        ({"label": "a", "points": [[1, 1], [2, 2]], "shape_type": "mask", "mask": "?"}, "base64"),
        ({"label": "a", "points": [[1, 1], [2, 2]], "shape_type": "mask", "mask": "aaaa"}, "PNG"),
        ({"label": "a", "points": ring(50, 50, 60, 60)}, "outside the image"),
    ],
)
def test_bad_labelme(tmp_path: Path, shape: dict[str, Any], message: str) -> None:
    (tmp_path / "a.json").write_text(json.dumps(labelme(shape)))
    with pytest.raises(DataError, match=message):
        read_objects(tmp_path / "a.json", image_of())


def test_labelme_of_another_image(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps(labelme(size=(12, 10))))
    with pytest.raises(DataError, match="its annotations are of 12 x 10"):
        read_objects(tmp_path / "a.json", image_of())


def feature(geometry: Any, name: str | None = None) -> dict[str, Any]:
    properties: dict[str, Any] = {"objectType": "detection"}
    if name is not None:
        properties["classification"] = {"name": name, "color": [200, 0, 0]}
    return {"type": "Feature", "id": "x", "geometry": geometry, "properties": properties}


def polygon(*corners: tuple[float, float, float, float]) -> dict[str, Any]:
    rings = [ring(*each) for each in corners]
    return {"type": "Polygon", "coordinates": [[*each, each[0]] for each in rings]}


@pytest.mark.parametrize("form", ["collection", "list"])
@pytest.mark.parametrize("suffix", [".geojson", ".json"])
def test_qupath(tmp_path: Path, form: str, suffix: str) -> None:
    features = [feature(polygon(corners), name) for corners, name in zip(CORNERS, "xyx", strict=True)]
    content = {"type": "FeatureCollection", "features": features} if form == "collection" else features
    (tmp_path / f"a{suffix}").write_text(json.dumps(content))
    check(read_objects(tmp_path / f"a{suffix}", image_of()), ("x", "y", "x"))


def test_qupath_holes_and_pieces(tmp_path: Path) -> None:
    with_hole = polygon((0, 0, 6, 6), (2, 2, 4, 4))["coordinates"]
    geometry = {"type": "MultiPolygon", "coordinates": [with_hole, polygon((8, 8, 10, 10))["coordinates"]]}
    (tmp_path / "a.geojson").write_text(json.dumps(feature(geometry)))
    found = read_objects(tmp_path / "a.geojson", image_of())
    assert found.class_names == (None,)
    assert (found.instances == 1).sum() == 36 - 4 + 4
    assert found.instances[3, 3] == 0


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"type": "Topology"}, "geometry"),
        ("text", "no features"),
        ({"type": "FeatureCollection"}, "no features"),
        ([feature({"type": "Point", "coordinates": [1, 2]})], "a Point has no area"),
        ([feature(None)], "feature 0"),
        ([feature({"type": "Polygon", "coordinates": []})], "no coordinates"),
        ([feature({"type": "Polygon", "coordinates": 3})], "no coordinates"),
        ([feature({"type": "Polygon", "coordinates": [[[1, 2], [3, "x"], [4, 5]]]})], "feature 0"),
        ([feature({"type": "Polygon", "coordinates": [[[1, 2], [3], [4, 5]]]})], "feature 0"),
        ([feature(polygon(CORNERS[0])) | {"properties": {"classification": {"name": 3}}}], "not a text"),
        ([3], "feature 0"),
    ],
)
def test_bad_geojson(tmp_path: Path, content: Any, message: str) -> None:
    (tmp_path / "a.geojson").write_text(json.dumps(content))
    with pytest.raises(DataError, match=message):
        read_objects(tmp_path / "a.geojson", image_of())


def roi(kind: int, box: tuple[int, int, int, int], *, options: int = 0, points: bytes = b"", count: int = 0,
        path: int = 0, exact: bytes = b"") -> bytes:  # fmt: skip
    """A ROI by ImageJ's layout; the box is left, top, right, bottom."""
    left, top, right, bottom = box
    header = bytearray(64)
    header[:8] = b"Iout" + (228).to_bytes(2, "big") + bytes([kind, 0])
    header[8:18] = np.array([top, left, bottom, right, count], ">i2").tobytes()
    header[18 : 18 + len(exact)] = exact
    header[36:40] = path.to_bytes(4, "big")
    header[50:52] = options.to_bytes(2, "big")
    return bytes(header) + points


def rois() -> list[bytes]:
    whole = np.array(ring(0, 0, 4, 4)).T.astype(">i2").tobytes()
    exact = np.array(ring(*CORNERS[2])).T.astype(">f4").tobytes()
    return [
        roi(0, CORNERS[0], points=whole, count=4),
        roi(1, CORNERS[1]),
        roi(7, CORNERS[2], points=bytes(16) + exact, count=4, options=128),
    ]


def test_imagej(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "RoiSet.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("readme.txt", "not one")
        for number, content in enumerate(rois()):
            archive.writestr(f"{number:04}.roi", content)
    check(read_objects(tmp_path / "RoiSet.zip", image_of()))
    (tmp_path / "a.roi").write_bytes(rois()[1])
    np.testing.assert_array_equal(read_objects(tmp_path / "a.roi", image_of()).instances, TRUTH == 2)


def test_imagej_ovals_and_paths(tmp_path: Path) -> None:
    (tmp_path / "a.roi").write_bytes(roi(2, (1, 1, 11, 9)))
    assert (read_objects(tmp_path / "a.roi", image_of()).instances == 1).sum() == pytest.approx(
        np.pi * 20, abs=3
    )
    rings = (ring(0, 0, 6, 6), ring(2, 2, 4, 4))
    steps = [number for each in rings for index, point in enumerate(each) for number in (index > 0, *point)]
    steps = [*steps[:12], 4, *steps[12:], 4]
    content = roi(1, (0, 0, 6, 6), points=np.array(steps, ">f4").tobytes(), path=len(steps))
    (tmp_path / "a.roi").write_bytes(content)
    assert (read_objects(tmp_path / "a.roi", image_of()).instances == 1).sum() == 32


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a ROI"),
        (b"Iout" + bytes(20), "not a ROI"),
        (roi(10, (1, 1, 2, 2)), "a point, which has no area"),
        (roi(99, (1, 1, 2, 2)), "unknown kind 99"),
        (roi(0, (1, 1, 2, 2), count=4, points=bytes(15)), "too early"),
        (roi(0, (1, 1, 2, 2)), "three points"),
        (roi(1, (1, 1, 2, 2), path=2**31 - 1), "too early"),
        (roi(1, (1, 1, 2, 2), path=1, points=np.array([2], ">f4").tobytes()), "curves"),
        (roi(1, (1, 1, 2, 2), path=3, points=np.array([1, 2, 3], ">f4").tobytes()), "without a move"),
        (roi(1, (1, 1, 2, 2), options=128, exact=np.full(4, np.nan, ">f4").tobytes()), "nowhere"),
    ],
)
def test_bad_rois(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "a.roi").write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_objects(tmp_path / "a.roi", image_of())


def test_bad_archives_of_rois(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(b"not a zip")
    with pytest.raises(DataError, match="damaged"):
        read_objects(path, image_of())
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.txt", "")
    with pytest.raises(DataError, match="holds 0 ROIs"):
        read_objects(path, image_of())
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.roi", rois()[0])
        archive.writestr("b.roi", bytes(10**6))
    monkeypatch.setattr(imagej, "MOST_BYTES", 1000)
    with pytest.raises(DataError, match="too large when unpacked"):
        read_objects(path, image_of())


def test_rois_of_another_program(tmp_path: Path) -> None:
    roifile = pytest.importorskip("roifile")
    rng = np.random.default_rng(0)
    written = []
    for number in range(6):
        points = rng.uniform(0, 11, (5, 2))
        if number % 2:
            points = np.round(points).astype(np.int32)
        one = roifile.ImagejRoi.frompoints(points)
        one.roitype = roifile.ROI_TYPE.POLYGON
        written.append((one, points))
    for one, points in written:
        one.tofile(tmp_path / "a.roi")
        (tmp_path / "a.geojson").write_text(
            json.dumps(feature({"type": "Polygon", "coordinates": [points.tolist()]}))
        )
        ours = read_objects(tmp_path / "a.roi", image_of((12, 12)))
        same = read_objects(tmp_path / "a.geojson", image_of((12, 12)))
        np.testing.assert_array_equal(ours.instances, same.instances)


def test_outlines_are_of_pictures(tmp_path: Path) -> None:
    (tmp_path / "a.roi").write_bytes(rois()[0])
    with pytest.raises(DataError, match="not for volumes"):
        read_objects(tmp_path / "a.roi", image_of((3, *SHAPE)))
