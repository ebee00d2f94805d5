"""COCO's annotations: polygons, parts, run lengths of both kinds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from swin_umamba.data.object_masks.coco import CocoFile
from swin_umamba.data.object_masks.object_map import map_of_objects
from swin_umamba.errors import DataError

# What pycocotools 2.0.11 writes for two masks: 6 x 9 pixels whose bits are packed here, and 90 x 40 with a
# rectangle of 77 x 25 at (3, 5), from which one of 10 x 10 at (20, 10) is cut.
PACKED = np.unpackbits(np.array([237, 135, 242, 93, 34, 253, 208], np.uint8))[:54].reshape(6, 9) > 0
OF_PACKED = "011100001O0236MH0006OK1OO"
OF_RECTANGLES = (
    "U>]2=00000000TNMQ13oNMQ13oNMQ13oNMQ13oNMQ13oNMQ13oNMQ13oNMQ13oNMQ13oNMQ13k0000000000000000000Ql0"
)


def annotated(path: Path, shape: tuple[int, int], *annotations: dict[str, Any]) -> CocoFile:
    content = {
        "images": [{"id": 3, "file_name": "a.png", "height": shape[0], "width": shape[1]}],
        "annotations": [{"id": number, "image_id": 3} | each for number, each in enumerate(annotations)],
        "categories": [{"id": 1, "name": "nucleus"}, {"id": 2, "name": "debris"}],
    }
    path.write_text(json.dumps(content))
    return CocoFile(path)


def instances_of(file: CocoFile, shape: tuple[int, int]) -> np.ndarray:
    return map_of_objects(file.objects("a.png", shape), shape, file.path).instances


def test_polygons_and_their_classes(tmp_path: Path) -> None:
    file = annotated(
        tmp_path / "a.json",
        (8, 9),
        {"category_id": 2, "segmentation": [[1, 1, 4, 1, 4, 3, 1, 3], [6, 5, 8, 5, 8, 8, 6, 8]]},
        {"category_id": 1, "segmentation": [[5, 0, 9, 0, 9, 2, 5, 2]]},
        {"segmentation": [[0, 6, 2, 6, 2, 8, 0, 8]]},
    )
    found = map_of_objects(file.objects("a.png", (8, 9)), (8, 9), file.path)
    expected = np.zeros((8, 9), int)
    expected[1:3, 1:4], expected[5:8, 6:8], expected[0:2, 5:9], expected[6:8, 0:2] = 1, 1, 2, 3
    np.testing.assert_array_equal(found.instances, expected)
    assert found.class_names == ("debris", "nucleus", None)
    assert file.file_names == ["a.png"]


@pytest.mark.parametrize("compressed", [True, False])
def test_run_lengths(tmp_path: Path, compressed: bool) -> None:
    rectangles = np.zeros((90, 40), bool)
    rectangles[3:80, 5:30] = True
    rectangles[20:30, 10:20] = False
    for mask, text in ((PACKED, OF_PACKED), (rectangles, OF_RECTANGLES)):
        counts = text if compressed else _runs(mask)
        segmentation = {"size": list(mask.shape), "counts": counts}
        file = annotated(tmp_path / "a.json", mask.shape, {"segmentation": segmentation})
        np.testing.assert_array_equal(instances_of(file, mask.shape), mask.astype(int))


def _runs(mask: np.ndarray) -> list[int]:
    runs, value = [0], False
    for pixel in mask.T.ravel():
        if pixel != value:
            runs.append(0)
            value = pixel
        runs[-1] += 1
    return runs


@pytest.mark.parametrize(
    ("segmentation", "message"),
    [
        (None, "no outline"),
        ([], "no outline"),
        ("text", "no outline"),
        ([[1, 2, 3]], "x and y in turn"),
        ([[1, 2, 3, 4]], "three points"),
        ([[1, 1, "a", 2, 3, 3]], "could not convert"),
        ([[100, 100, 120, 100, 120, 130]], "outside the image"),
        ({"size": [6, 9], "counts": "01"}, "add up"),
        ({"size": [9, 6], "counts": OF_PACKED}, "do not fit"),
        ({"size": [6, 9], "counts": "o"}, "too early"),
        ({"size": [6, 9], "counts": "o" * 99}, "damaged"),
        ({"size": [6, 9], "counts": [55, -1]}, "whole numbers"),
        ({"size": [6, 9], "counts": [2**62, 2**62, 2**62, 2**62, 54]}, "add up"),
        ({"size": [6, 9]}, "counts"),
    ],
)
def test_bad_objects(tmp_path: Path, segmentation: Any, message: str) -> None:
    file = annotated(tmp_path / "a.json", (6, 9), {"segmentation": segmentation})
    with pytest.raises(DataError, match=message):
        instances_of(file, (6, 9))


def test_another_size_than_the_image_has(tmp_path: Path) -> None:
    file = annotated(tmp_path / "a.json", (6, 9))
    with pytest.raises(DataError, match=r"a\.png has 9 x 6 pixels, its annotations are of 6 x 9"):
        instances_of(file, (9, 6))


@pytest.mark.parametrize(
    "content",
    ["[]", "{}", '{"images": [{"id": "x"}], "annotations": []}', '{"images": [], "annotations": [3]}'],
)
def test_other_files(tmp_path: Path, content: str) -> None:
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(DataError, match=r"a\.json"):
        CocoFile(tmp_path / "a.json")
