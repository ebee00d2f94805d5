"""Folders of instance maps: pairs of files, means, sums over images, classes of objects, what cannot be."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
import tifffile

from swin_umamba.errors import DataError, UsageError
from swin_umamba.evaluation.classes import LabelClasses
from swin_umamba.evaluation.evaluate_instances import ALL_OBJECTS, evaluate_instances
from swin_umamba.evaluation.instances import class_of_objects, score_instances


def save(folder: Path, name: str, labels: np.ndarray) -> None:
    folder.mkdir(exist_ok=True)
    tifffile.imwrite(folder / name, labels)


def squares(*numbers: int, dtype: type = np.uint16) -> np.ndarray:
    """Objects of 4 x 4 pixels in a row, with these numbers; 0 leaves a gap."""
    labels = np.zeros((6, 6 * len(numbers)), dtype)
    for place, number in enumerate(numbers):
        labels[1:5, 6 * place + 1 : 6 * place + 5] = number
    return labels


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Of three and one objects, one and one are found; one is made up; and an empty pair."""
    true, predicted = tmp_path / "true", tmp_path / "predicted"
    save(true, "a_label.tiff", squares(7, 2, 900, 0))
    save(predicted, "a_cp_masks.tif", squares(1, 0, 0, 70_000, dtype=np.uint32))
    save(true, "b.tif", squares(1, 0, 0, 0))
    save(predicted, "b.tif", squares(5, 0, 0, 0))
    for folder in (true, predicted):
        save(folder, "c.tif", squares(0, 0, 0, 0))
    return predicted, true


def test_means_of_images_and_sums_of_objects(folders: tuple[Path, Path]) -> None:
    result = evaluate_instances(*folders)
    assert result.class_names == (ALL_OBJECTS,)
    found = result.cases["a"][ALL_OBJECTS]
    assert (found.num_reference, found.num_prediction, found.matches) == (3, 2, (1,) * 10)
    summary = result.to_dict()["classes"][ALL_OBJECTS]
    assert (summary["cases"], summary["not_applicable"]) == (2, 1)
    assert (summary["num_reference"], summary["num_prediction"]) == (4, 3)
    assert summary["mean"]["f1"] == pytest.approx((2 / 5 + 1) / 2)
    assert summary["mean"]["ap"] == pytest.approx((1 / 4 + 1) / 2)
    assert summary["ap_at"]["0.95"] == pytest.approx((1 / 4 + 1) / 2)
    assert summary["pooled"]["f1"] == pytest.approx(4 / 7)
    assert summary["pooled"]["ap"] == summary["pooled"]["ap_50_95"] == pytest.approx(2 / 5)
    assert summary["pooled"]["precision"] == pytest.approx(2 / 3)
    assert summary["pooled"]["recall"] == pytest.approx(2 / 4)
    assert summary["count_error"] == pytest.approx(1 / 3)
    predicted, true = (tifffile.imread(next(folder.glob("a*"))) for folder in folders)
    assert found.scores == score_instances(predicted, true)


def test_files(folders: tuple[Path, Path], tmp_path: Path) -> None:
    json_path, csv_path = evaluate_instances(*folders).write(tmp_path / "scores")
    written = json.loads(json_path.read_text())
    assert written["cases"]["c"][ALL_OBJECTS]["f1"] is None
    assert written["cases"]["c"][ALL_OBJECTS]["num_prediction"] == 0
    rows = list(csv.DictReader(csv_path.open()))
    assert [(row["case"], row["num_reference"], row["ap"]) for row in rows] == [
        ("a", "3", "0.25"),
        ("b", "1", "1.0"),
        ("c", "0", ""),
    ]


def test_missing_and_left_over(folders: tuple[Path, Path]) -> None:
    predicted, true = folders
    (predicted / "b.tif").rename(predicted / "d.tif")
    with pytest.raises(DataError, match="1 of 3 cases have no prediction: b"):
        evaluate_instances(predicted, true)
    result = evaluate_instances(predicted, true, missing="worst")
    assert (result.missing, result.extra) == (("b",), ("d",))
    assert result.cases["b"][ALL_OBJECTS].scores["recall"] == 0
    assert result.pooled(ALL_OBJECTS)["recall"] == pytest.approx(1 / 4)


def test_classes_of_objects(folders: tuple[Path, Path], tmp_path: Path) -> None:
    """The second object is predicted where it is, and of another class."""
    predicted, true = folders
    save(predicted, "a_cp_masks.tif", squares(1, 2, 0, 0))
    for folder, classes in (("of_true", (1, 1, 2, 0)), ("of_predicted", (1, 2, 0, 0))):
        save(tmp_path / folder, "a.tif", squares(*classes, dtype=np.uint8))
        for name in ("b.tif", "c.tif"):
            save(tmp_path / folder, name, squares(1, 0, 0, 0, dtype=np.uint8))
    maps = (tmp_path / "of_predicted", tmp_path / "of_true")
    result = evaluate_instances(predicted, true, class_maps=maps)
    assert result.class_names == ("1", "2")
    one, two = result.cases["a"]["1"], result.cases["a"]["2"]
    assert (one.num_reference, one.num_prediction, one.matches[0]) == (2, 1, 1)
    assert (two.num_reference, two.num_prediction, two.matches[0]) == (1, 1, 0)
    assert np.isnan(result.cases["b"]["2"].scores["f1"])
    names = LabelClasses.from_mapping({"background": 0, "round": 1, "both": [1, 2]})
    named = evaluate_instances(predicted, true, class_maps=maps, classes=names)
    assert named.cases["a"]["round"] == one
    assert named.cases["a"]["both"].matches[0] == 2


def test_where_the_truth_is_unknown_nothing_counts(tmp_path: Path) -> None:
    """Of four predicted objects one is found, one half found, one in the unknown part, one mostly there."""
    true, predicted = squares(1, 2, 0, 0), squares(1, 2, 3, 4)
    unknown = np.zeros(true.shape, bool)
    unknown[:, 9:18] = True  # half of the second, and the whole third
    unknown[:, 19:22] = True  # three quarters of the fourth
    for name, labels in (("true", true), ("predicted", predicted)):
        save(tmp_path / name, "a.tif", labels)
        classes = (labels > 0).astype(np.uint8)
        save(tmp_path / f"{name}_classes", "a.tif", np.where(unknown & (name == "true"), 9, classes))
    folders = tmp_path / "predicted", tmp_path / "true"
    maps = tmp_path / "predicted_classes", tmp_path / "true_classes"
    classes = LabelClasses.from_mapping({"background": 0, "cell": 1, "ignore": 9})
    cell = evaluate_instances(*folders, class_maps=maps, classes=classes).cases["a"]["cell"]
    assert (cell.num_reference, cell.num_prediction, cell.matches[0]) == (2, 2, 2)
    without = LabelClasses.from_mapping({"background": 0, "cell": 1, "unknown": 9})
    cell = evaluate_instances(*folders, class_maps=maps, classes=without).cases["a"]["cell"]
    assert (cell.num_prediction, cell.matches[0]) == (4, 2)


def test_class_maps_that_are_none(folders: tuple[Path, Path], tmp_path: Path) -> None:
    save(tmp_path / "maps", "a.tif", squares(1, 1, 1, 9, dtype=np.uint8))
    with pytest.raises(DataError, match="2 cases have no class map: b, c"):
        evaluate_instances(*folders, class_maps=(tmp_path / "maps", tmp_path / "maps"))
    for name in ("b.tif", "c.tif"):
        save(tmp_path / "maps", name, squares(1, 0, 0, 0, dtype=np.uint8))
    classes = LabelClasses.from_values([1])
    with pytest.raises(UsageError, match="hold no classes"):
        evaluate_instances(*folders, classes=classes)
    result = evaluate_instances(*folders, class_maps=(tmp_path / "maps", tmp_path / "maps"), classes=classes)
    assert [failure.case for failure in result.failures] == ["a"]
    assert "not declared: 9" in result.failures[0].error


def test_majority() -> None:
    """Against counting the pixels of each object one by one."""
    rng = np.random.default_rng(0)
    instances = rng.integers(0, 12, (3, 20, 20)) * 1000
    labels = rng.integers(0, 4, instances.shape).astype(np.uint8)
    labels[instances == 3000] = 0
    result = class_of_objects(instances, labels)
    assert (result.dtype, result.shape) == (np.uint8, labels.shape)
    for number in np.unique(instances):
        counts = np.bincount(labels[instances == number], minlength=4)
        counts[0] = 0
        expected = 0 if number in (0, 3000) else int(counts.argmax())
        assert set(result[instances == number]) == {expected}


def test_damaged_cases_fail_alone(folders: tuple[Path, Path]) -> None:
    predicted, true = folders
    save(predicted, "a_cp_masks.tif", squares(1, 2, 3))
    save(predicted, "b.tif", squares(1, 0, 0, 0).astype(np.float32) + 0.5)
    result = evaluate_instances(predicted, true)
    assert list(result.cases) == ["c"]
    assert [failure.case for failure in result.failures] == ["a", "b"]


def test_volumes(tmp_path: Path) -> None:
    volume = np.zeros((8, 9, 10), np.int32)
    volume[1:4, 2:5, 3:6], volume[5:8, 2:5, 3:6] = 300_000, 4
    for folder in ("true", "predicted"):
        (tmp_path / folder).mkdir()
        nibabel.save(nibabel.Nifti1Image(volume, np.diag([1, 1, 3, 1])), tmp_path / folder / "a.nii.gz")
        volume[5:8] = 0  # missed
    result = evaluate_instances(tmp_path / "predicted", tmp_path / "true", num_workers=1)
    assert result.cases["a"][ALL_OBJECTS].scores["ap"] == 0.5
