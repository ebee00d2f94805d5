"""A folder of masks that tell objects apart, as a data set."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image as PillowImage

from swin_umamba.data.datasets.conversion import Conversion
from swin_umamba.data.datasets.folder import convert_folder
from swin_umamba.data.image_io import read_labels
from swin_umamba.data.instance_labels import classes_to_instances, instances_to_classes
from swin_umamba.errors import DataError, UsageError

SIZE = 64


def squares(count: int, side: int = 9) -> np.ndarray:
    """Return so many squares, in lines of five that touch in pairs."""
    instances = np.zeros((SIZE, SIZE), np.uint16)
    for number in range(count):
        row, column = divmod(number, 5)
        left = 2 + column * 12 - (3 if column % 2 else 0)
        instances[2 + row * 12 : 2 + row * 12 + side, left : left + side] = number + 1
    return instances


def write_images(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        PillowImage.fromarray(np.arange(SIZE**2, dtype=np.uint8).reshape(SIZE, SIZE)).save(folder / name)
    return folder


def converted(tmp_path: Path, masks: Path, **options: Any) -> tuple[Conversion, dict[str, Any]]:
    folder = tmp_path / "raw" / "Dataset801_Own"
    result = convert_folder(tmp_path / "images", masks, folder, instances=True, **options)
    return result, json.loads((folder / "dataset.json").read_text())


def test_numbers(tmp_path: Path) -> None:
    write_images(tmp_path / "images", "a.png", "b.png")
    (tmp_path / "masks").mkdir()
    numbers = squares(12).astype(np.uint32) * 70_001  # gaps
    tifffile.imwrite(tmp_path / "masks" / "a_cp_masks.tif", numbers)
    tifffile.imwrite(tmp_path / "masks" / "b_cp_masks.tif", np.zeros_like(numbers))
    result, description = converted(tmp_path, tmp_path / "masks")
    assert description["labels"] == {"background": 0, "interior": 1, "boundary": 2}
    assert result.remarks == ("objects: 12 objects in 1 images", "b: no objects")
    instances = read_labels(result.folder / "instancesTr/a.tif").data[0]
    np.testing.assert_array_equal(instances, squares(12))
    labels = read_labels(result.folder / "labelsTr/a.png").data[0]
    np.testing.assert_array_equal(labels, instances_to_classes(squares(12)))
    assert classes_to_instances(labels).max() == 12
    assert not read_labels(result.folder / "instancesTr/b.tif").data.any()
    assert not (result.folder / "classesTr").exists()


def test_masks_that_only_say_where_objects_are(tmp_path: Path) -> None:
    write_images(tmp_path / "images", "a.png", "b.png")
    (tmp_path / "masks").mkdir()
    for name, count in (("a.png", 5), ("b.png", 1)):
        PillowImage.fromarray((squares(count) > 0).astype(np.uint8) * 255).save(tmp_path / "masks" / name)
    result, _ = converted(tmp_path, tmp_path / "masks")
    assert "in 1 images it is in several pieces" in result.remarks[-1]
    assert "scipy.ndimage.label" in result.remarks[-1]

    # One object in pieces among numbered ones is what it is.
    PillowImage.fromarray(squares(2).astype(np.uint8)).save(tmp_path / "masks" / "b.png")
    again = convert_folder(tmp_path / "images", tmp_path / "masks", tmp_path / "Dataset802_B", instances=True)
    assert not any("scipy" in remark for remark in again.remarks)


def test_images_for_a_test_are_named(tmp_path: Path) -> None:
    names = ("train/a.png", "train/b.png", "Test/c.png")
    write_images(tmp_path / "images", *names)
    for name in names:
        (tmp_path / "masks" / name).parent.mkdir(parents=True, exist_ok=True)
        PillowImage.fromarray(squares(2).astype(np.uint8)).save(tmp_path / "masks" / name)
    result, _ = converted(tmp_path, tmp_path / "masks")
    assert "images in folders called Test (1) become training cases" in result.remarks[-1]
    alone = convert_folder(
        tmp_path / "images" / "Test", tmp_path / "masks" / "Test", tmp_path / "Dataset802_B", instances=True
    )
    assert not any("folders called" in remark for remark in alone.remarks)


@pytest.mark.parametrize("one_folder", [True, False])
def test_a_file_for_each_object(tmp_path: Path, one_folder: bool) -> None:
    """DSB 2018: ``ID/images/ID.png`` and ``ID/masks/HASH.png``; or ``masks/ID/HASH.png``."""
    images = write_images(tmp_path / "images", *(f"{name}/images/{name}.png" for name in ("a1", "b2")))
    masks = images if one_folder else tmp_path / "masks"
    for name, count in (("a1", 7), ("b2", 3)):
        folder = masks / name / "masks" if one_folder else masks / name
        folder.mkdir(parents=True)
        for number in range(1, count + 1):
            mask = (squares(count) == number).astype(np.uint8) * 255
            PillowImage.fromarray(mask).save(folder / f"{name}{number:02}f.png")
    result, _ = converted(tmp_path, masks)
    assert result.num_training == 2
    assert result.left_out == ()
    for name, count in (("a1", 7), ("b2", 3)):
        found = read_labels(result.folder / f"instancesTr/{name}.tif").data[0]
        np.testing.assert_array_equal(found, squares(count))


def outlines(*boxes: tuple[str, int, int, int, int]) -> list[tuple[str, list[list[int]]]]:
    return [(name, [[x, y], [x2, y], [x2, y2], [x, y2]]) for name, x, y, x2, y2 in boxes]


def test_classes_of_objects(tmp_path: Path) -> None:
    write_images(tmp_path / "images", "a.png", "b.png", "c.png")
    (tmp_path / "masks").mkdir()
    shapes = outlines(("t", 2, 2, 20, 20), ("n", 20, 2, 40, 20), ("Ignore*", 50, 50, 60, 60))
    objects = [{"label": name, "points": points} for name, points in shapes]
    (tmp_path / "masks/a.json").write_text(json.dumps({"shapes": objects}))
    features = [
        {
            "type": "Feature",
            "geometry": {"type": "Polygon", "coordinates": [points]},
            "properties": {} if name == "t" else {"classification": {"name": name}},
        }
        for name, points in shapes[:2]
    ]
    (tmp_path / "masks/b.geojson").write_text(json.dumps(features))
    result, description = converted(tmp_path, tmp_path / "masks")
    assert description["labels"] == {"background": 0, "n": 1, "t": 2, "other": 3, "boundary": 4, "ignore": 5}
    assert [each.reason for each in result.left_out] == ["there is no mask of this name"]
    assert result.remarks[0] == "objects: 1 other in 1 images, 2 n in 2 images, 1 t in 1 images"
    labels = read_labels(result.folder / "labelsTr/a.png").data[0]
    assert [labels[10, 10], labels[10, 30], labels[10, 20], labels[55, 55], labels[40, 5]] == [2, 1, 4, 5, 0]
    classes = read_labels(result.folder / "classesTr/b.tif").data[0]
    assert [classes[10, 10], classes[10, 19], classes[10, 20], classes[40, 5]] == [3, 3, 1, 0]
    assert read_labels(result.folder / "instancesTr/b.tif").data.max() == 2


def test_coco(tmp_path: Path) -> None:
    write_images(tmp_path / "images", "x/a.png", "b.png", "c.png")
    images = [{"id": 1, "file_name": "x/a.png"}, {"id": 2, "file_name": "b.png"}]
    images.append({"id": 3, "file_name": "gone.png"})
    polygon = {"id": 5, "image_id": 1, "category_id": 0, "segmentation": [[2, 2, 20, 2, 20, 20, 2, 20]]}
    content = {"images": images, "annotations": [polygon], "categories": [{"id": 0, "name": "cell"}]}
    path = tmp_path / "coco.json"
    path.write_text(json.dumps(content))
    result, description = converted(tmp_path, path)
    assert description["labels"] == {"background": 0, "cell": 1, "boundary": 2}
    assert result.num_training == 2
    assert [(Path(each.path).name, each.reason) for each in result.left_out] == [
        ("c.png", "coco.json does not name it"),
        ("coco.json: gone.png", "there is no image of this name"),
    ]
    assert read_labels(result.folder / "instancesTr/x_a.tif").data.sum() == 18 * 18
    path.write_text(json.dumps(content | {"images": images[2:]}))
    with pytest.raises(DataError, match=r"none of the 1 images .* such as \['gone.png'\]"):
        convert_folder(tmp_path / "images", path, tmp_path / "Dataset802_B", instances=True)


def test_numbers_with_ignored_pixels(tmp_path: Path) -> None:
    write_images(tmp_path / "images", "a.png")
    (tmp_path / "masks").mkdir()
    numbers = squares(6)
    numbers[-4:] = 65535
    PillowImage.fromarray(numbers).save(tmp_path / "masks/a.png")
    result, description = converted(tmp_path, tmp_path / "masks", classes=["ignore=65535"])
    assert description["labels"] == {"background": 0, "interior": 1, "boundary": 2, "ignore": 3}
    labels = read_labels(result.folder / "labelsTr/a.png").data[0]
    np.testing.assert_array_equal(labels == 3, numbers == 65535)
    assert read_labels(result.folder / "instancesTr/a.tif").data.max() == 6


def test_volumes_of_objects(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    volume = np.zeros((8, SIZE, SIZE), np.uint16)
    volume[2:6] = squares(4)
    for folder, data in (("images", volume + 9), ("masks", volume)):
        tifffile.imwrite(tmp_path / folder / "a.tif", data, photometric="minisblack")
    result, _ = converted(tmp_path, tmp_path / "masks")
    found = read_labels(result.folder / "instancesTr/a.nii.gz").data[0]
    np.testing.assert_array_equal(found, volume)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"classes": ["cell=1"]}, "cell=1"),
        ({"classes": ["ignore=#ff0000"]}, "only ignore=N"),
        ({"background": ["255"]}, "no --background"),
        ({"threshold": 7}, "no --threshold"),
    ],
)
def test_options_that_do_not_go_together(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    write_images(tmp_path / "images", "a.png")
    with pytest.raises(UsageError, match=message):
        converted(tmp_path, tmp_path / "images", **options)


def test_a_class_with_a_name_that_is_taken(tmp_path: Path) -> None:
    write_images(tmp_path / "images", "a.png")
    (tmp_path / "masks").mkdir()
    shape = {"label": "boundary", "points": [[2, 2], [9, 2], [9, 9]]}
    (tmp_path / "masks/a.json").write_text(json.dumps({"shapes": [shape]}))
    with pytest.raises(DataError, match="called 'boundary'"):
        converted(tmp_path, tmp_path / "masks")
    (tmp_path / "masks/a.json").write_text(json.dumps({"shapes": []}))
    with pytest.raises(DataError, match="nothing but background"):
        converted(tmp_path, tmp_path / "masks")


def test_maps_of_numbers_are_told_without_the_option(tmp_path: Path) -> None:
    write_images(tmp_path / "images", "a.png", "b.png")
    (tmp_path / "masks").mkdir()
    for name, count in (("a", 12), ("b", 9)):
        PillowImage.fromarray(squares(count)).save(tmp_path / f"masks/{name}.png")
    folder = tmp_path / "Dataset801_Own"
    with pytest.raises(DataError, match=r"seem to number objects(.|\n)*--instances"):
        convert_folder(tmp_path / "images", tmp_path / "masks", folder)
    classes = [f"c{number}={number}" for number in range(1, 13)]
    assert convert_folder(tmp_path / "images", tmp_path / "masks", folder, classes=classes).num_training == 2
