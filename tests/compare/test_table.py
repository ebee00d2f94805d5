"""The table on canned results."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from swin_umamba.compare.complexity import Complexity
from swin_umamba.compare.results import RunResult, score_array
from swin_umamba.compare.table import Table, describe_difference, make_table
from swin_umamba.errors import DataError, UsageError
from swin_umamba.evaluation.bootstrap import Interval
from swin_umamba.evaluation.results import plain_scores
from swin_umamba.metric_table import METRICS

MEBIBYTE = 2**20


def result(network: str, seed: int, shift: float) -> RunResult:
    cost = {
        "median_step_seconds": 0.5 + seed,
        "seconds": 10.0,
        "prediction_seconds": 3.0 + seed,
        "steps": 20 + seed,
        "peak_memory_bytes": (100 + seed) * MEBIBYTE,
    }
    scores = {
        f"case{number}": {
            "a": {"dice": 0.5 + 0.05 * number + shift, "hd95": 9.0 - number - 10 * shift},
            "b": {"dice": None if number else 0.25 + shift, "hd95": None if number else 4.0 - 10 * shift},
        }
        for number in range(4)
    }
    return RunResult(network, seed, cost, scores)


def table(seeds: tuple[int, ...] = (0, 1)) -> Table:
    shifts = {"good": 0.1, "base": 0.0, "same": 0.0}
    return make_table(
        {name: [result(name, seed, shift) for seed in seeds] for name, shift in shifts.items()},
        {name: Complexity(27_497_720, 18_910_000_000) for name in shifts},
        {name: name.title() for name in shifts},
        baseline="base",
        caption=["Data: canned."],
    )


def test_values() -> None:
    good, base, same = table().rows
    assert base.scores == pytest.approx({"dice": (0.575 + 0.25) / 2, "hd95": (7.5 + 4) / 2})
    assert base.differences == {}
    for metric, expected in (("dice", 0.1), ("hd95", -1.0)):
        interval = good.differences[metric]
        assert interval is not None
        assert (interval.difference, interval.low, interval.high) == pytest.approx([expected] * 3)
    assert same.differences["dice"] == Interval(0.0, 0.0, 0.0)
    assert (base.step_seconds, base.steps, base.memory_bytes) == (1.0, 20.5, 101 * MEBIBYTE)
    assert base.prediction_seconds == 3.5


def test_markdown() -> None:
    lines = table().to_markdown().splitlines()
    assert lines[0].startswith("| network | parameters | GMACs | Dice | Dice against base | HD95 |")
    assert lines[2] == (
        "| Good | 27.5M | 18.91 | 0.5125 | better: +0.1000 [+0.1000, +0.1000] | 4.75 | "
        "better: -1.00 [-1.00, -1.00] | 1.000 | 20 | 3.5 | 101 |"
    )
    assert "| Base | 27.5M | 18.91 | 0.4125 | baseline | 5.75 | baseline |" in lines[3]
    assert lines[4].count("no difference") == 2
    assert lines[6] == "- Data: canned."
    assert "paired bootstrap over 4 cases and 2 seeds" in lines[7]


def test_json_and_csv_hold_the_same() -> None:
    written = json.loads(json.dumps(table().to_dict(), allow_nan=False))
    rows = list(csv.DictReader(io.StringIO(table().to_csv())))
    for row, line in zip(written["rows"], rows, strict=True):
        assert float(line["dice"]) == row["scores"]["dice"]
        assert int(line["parameters"]) == row["parameters"]
    assert float(rows[0]["dice_low"]) == written["rows"][0]["differences"]["dice"]["low"]
    assert rows[1]["dice_low"] == ""
    assert written["rows"][0]["differences"]["dice"]["no_difference"] is False
    assert written["rows"][2]["differences"]["dice"]["no_difference"] is True


@pytest.mark.parametrize(
    ("interval", "metric", "words"),
    [
        (Interval(0.02, 0.01, 0.03), "dice", "better: +0.0200 [+0.0100, +0.0300]"),
        (Interval(0.02, 0.01, 0.03), "hd95", "worse: +0.02 [+0.01, +0.03]"),
        (Interval(0.02, -0.01, 0.05), "dice", "no difference [-0.0100, +0.0500]"),
        (None, "dice", "too few cases to tell"),
    ],
)
def test_differences_in_words(interval: Interval | None, metric: str, words: str) -> None:
    assert describe_difference(interval, METRICS[metric]) == words


def test_refuses_what_cannot_be_compared() -> None:
    sizes = {name: Complexity(1, 1) for name in ("a", "b")}
    titles = {"a": "A", "b": "B"}
    a, b = result("a", 0, 0.0), result("b", 0, 0.0)
    with pytest.raises(UsageError, match="none of the networks compared"):
        make_table({"a": [a], "b": [b]}, sizes, titles, baseline="c", caption=[])
    with pytest.raises(UsageError, match="different seeds"):
        make_table({"a": [a], "b": [result("b", 1, 0)]}, sizes, titles, baseline="a", caption=[])
    fewer = RunResult("b", 0, b.cost, {"case0": b.scores["case0"]})
    with pytest.raises(DataError, match="seed 0, was scored on other cases"):
        make_table({"a": [a], "b": [fewer]}, sizes, titles, baseline="a", caption=[])


def test_results_survive_the_disk(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    result("a", 3, 0.1).write(path)
    assert RunResult.read(path) == result("a", 3, 0.1)
    assert score_array([RunResult.read(path)], "dice").shape == (1, 4, 2)
    path.write_text('{"network": "a"}')
    with pytest.raises(DataError, match="cannot be read"):
        RunResult.read(path)


def test_nan_is_stored_as_none() -> None:
    assert plain_scores({"a": {"dice": float("nan"), "nsd": 0.5}}) == {"a": {"dice": None, "nsd": 0.5}}
