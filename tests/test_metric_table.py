"""A metric is one entry of the table and one method."""

from __future__ import annotations

import json
import multiprocessing
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage

import forked
from swin_umamba.cli.evaluate import table
from swin_umamba.compare.table import describe_difference
from swin_umamba.errors import UsageError
from swin_umamba.evaluation.bootstrap import Interval
from swin_umamba.evaluation.evaluate import evaluate_folders
from swin_umamba.evaluation.instances import Overlap, score_instances
from swin_umamba.evaluation.metrics import MaskPair
from swin_umamba.extensions import load_module
from swin_umamba.metric_table import METRICS, Metric, metrics_of, register_metric
from swin_umamba.report.contents import Report
from swin_umamba.report.html import report_html
from swin_umamba.summary.scores import scores_of_evaluation, summarize


def test_what_is_measured_has_a_method() -> None:
    for measured, what in ((MaskPair, "masks"), (Overlap, "instances")):
        assert metrics_of(what)
        for key in metrics_of(what):
            assert getattr(measured, key).__doc__.startswith("Return ")


def test_a_new_metric_of_masks_is_nowhere_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made_up = Metric("excess", "Excess", "masks", unit="px", lower_is_better=True)
    monkeypatch.setitem(METRICS, "excess", made_up)
    excess = lambda pair: float((pair.prediction & ~pair.reference).sum())  # noqa: E731
    monkeypatch.setattr(MaskPair, "excess", excess, raising=False)
    for folder, width in (("predicted", 6), ("truth", 4)):
        (tmp_path / folder).mkdir()
        labels = np.zeros((8, 9), np.uint8)
        labels[2:5, 1 : 1 + width] = 1
        PillowImage.fromarray(labels).save(tmp_path / folder / "a.png")
    evaluation = evaluate_folders(tmp_path / "predicted", tmp_path / "truth")
    paths = evaluation.write(tmp_path)
    assert evaluation.mean("excess") == 6
    assert paths[1].read_text().splitlines() == ["case,class,dice,nsd,hd95,excess", "a,1,0.8,1.0,2.0,6.0"]
    header, row = table(evaluation).splitlines()[:2]
    assert (header.split()[3:6], row.split()[4:]) == (["HD95", "mm", "Excess"], ["6.00", "1", "0"])
    scores = scores_of_evaluation(json.loads(paths[0].read_text()), where=paths[0]).scores
    assert scores.metrics[-1] == made_up
    page = report_html(Report("Report", {"1": 1}, scores=scores, summary=summarize(scores)))
    assert "Excess of each case" in page
    assert describe_difference(Interval(2.0, 1.0, 3.0), made_up) == "worse: +2.00 [+1.00, +3.00]"


def test_a_new_metric_of_instances(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(METRICS, "missed", Metric("missed", "Missed", "instances", unit="instances"))
    missed = lambda overlap: overlap.num_reference - overlap.matches[0]  # noqa: E731
    monkeypatch.setattr(Overlap, "missed", missed, raising=False)
    assert score_instances(np.zeros((4, 4), int), np.eye(4, dtype=int))["missed"] == 1


def test_a_metric_that_nobody_knows_is_shown(tmp_path: Path) -> None:
    content = {"classes": {"a": {}}, "cases": {"c": {"a": {"dice": 0.5, "later": -3.0}}}}
    content |= {"missing": [], "failed": {}}
    scores = scores_of_evaluation(content, where=tmp_path).scores
    assert [metric.title for metric in scores.metrics] == ["Dice", "later"]
    assert scores.values.tolist() == [[[0.5, -3.0]]]
    assert "later of each case" in report_html(Report("Report", {}, scores=scores, summary=summarize(scores)))


def excess(pair: MaskPair) -> float:
    return float((pair.prediction & ~pair.reference).sum())


@pytest.mark.parametrize("workers", [1, 2])
def test_a_metric_of_the_users_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int) -> None:
    """One file, which new processes import, too."""
    (tmp_path / "own_metric.py").write_text(
        "from swin_umamba import register_metric\n"
        "from swin_umamba.metric_table import Metric\n"
        "def excess(pair): return float((pair.prediction & ~pair.reference).sum())\n"
        "register_metric(Metric('excess', 'Excess', 'masks', 'px', function=excess))\n"
    )
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(multiprocessing, "get_context", lambda method: forked.CONTEXT)
    for folder in ("predicted", "truth"):
        (tmp_path / folder).mkdir()
        for case in ("a", "b"):
            labels = np.zeros((8, 9), np.uint8)
            labels[2:5, 1 : 7 if folder == "predicted" else 5] = 1
            PillowImage.fromarray(labels).save(tmp_path / folder / f"{case}.png")
    load_module(str(tmp_path / "own_metric.py"), "x")
    try:
        evaluation = evaluate_folders(tmp_path / "predicted", tmp_path / "truth", num_workers=workers)
        assert evaluation.mean("excess") == 6
    finally:
        del METRICS["excess"], sys.modules["own_metric"]


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        (Metric("dice", "Dice", "masks", function=excess), "there is a metric 'dice' already"),
        (Metric("ex-cess", "Excess", "masks", function=excess), "cannot be measured"),
        (Metric("excess", "Excess", "masks"), "cannot be measured"),
        (Metric("excess", "Excess", "files", function=excess), "cannot be measured"),
        (Metric("excess", "Excess", "masks", function=lambda pair: 0.0), "to other processes"),
    ],
)
def test_what_is_no_metric_of_the_users_own(metric: Metric, message: str) -> None:
    before = dict(METRICS)
    with pytest.raises(UsageError, match=message):
        register_metric(metric)
    assert before == METRICS
