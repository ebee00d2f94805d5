"""One line for each finished epoch, whatever an earlier run has left."""

from __future__ import annotations

import json
import logging
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nnunetv2.utilities.label_handling.label_handling import LabelManager

from swin_umamba.nnunet.record import metrics_file
from swin_umamba.nnunet.record.metrics_file import MetricsFile, names_of_classes

CLASSES = ("liver", "Niere ü")


def history(num_epochs: int, *, started: float = 0.0) -> dict[str, list[Any]]:
    """What nnU-Net's logger holds after some epochs of ten seconds; the second class is never there."""
    epochs = range(num_epochs)
    return {
        "mean_fg_dice": [np.float64(0.1 * epoch) for epoch in epochs],
        "ema_fg_dice": [np.float64(0.01 * epoch) for epoch in epochs],
        "dice_per_class_or_region": [[np.float64(0.1 * epoch), np.float64(math.nan)] for epoch in epochs],
        "train_losses": [np.float32(1.5 - epoch) for epoch in epochs],
        "val_losses": [np.float32(math.inf) for epoch in epochs],
        "lrs": [1e-4 for epoch in epochs],
        "epoch_start_timestamps": [started + 10.0 * epoch for epoch in epochs],
        "epoch_end_timestamps": [started + 10.0 * epoch + 9.9994 for epoch in epochs],
    }


def strictly(text: str) -> list[dict[str, Any]]:
    """Read lines as a parser does that knows no NaN."""

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    assert text == "" or text.endswith("\n")
    return [json.loads(line, parse_constant=refuse) for line in text.splitlines()]


def test_the_line_of_an_epoch(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    file = MetricsFile(path, CLASSES)
    file.start(history(0), 0)
    assert path.read_text() == ""
    file.add(history(1), 2)
    (line,) = strictly(path.read_text(encoding="utf-8"))
    assert line == {
        "schema": 2,
        "epoch": 1,
        "train_loss": 1.5,
        "validation_loss": None,
        "pseudo_dice": 0.0,
        "pseudo_dice_per_class": {"liver": 0.0, "Niere ü": None},
        "ema_pseudo_dice": 0.0,
        "learning_rate": 1e-4,
        "seconds": 9.999,
        "skipped_steps": 2,
        "finished": "1970-01-01T00:00:09.999+00:00",
    }


def test_a_killed_run_goes_on_with_one_line_for_each_epoch(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    first = MetricsFile(path, CLASSES)
    first.start(history(0), 0)
    for epoch in range(1, 5):
        first.add(history(epoch), epoch)
    path.write_text(path.read_text(encoding="utf-8") + '{"epoch": 5, "train_l', encoding="utf-8")
    # The newest checkpoint is of epoch 3.
    resumed = MetricsFile(path, CLASSES)
    resumed.start(history(3), 3)
    assert [line["skipped_steps"] for line in strictly(path.read_text(encoding="utf-8"))] == [1, 2, 3]
    retrained = history(3)
    for name, values in history(1, started=1000.0).items():
        retrained[name] = retrained[name] + values
    resumed.add(retrained, 7)
    lines = strictly(path.read_text(encoding="utf-8"))
    assert lines == [{"schema": 2, **line} for line in resumed.lines]
    assert [(line["epoch"], line["skipped_steps"]) for line in lines] == [(1, 1), (2, 2), (3, 3), (4, 7)]
    assert lines[-1]["finished"] == "1970-01-01T00:16:49.999+00:00"


@pytest.mark.parametrize("old", [None, b"\xff\x00", b'{"epoch": 1}\n[]\n1\n' + b"[" * 100_000])
def test_what_only_a_lost_file_knew_is_null(tmp_path: Path, old: bytes | None) -> None:
    path = tmp_path / "metrics.jsonl"
    if old is not None:
        path.write_bytes(old)
    MetricsFile(path, CLASSES).start(history(3), 4)
    lines = strictly(path.read_text(encoding="utf-8"))
    assert [line["skipped_steps"] for line in lines] == [None, None, 4]
    assert [line["epoch"] for line in lines] == [1, 2, 3]


def test_lines_of_another_run_count_for_nothing(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    other = MetricsFile(path, CLASSES)
    other.start(history(0), 0)
    other.add(history(1, started=77.0), 9)
    MetricsFile(path, CLASSES).start(history(2), 0)
    assert [line["skipped_steps"] for line in strictly(path.read_text(encoding="utf-8"))] == [None, 0]


def test_a_line_that_could_not_be_written_is_made_up_for(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "metrics.jsonl"
    file = MetricsFile(path, CLASSES)
    file.start(history(0), 0)
    append_line = metrics_file.append_line
    monkeypatch.setattr(
        metrics_file, "append_line", lambda path, line: append_line(path / "not a folder", line)
    )
    with caplog.at_level(logging.WARNING):
        file.add(history(1), 0)
    assert "cannot append to the file" in caplog.text
    assert path.read_text() == ""
    file.add(history(2), 0)
    assert [line["epoch"] for line in strictly(path.read_text(encoding="utf-8"))] == [1, 2]


@pytest.mark.parametrize(
    ("labels", "order", "expected"),
    [
        ({"spleen": 2, "background": 0, "liver": 1, "ignore": 3}, None, ("liver", "spleen")),
        ({"background": 0, "whole": [1, 2], "core": [2], "rim": 1}, [1, 2, 3], ("whole", "core", "rim")),
    ],
)
def test_names_are_in_the_order_of_the_numbers(
    labels: dict[str, Any], order: list[int] | None, expected: tuple[str, ...]
) -> None:
    assert names_of_classes(labels, LabelManager(labels, order)) == expected
