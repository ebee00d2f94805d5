"""The evaluation of folders: scores, means, and every way in which the files may not fit."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage

from conformance.dicom_files import Slice
from conformance.dicom_segmentations import write_segmentation_file
from faults.fault_files import SPACING, save_volume
from swin_umamba.cli.main import main
from swin_umamba.errors import DataError, UsageError
from swin_umamba.evaluation.classes import LabelClasses
from swin_umamba.evaluation.evaluate import evaluate_folders
from swin_umamba.evaluation.metrics import MaskPair, dice
from swin_umamba.evaluation.results import Evaluation
from swin_umamba.pseudonyms import Pseudonyms, in_use

CLASSES = LabelClasses.from_mapping({"background": 0, "liver": 1, "spleen": 2, "tumour": 3})


def save_png(path: Path, labels: np.ndarray) -> None:
    path.parent.mkdir(exist_ok=True)
    PillowImage.fromarray(labels.astype(np.uint8)).save(path)


@pytest.fixture
def volumes(tmp_path: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Two cases in ``predicted`` and ``truth``; the second has no spleen, the tumour is in neither."""
    rng = np.random.default_rng(0)
    pairs = {}
    for case in ("a", "b"):
        prediction, truth = (rng.random((2, 5, 8, 9)) * 3).astype(np.uint8)
        if case == "b":
            prediction[prediction == 2] = truth[truth == 2] = 0
        save_volume(tmp_path / "predicted" / f"{case}.nii.gz", prediction)
        save_volume(tmp_path / "truth" / f"{case}.nii.gz", truth)
        pairs[case] = prediction, truth
    return pairs


def evaluate(folder: Path, **options: object) -> Evaluation:
    return evaluate_folders(folder / "predicted", folder / "truth", **options)


def test_scores_and_means(tmp_path: Path, volumes: dict[str, tuple[np.ndarray, np.ndarray]]) -> None:
    result = evaluate(tmp_path, classes=CLASSES, tolerance=1.2)
    assert result.class_names == ("liver", "spleen", "tumour")
    assert not result.failures
    assert not result.extra
    spacing = SPACING[::-1]
    for case, (prediction, truth) in zip(result.cases, volumes.values(), strict=True):
        for name, value in (("liver", 1), ("spleen", 2)):
            if case.case == "b" and name == "spleen":
                continue
            masks = prediction == value, truth == value
            assert case.classes[name]["dice"] == dice(*masks)
            assert case.classes[name]["nsd"] == pytest.approx(MaskPair(*masks, spacing, 1.2).nsd())
            assert case.classes[name]["hd95"] == pytest.approx(MaskPair(*masks, spacing).hd95())
    assert all(map(math.isnan, result.cases[1].classes["spleen"].values()))
    scores = [case.classes["liver"]["dice"] for case in result.cases]
    liver, spleen, tumour = (result.summary(name) for name in result.class_names)
    assert liver["dice"] == pytest.approx(sum(scores) / 2)
    assert (liver["cases"], liver["not_applicable"]) == (2, 0)
    assert spleen["dice"] == result.cases[0].classes["spleen"]["dice"]
    assert (spleen["cases"], spleen["not_applicable"]) == (1, 1)
    assert (tumour["dice"], tumour["nsd"], tumour["hd95"], tumour["cases"], tumour["not_applicable"]) == (
        None,
        None,
        None,
        0,
        2,
    )
    assert result.mean("dice") == pytest.approx((liver["dice"] + spleen["dice"]) / 2)


def test_workers_change_nothing(tmp_path: Path, volumes: object) -> None:
    alone = evaluate(tmp_path, classes=CLASSES).to_dict()
    assert evaluate(tmp_path, classes=CLASSES, num_workers=2).to_dict() == alone


def test_written_files(tmp_path: Path, volumes: object) -> None:
    result = evaluate(tmp_path, classes=CLASSES)
    json_path, csv_path = result.write(tmp_path / "new" / "scores")
    written = json.loads(json_path.read_text())
    assert written == {"schema": 2, **result.to_dict()}
    assert written["cases"]["b"]["spleen"] == {"dice": None, "nsd": None, "hd95": None}
    assert written["classes"]["spleen"]["not_applicable"] == 1
    rows = list(csv.DictReader(csv_path.open()))
    assert [(row["case"], row["class"]) for row in rows] == [
        (case, name) for case in "ab" for name in result.class_names
    ]
    assert float(rows[0]["dice"]) == result.cases[0].classes["liver"]["dice"]
    assert rows[4]["dice"] == rows[4]["hd95"] == ""


def test_classes_that_are_found(tmp_path: Path) -> None:
    labels = np.zeros((6, 6))
    labels[:2], labels[2:4] = 1, 10
    save_png(tmp_path / "truth" / "a.png", labels)
    save_png(tmp_path / "predicted" / "a.png", np.where(labels == 10, 2, labels))
    result = evaluate(tmp_path)
    assert result.class_names == ("1", "2", "10")
    scores = result.cases[0].classes
    assert (scores["1"]["dice"], scores["2"]["dice"], scores["10"]["dice"]) == (1, 0, 0)
    assert result.mean("dice") == pytest.approx(1 / 3)


def save_segments(path: Path, labels: np.ndarray, names: dict[int, str]) -> None:
    """Write a DICOM segmentation of one slice."""
    masks = [(number, Slice(labels == number)) for number in names]
    write_segmentation_file(path, masks, names)


def test_classes_are_called_as_the_segments_are(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = np.repeat([0, 1, 2, 10], 4).reshape(4, 4)
    truth, predicted = tmp_path / "truth", tmp_path / "predicted"
    save_segments(predicted / "a.dcm", labels, {1: "Liver", 2: "spleen", 10: "tumour"})
    save_segments(truth / "a.dcm", np.where(labels == 10, 2, labels), {1: "liver", 2: "spleen"})
    result = evaluate(tmp_path)
    assert result.class_names == ("liver", "spleen", "tumour")
    assert result.label_values == {"liver": (1,), "spleen": (2,), "tumour": (10,)}
    assert result.summary("spleen")["dice"] == pytest.approx(2 / 3)
    assert main(["evaluate", str(predicted), str(truth)]) == 0
    assert "\nliver " in capsys.readouterr().out

    # One without a name; another one would be called alike.
    save_segments(predicted / "a.dcm", labels, {1: "", 2: "spleen", 10: ""})
    assert evaluate(tmp_path).class_names == ("liver", "spleen", "10")
    assert not caplog.records
    for names, said in (
        ({1: "kidney", 2: "spleen"}, "1 is liver and kidney"),
        ({1: "", 2: "liver"}, "liver"),
    ):
        save_segments(predicted / "a.dcm", np.minimum(labels, 2), names)
        assert evaluate(tmp_path).class_names == ("1", "2")
        assert said in caplog.text
    assert evaluate(tmp_path, classes=LabelClasses({"a": (1,), "b": (2,)})).class_names == ("a", "b")
    save_segments(predicted / "a.dcm", labels, {1: "liver", 2: "spleen", 10: "Jane Doe"})
    with in_use(Pseudonyms(b"k" * 32)):
        assert evaluate(tmp_path).class_names == ("1", "2", "10")


def test_regions_and_ignored_voxels(tmp_path: Path) -> None:
    truth = np.array([[1, 1, 2, 2, 0, 9, 9, 9]] * 8)
    prediction = np.array([[1, 2, 2, 1, 0, 1, 2, 0]] * 8)
    save_png(tmp_path / "truth" / "a.png", truth)
    save_png(tmp_path / "predicted" / "a.png", prediction)
    classes = LabelClasses.from_mapping({"background": 0, "whole": [1, 2], "core": 2, "ignore": 9})
    scores = evaluate(tmp_path, classes=classes).cases[0].classes
    assert scores["whole"]["dice"] == 1
    assert scores["core"]["dice"] == 0.5


def test_formats_may_differ(tmp_path: Path) -> None:
    labels = np.tri(6, 7)
    save_png(tmp_path / "truth" / "a.png", labels)
    save_png(tmp_path / "predicted" / "a.bmp", labels)
    assert evaluate(tmp_path).mean("dice") == 1


def test_missing_predictions_are_all_listed(tmp_path: Path) -> None:
    for case in "abcd":
        save_png(tmp_path / "truth" / f"{case}.png", np.tri(6, 7))
    save_png(tmp_path / "predicted" / "b.png", np.tri(6, 7))
    with pytest.raises(DataError, match="3 of 4 cases have no prediction: a, c, d") as caught:
        evaluate(tmp_path)
    assert str(caught.value.hint).startswith("predict them too")
    save_png(tmp_path / "predicted" / "a (well 1).png", np.tri(6, 7))
    with pytest.raises(DataError, match=r"no reference has the name of a \(well 1\): .*convert has renamed"):
        evaluate(tmp_path)
    result = evaluate(tmp_path, missing="worst", classes=LabelClasses.from_values([1, 2]))
    assert [case.missing for case in result.cases] == [True, False, True, True]
    assert result.summary("1")["dice"] == result.summary("1")["nsd"] == 0.25
    assert result.summary("1")["hd95"] == pytest.approx(0.75 * np.hypot(6, 7))
    assert result.summary("2")["not_applicable"] == 4
    assert result.to_dict()["missing"] == ["a", "c", "d"]


def test_extra_predictions_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    save_png(tmp_path / "truth" / "a.png", np.tri(6, 7))
    for case in "ayz":
        save_png(tmp_path / "predicted" / f"{case}.png", np.tri(6, 7))
    result = evaluate(tmp_path)
    assert result.extra == ("y", "z")
    assert len(result.cases) == 1
    assert "y, z" in caplog.text


def test_one_bad_case_does_not_lose_the_others(tmp_path: Path) -> None:
    labels = np.tri(6, 7)
    for case in ("good", "shape", "value", "damaged", "negative"):
        save_png(tmp_path / "truth" / f"{case}.png", labels)
        save_png(tmp_path / "predicted" / f"{case}.png", labels)
    save_png(tmp_path / "predicted" / "shape.png", np.ones((6, 1)))
    save_png(tmp_path / "predicted" / "value.png", labels * 7)
    save_png(tmp_path / "truth" / "negative.png", labels * 5)
    damaged = tmp_path / "predicted" / "damaged.png"
    damaged.write_bytes(damaged.read_bytes()[:-20])
    result = evaluate(tmp_path, classes=LabelClasses.from_values([1, 2]))
    assert [case.case for case in result.cases] == ["good"]
    assert result.mean("dice") == 1
    errors = {failure.case: failure.error for failure in result.failures}
    assert set(errors) == {"shape", "value", "damaged", "negative"}
    assert "shape (6, 1) and (6, 7)" in errors["shape"]
    assert "not declared: 7" in errors["value"]
    assert str(tmp_path / "predicted" / "value.png") in errors["value"]
    assert "not declared: 5" in errors["negative"]
    assert str(tmp_path / "truth" / "negative.png") in errors["negative"]
    assert "cut off" in errors["damaged"]
    assert result.to_dict()["failed"] == errors


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"spacing": (1.5, 1.0, 5.0)}, "spacing"),
        ({"origin": (0, 3, 0)}, "origin"),
        ({"spacing": (-1.5, 1.0, 4.0)}, "direction"),
    ],
)
def test_predictions_on_another_grid(tmp_path: Path, change: dict, named: str) -> None:
    labels = np.ones((4, 5, 6), np.uint8)
    save_volume(tmp_path / "truth" / "a.nii.gz", labels)
    save_volume(tmp_path / "predicted" / "a.nii.gz", labels, **change)
    result = evaluate(tmp_path)
    assert not result.cases
    assert result.mean("dice") is None
    assert f": {named}" in result.failures[0].error


def test_two_files_of_one_case(tmp_path: Path) -> None:
    for suffix in (".png", ".bmp"):
        save_png(tmp_path / "truth" / f"a{suffix}", np.tri(6, 7))
    save_png(tmp_path / "predicted" / "a.png", np.tri(6, 7))
    with pytest.raises(DataError, match="two files"):
        evaluate(tmp_path)


@pytest.mark.parametrize("options", [{"tolerance": -1.0}, {"tolerance": float("nan")}, {"num_workers": 0}])
def test_wrong_options(tmp_path: Path, options: dict) -> None:
    with pytest.raises(UsageError):
        evaluate(tmp_path, **options)
