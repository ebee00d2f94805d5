"""The protocols on folders: files, missing and damaged cases, results."""

from __future__ import annotations

import csv
import json
import multiprocessing
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image as PillowImage

import forked
from faults.fault_files import save_volume
from swin_umamba.data.instance_labels import instances_to_classes
from swin_umamba.errors import DataError, UsageError
from swin_umamba.evaluation.evaluate_protocol import ProtocolEvaluation, evaluate_protocol
from swin_umamba.evaluation.protocols import PROTOCOLS, find_protocol
from swin_umamba.evaluation.protocols.abdomen_mr import AbdomenMR
from swin_umamba.evaluation.protocols.endoscopy import Endoscopy
from swin_umamba.evaluation.protocols.microscopy import Microscopy


def save_png(path: Path, labels: np.ndarray) -> None:
    path.parent.mkdir(exist_ok=True)
    PillowImage.fromarray(labels.astype(np.uint8)).save(path)


def strip(value: int, width: int) -> np.ndarray:
    labels = np.zeros((20, 30), np.uint8)
    labels[5:15, 5 : 5 + width] = value
    return labels


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """``a`` with Dice 0.8, ``b`` with 1, and ``c`` without a prediction."""
    for case, predicted in (("a", strip(1, 10)), ("b", strip(1, 15)), ("c", None)):
        save_png(tmp_path / "truth" / f"{case}.png", strip(1, 15))
        if predicted is not None:
            save_png(tmp_path / "predicted" / f"{case}.png", predicted)
    return tmp_path


def evaluate(folder: Path, *args: object, **options: object) -> ProtocolEvaluation:
    return evaluate_protocol(folder / "predicted", folder / "truth", *args, **options)


def test_missing_predictions_are_refused_and_named(pictures: Path) -> None:
    with pytest.raises(DataError, match="1 of 3 cases have no prediction: c"):
        evaluate(pictures, Endoscopy())


def test_missing_predictions_get_the_worst_score_or_are_left_out_as_published(pictures: Path) -> None:
    result = evaluate(pictures, Endoscopy(), missing="worst")
    assert result.missing == ("c",)
    published, corrected = result.forms["as-published"], result.forms["corrected"]
    assert list(published.cases) == ["a", "b"]
    assert list(corrected.cases) == ["a", "b", "c"]
    assert published.mean("dice") == pytest.approx(1.8 / 2)
    assert corrected.mean("dice") == pytest.approx(1.8 / 3)
    assert corrected.cases["c"].scores["instruments"]["nsd"] == 0
    assert result.differences()["dice"] == pytest.approx(1.8 / 3 - 1.8 / 2)


def test_one_form(pictures: Path) -> None:
    save_png(pictures / "predicted" / "c.png", strip(2, 15))
    result = evaluate(pictures, Endoscopy(), forms=("corrected",))
    assert list(result.forms) == ["corrected"]
    assert result.differences() == {}
    assert result.metrics == ("dice", "nsd", "hd95")
    assert result.forms["corrected"].mean("dice") == pytest.approx(1.8 / 3)


def test_failed_cases_are_named(pictures: Path) -> None:
    save_png(pictures / "predicted" / "c.png", strip(9, 15))
    save_png(pictures / "predicted" / "b.png", strip(1, 15)[:-1])
    save_png(pictures / "predicted" / "z.png", strip(1, 15))
    result = evaluate(pictures, Endoscopy())
    assert {failure.case for failure in result.failures} == {"b", "c"}
    assert "shape (19, 30)" in result.failures[0].error
    assert "not declared: 9" in result.failures[1].error
    assert result.extra == ("z",)
    assert all(list(scores.cases) == ["a"] for scores in result.forms.values())


def test_volumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Means over organs of means over cases, with what is not applicable left out and counted."""
    monkeypatch.setattr(multiprocessing, "get_context", lambda method: forked.CONTEXT)
    liver = np.zeros((6, 10, 12), np.uint8)
    liver[1:5, 2:8, 2:8] = 1
    both = liver.copy()
    both[1:5, 2:8, 9:11] = 3
    for case, predicted, truth in (("a", liver, both), ("b", liver, liver)):
        save_volume(tmp_path / "predicted" / f"{case}.nii.gz", predicted)
        save_volume(tmp_path / "truth" / f"{case}.nii.gz", truth)
    result = evaluate(tmp_path, AbdomenMR(), num_workers=2)
    corrected, published = result.forms["corrected"], result.forms["as-published"]
    assert corrected.class_mean("liver", "dice") == 1
    assert corrected.class_mean("spleen", "dice") == 0
    assert corrected.mean("dice") == 0.5
    # Eleven organs in neither, and the spleen of case b: 1.
    assert published.mean("dice") == pytest.approx((1 + 0.5 + 11) / 13)
    summary = result.to_dict()["forms"]["corrected"]["classes"]
    assert summary["spleen"]["dice"] == {"mean": 0.0, "median": 0.0, "cases": 1, "not_applicable": 1}
    assert summary["stomach"]["nsd"] == {"mean": None, "median": None, "cases": 0, "not_applicable": 2}
    assert evaluate(tmp_path, AbdomenMR()).to_dict() == result.to_dict()


def test_predictions_on_another_grid_fail(tmp_path: Path) -> None:
    labels = np.ones((4, 5, 6), np.uint8)
    save_volume(tmp_path / "truth" / "a.nii.gz", labels)
    save_volume(tmp_path / "predicted" / "a.nii.gz", labels, spacing=(1, 1, 5))
    result = evaluate(tmp_path, AbdomenMR())
    assert "spacing" in result.failures[0].error
    assert result.forms["corrected"].mean("dice") is None
    assert result.differences() == {}


def test_pictures_are_no_volumes(pictures: Path) -> None:
    result = evaluate(pictures, AbdomenMR(), missing="worst")
    assert len(result.failures) == 3
    assert "3 axes, not of 2" in result.failures[0].error


def test_cells(tmp_path: Path) -> None:
    instances = np.zeros((40, 80), np.uint16)
    instances[8:32, 8:32], instances[8:32, 40:64] = 300, 2
    save_png(tmp_path / "predicted" / "a.png", instances_to_classes(instances))
    (tmp_path / "truth").mkdir()
    tifffile.imwrite(tmp_path / "truth" / "a_label.tiff", instances)
    result = evaluate(tmp_path, Microscopy())
    assert result.forms["as-published"].cases["a"].scores["cells"]["f1"] == 1
    assert set(result.forms["corrected"].cases["a"].scores["cells"].values()) == {1.0}
    save_png(tmp_path / "predicted" / "a.png", instances)  # 300 is 44 there
    assert "not declared: 44" in evaluate(tmp_path, Microscopy()).failures[0].error


def test_written_files(pictures: Path) -> None:
    result = evaluate(pictures, Endoscopy(), missing="worst")
    json_path, csv_path = result.write(pictures / "scores")
    written = json.loads(json_path.read_text())
    assert written == {"schema": 2, **result.to_dict()}
    assert written["protocol"] == "endoscopy"
    assert written["missing"] == ["c"]
    assert written["forms"]["as-published"]["mean"]["dice"] == pytest.approx(0.9)
    assert written["rules"][0]["as_published"]
    rows = list(csv.DictReader(csv_path.open()))
    assert [(row["form"], row["case"]) for row in rows] == [
        ("as-published", "a"),
        ("as-published", "b"),
        *(("corrected", case) for case in "abc"),
    ]
    assert rows[0]["hd95"] == ""
    assert float(rows[0]["dice"]) == 0.8
    assert float(rows[2]["hd95"]) == 5


def test_remarks_reach_the_report(tmp_path: Path) -> None:
    save_png(tmp_path / "truth" / "a.png", strip(0, 1))
    save_png(tmp_path / "predicted" / "a.png", strip(0, 1))
    data = evaluate(tmp_path, Endoscopy()).to_dict()
    assert "stop here" in data["forms"]["as-published"]["remarks"]["a"][0]
    assert data["forms"]["corrected"]["remarks"] == {}
    assert data["forms"]["as-published"]["mean"] == {"dice": None, "nsd": None}


def test_every_protocol_says_where_its_forms_differ() -> None:
    for name in PROTOCOLS:
        protocol = find_protocol(name)()
        assert protocol.name == name
        assert len(protocol.rules) >= 4
        assert all(rule.as_published != rule.corrected for rule in protocol.rules)


@pytest.mark.parametrize("options", [{"forms": ()}, {"num_workers": 0}])
def test_wrong_options(pictures: Path, options: dict) -> None:
    with pytest.raises(UsageError):
        evaluate(pictures, Endoscopy(), **options)
