from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
import torch

from swin_umamba.errors import CheckpointError
from swin_umamba.inference import calibration_file
from swin_umamba.inference.calibration_file import (
    CALIBRATION_FILE,
    read_calibration,
    read_temperature,
    weights_hash,
    write_calibration,
)

WEIGHTS = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.tensor(1, dtype=torch.int64)}


def test_what_was_written_is_read(tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoint_final.pth"
    assert read_temperature(checkpoint, WEIGHTS) is None
    path = write_calibration(checkpoint, WEIGHTS, 1.25, {"pixels": 7})
    assert path == tmp_path / CALIBRATION_FILE
    assert read_temperature(checkpoint, WEIGHTS) == 1.25
    assert read_calibration(path)["pixels"] == 7
    assert read_calibration(path)["checkpoint"] == "checkpoint_final.pth"


def test_a_calibration_of_other_weights_is_not_used(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_calibration(tmp_path / "checkpoint_final.pth", WEIGHTS, 1.25, {})
    other = {**WEIGHTS, "b": torch.tensor(2, dtype=torch.int64)}
    with caplog.at_level(logging.WARNING):
        assert read_temperature(tmp_path / "checkpoint_final.pth", other) is None
    assert "made for other weights" in caplog.text


def test_the_hash_knows_names_types_shapes_and_values() -> None:
    variants = [
        WEIGHTS,
        {"a": WEIGHTS["a"], "c": WEIGHTS["b"]},
        {**WEIGHTS, "a": WEIGHTS["a"].reshape(3, 2)},
        {**WEIGHTS, "a": WEIGHTS["a"].double()},
        {**WEIGHTS, "a": WEIGHTS["a"] + 1e-6},
    ]
    assert len({weights_hash(each) for each in variants}) == len(variants)
    assert weights_hash(dict(reversed(WEIGHTS.items()))) == weights_hash(WEIGHTS)
    assert weights_hash({**WEIGHTS, "a": WEIGHTS["a"].t().contiguous().t()}) == weights_hash(WEIGHTS)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "Expecting value"),
        ("[]", "format"),
        ('{"format": "other"}', "format"),
        ('{"format": "swin-umamba-calibration-1", "weights_sha256": ""}', "temperature is None"),
        ('{"format": "swin-umamba-calibration-1", "temperature": "2"}', "temperature is '2'"),
        ('{"format": "swin-umamba-calibration-1", "temperature": NaN}', "temperature is nan"),
        ('{"format": "swin-umamba-calibration-1", "temperature": -1.0}', "temperature is -1.0"),
        ('{"format": "swin-umamba-calibration-1", "temperature": 1.0}', "which weights"),
        ("[" * 100_000, "recursion"),
    ],
)
def test_damaged_files(tmp_path: Path, content: str, reason: str, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / CALIBRATION_FILE).write_text(content)
    with pytest.raises(CheckpointError, match=reason) as error:
        read_calibration(tmp_path / CALIBRATION_FILE)
    assert "delete the file" in str(error.value)
    assert read_temperature(tmp_path / "checkpoint_final.pth", WEIGHTS) is None
    assert caplog.messages == [str(error.value)]


def test_a_file_that_is_far_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration_file, "LARGEST_FILE", 10)
    (tmp_path / CALIBRATION_FILE).write_text(json.dumps({"format": "swin-umamba-calibration-1"}))
    with pytest.raises(CheckpointError, match="bytes"):
        read_calibration(tmp_path / CALIBRATION_FILE)
