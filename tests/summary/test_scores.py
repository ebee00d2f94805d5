"""Scores out of files, and their intervals."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from swin_umamba.errors import DataError
from swin_umamba.summary.scores import (
    joined,
    read_results,
    scores_of_evaluation,
    scores_of_validation,
    summarize,
)

HERE = Path("metrics.json")
METRICS = {
    "tolerance_mm": 2.0,
    "classes": {"liver": {}, "spleen": {}},
    "cases": {
        "a": {"liver": {"dice": 0.5, "hd95": 3.0}, "spleen": {"dice": None, "hd95": None}},
        "b": {"liver": {"dice": 0.7, "hd95": 1.0}, "spleen": {"dice": 1.0, "hd95": 0.0}},
    },
    "missing": ["a"],
    "failed": {"c": "damaged"},
}


def test_an_evaluation() -> None:
    read = scores_of_evaluation(METRICS, where=HERE)
    assert [metric.title for metric in read.scores.metrics] == ["Dice", "HD95"]
    assert read.scores.cases == ("a", "b")
    np.testing.assert_array_equal(read.scores.values[:, :, 0], [[0.5, math.nan], [0.7, 1.0]])
    assert read.failures == (("c", "damaged"), ("a", "it has no prediction and was scored as empty"))
    assert read.scores.label_values == {}  # a file of before
    named = {**METRICS, "label_values": {"liver": [1], "spleen": [2, 3]}}
    assert scores_of_evaluation(named, where=HERE).scores.label_values == {"liver": 1}
    numbers = {**METRICS, "classes": {"1": {}, "0": {}, "x": {}}}
    assert scores_of_evaluation(numbers, where=HERE).scores.label_values == {"1": 1}
    liver, spleen, mean = summarize(read.scores)
    assert (liver.num_cases, spleen.num_cases) == (2, 1)
    assert liver.means == pytest.approx((0.6, 2.0))
    assert liver.intervals[0] == pytest.approx((0.5, 0.7))
    assert spleen.intervals[0] is None
    assert mean.means[0] == pytest.approx(0.8)


def test_a_protocol_shows_its_corrected_form() -> None:
    form = {"classes": {"cell": {}}, "cases": {"a": {"cell": {"f1": 0.5}}}}
    other = {"classes": {"cell": {}}, "cases": {"a": {"cell": {"f1": 0.9}}}}
    content = {
        "protocol": "x",
        "forms": {"as-published": other, "corrected": form},
        "missing": [],
        "failed": {},
    }
    scores = scores_of_evaluation(content, where=HERE).scores
    assert scores.heading == "Protocol x, corrected"
    assert scores.values.tolist() == [[[0.5]]]


def test_a_validation_and_several_folds() -> None:
    def summary(case: str, dice: float) -> dict[str, object]:
        metrics = {"1": {"Dice": dice, "IoU": 0.5, "TP": 3}, "(1, 2)": {"Dice": math.nan, "IoU": math.nan}}
        per_case = [{"metrics": metrics, "prediction_file": f"/x/{case}.nii.gz"}]
        return {"metric_per_case": per_case, "mean": {"1": {}, "(1, 2)": {}}}

    names = {"1": "liver", "(1, 2)": "all"}
    parts = [
        scores_of_validation(summary(case, dice), names, where=HERE)
        for case, dice in (("a", 0.4), ("b", 0.8))
    ]
    both = joined(parts)
    assert both.cases == ("a", "b")
    assert both.class_names == ("liver", "all")
    assert both.values[:, 0, 0].tolist() == [0.4, 0.8]
    with pytest.raises(DataError, match="different classes"):
        joined([both, scores_of_validation(summary("c", 1.0), {}, where=HERE)])


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"cases": 3},
        {"forms": {}},
        {**METRICS, "cases": {"a": 1}},
        {**METRICS, "classes": [None]},
        {**METRICS, "tolerance_mm": 10**400},
        {**METRICS, "label_values": {"liver": ["one"]}},
        {**METRICS, "label_values": [1]},
    ],
)
def test_other_content_is_refused(content: dict[str, object]) -> None:
    with pytest.raises(DataError, match="not a result of an evaluation"):
        scores_of_evaluation(content, where=HERE)
    with pytest.raises(DataError, match="not a summary"):
        scores_of_validation(content, {}, where=HERE)


@pytest.mark.parametrize("text", ["[1]", "{", "[" * 100_000])
def test_damaged_files(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(DataError):
        read_results(tmp_path / "a.json")
