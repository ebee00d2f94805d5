"""Segmentations that name their values: a class has one value in all files of a data set."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from swin_umamba.data.datasets.folder import convert_folder
from swin_umamba.data.image import Image
from swin_umamba.data.image_io import check_label_names, read_labels, write_image
from swin_umamba.errors import DataError
from swin_umamba.evaluation.classes import LabelClasses
from swin_umamba.evaluation.evaluate import evaluate_folders
from swin_umamba.evaluation.evaluate_instances import evaluate_instances
from swin_umamba.evaluation.statistics import label_statistics

MAP = np.repeat(np.arange(4, dtype=np.uint8), 6).reshape(4, 2, 3)


def save(path: Path, names: dict[int, str], data: np.ndarray = MAP) -> Path:
    """Write a segmentation as 3D Slicer does."""
    lines = ["NRRD0004", "type: uint8", "dimension: 3", "sizes: 3 2 4", "encoding: raw", "spacings: 1 1 2"]
    for number, (value, name) in enumerate(names.items()):
        lines += [f"Segment{number}_LabelValue:={value}", f"Segment{number}_Name:={name}"]
    path.parent.mkdir(exist_ok=True)
    path.write_bytes("\n".join([*lines, "", ""]).encode() + data.astype(np.uint8).tobytes())
    return path


@pytest.fixture
def images(tmp_path: Path) -> Path:
    for name in "ab":
        image = Image.without_geometry(MAP[None].astype(np.int16) * 10, tmp_path)
        write_image(tmp_path / "images" / f"{name}.nrrd", image)
    return tmp_path / "images"


def test_names_of_segments_become_names_of_classes(tmp_path: Path, images: Path) -> None:
    save(tmp_path / "masks" / "a.seg.nrrd", {3: "Liver", 1: "cyst", 2: "background"})
    save(tmp_path / "masks" / "b.seg.nrrd", {1: "cyst ", 2: "Background", 3: "liver"})
    converted = convert_folder(images, tmp_path / "masks", tmp_path / "Dataset901_Segments")
    labels = json.loads((converted.folder / "dataset.json").read_text())["labels"]
    assert labels == {"background": 0, "cyst": 1, "value_2": 2, "Liver": 3}
    assert any("--classes names classes" in remark for remark in converted.remarks)
    np.testing.assert_array_equal(read_labels(converted.folder / "labelsTr" / "a.nii.gz").data[0], MAP)


@pytest.mark.parametrize(
    ("other", "why"),
    [
        ({1: "liver", 2: "cyst", 3: "vein"}, "'liver' has the value 1 here, and 'cyst' 1 in a.seg.nrrd"),
        (
            {1: "cyst", 2: "liver", 3: "stone", 5: "Vein"},
            "'stone' has the value 3 here, and 'vein' 3 in a.seg.nrrd",
        ),
    ],
)
def test_a_class_with_two_values_or_a_value_of_two_classes(
    tmp_path: Path, images: Path, other: dict[int, str], why: str
) -> None:
    """Slicer numbers segments in the order in which they were made, which differs from case to case."""
    save(tmp_path / "masks" / "a.seg.nrrd", {1: "cyst", 2: "liver", 3: "vein"})
    save(tmp_path / "masks" / "b.seg.nrrd", other)
    with pytest.raises(DataError, match=why):
        convert_folder(images, tmp_path / "masks", tmp_path / "Dataset901_Segments")
    # Names that mean nothing do not matter if the user says what the values are, unless they say otherwise.
    given = ["A=1", "B=2", "C=3"]
    assert (
        convert_folder(images, tmp_path / "masks", tmp_path / "Dataset902_Given", classes=given).num_training
        == 2
    )
    with pytest.raises(DataError, match="'cyst' has the value 1 in this file, not 3"):
        convert_folder(
            images, tmp_path / "masks", tmp_path / "Dataset903_Given", classes=["A=1", "B=2", "cyst=3"]
        )


def test_scores_and_statistics_of_a_class_under_another_value(tmp_path: Path) -> None:
    path = save(tmp_path / "truth" / "a.seg.nrrd", {1: "cyst", 2: "liver", 3: "vein"})
    save(tmp_path / "found" / "a.nrrd", {})
    wrong = LabelClasses.from_mapping({"background": 0, "Liver": 1, "cyst": 2, "other": 3})
    right = LabelClasses.from_mapping({"background": 0, "cyst": 1, "Liver": 2, "all": [1, 2, 3], "vein": [3]})
    evaluation = evaluate_folders(tmp_path / "found", tmp_path / "truth", classes=wrong)
    assert "'cyst' has the value 1 in this file, not 2" in evaluation.failures[0].error
    evaluation = evaluate_folders(tmp_path / "found", tmp_path / "truth", classes=right)
    assert evaluation.cases[0].classes["Liver"]["dice"] == 1.0
    labels = read_labels(path)
    with pytest.raises(DataError, match="not 2"):
        label_statistics(labels, None, wrong)
    check_label_names(labels, right.values)
    check_label_names(labels, {"vessels": (1,), "VEIN ": (1, 3)})


def test_classes_of_objects_are_called_as_the_class_maps_do(tmp_path: Path) -> None:
    for name in ("found", "true"):
        save(tmp_path / name / "a.nrrd", {})
    save(tmp_path / "found_classes" / "a.seg.nrrd", {1: "Round", 2: "flat"}, MAP.clip(max=1) + (MAP > 2))
    save(tmp_path / "true_classes" / "a.seg.nrrd", {1: "round", 2: "flat"}, MAP.clip(max=1) + (MAP > 1))
    folders = tmp_path / "found", tmp_path / "true"
    maps = tmp_path / "found_classes", tmp_path / "true_classes"
    result = evaluate_instances(*folders, class_maps=maps)
    assert result.class_names == ("round", "flat")
    counts = {name: (each.num_reference, each.num_prediction) for name, each in result.cases["a"].items()}
    assert counts == {"round": (1, 2), "flat": (2, 1)}
