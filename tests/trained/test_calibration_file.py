from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
import torch

from swin_umamba.errors import CheckpointError
from swin_umamba.trained import calibration_file
from swin_umamba.trained.calibration_file import (
    CALIBRATION_FILE,
    FoldCalibration,
    calibration_of_weights,
    read_calibration,
    weights_hash,
    write_calibration,
)

WEIGHTS = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.tensor(1, dtype=torch.int64)}


def test_what_was_written_is_read(tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoint_final.pth"
    assert calibration_of_weights(checkpoint, WEIGHTS) is None
    calibration = FoldCalibration(1.25, 1.5)
    path = write_calibration(checkpoint, WEIGHTS, calibration, {"pixels": 7})
    assert path == tmp_path / CALIBRATION_FILE
    assert calibration_of_weights(checkpoint, WEIGHTS) == calibration
    read, content = read_calibration(path)
    assert read == calibration
    assert content["pixels"] == 7
    assert content["checkpoint"] == "checkpoint_final.pth"
    write_calibration(checkpoint, WEIGHTS, FoldCalibration(1.25), {})
    assert calibration_of_weights(checkpoint, WEIGHTS) == FoldCalibration(1.25, None)


def test_a_calibration_of_other_weights_is_not_used(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_calibration(tmp_path / "checkpoint_final.pth", WEIGHTS, FoldCalibration(1.25), {})
    other = {**WEIGHTS, "b": torch.tensor(2, dtype=torch.int64)}
    with caplog.at_level(logging.WARNING):
        assert calibration_of_weights(tmp_path / "checkpoint_final.pth", other) is None
    assert "made for other weights" in caplog.text


def test_nothing_is_hashed_that_the_file_does_not_hold(tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoint_final.pth"
    write_calibration(checkpoint, WEIGHTS, FoldCalibration(1.25), {})
    assert calibration_of_weights(checkpoint, {**WEIGHTS, "a": torch.zeros(1).expand(10**12)}) is None


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


def with_values(text: str) -> str:
    """Return the text of a file of the right format with these values."""
    return text.replace("{", '{"format": "swin-umamba-calibration-1", ', 1)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "Expecting value"),
        ("[]", "format"),
        ('{"format": "other"}', "format"),
        (with_values('{"weights_sha256": ""}'), "'temperature'"),
        (with_values('{"temperature": "2", "quality_exponent": null}'), "temperature is '2'"),
        (with_values('{"temperature": NaN, "quality_exponent": null}'), "temperature is nan"),
        (with_values('{"temperature": -1.0, "quality_exponent": null}'), "temperature is -1.0"),
        (with_values('{"temperature": 1.0, "quality_exponent": 0.0}'), "quality_exponent is 0.0"),
        (with_values('{"temperature": 1.0, "quality_exponent": null}'), "which weights"),
        ("[" * 100_000, "levels deep"),
    ],
)
def test_damaged_files(tmp_path: Path, content: str, reason: str, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / CALIBRATION_FILE).write_text(content)
    with pytest.raises(CheckpointError, match=reason) as error:
        read_calibration(tmp_path / CALIBRATION_FILE)
    assert "delete the file" in str(error.value)
    assert calibration_of_weights(tmp_path / "checkpoint_final.pth", WEIGHTS) is None
    assert caplog.messages == [str(error.value)]


def test_a_file_that_is_far_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration_file, "LARGEST_FILE", 10)
    (tmp_path / CALIBRATION_FILE).write_text(json.dumps({"format": "swin-umamba-calibration-1"}))
    with pytest.raises(CheckpointError, match="bytes"):
        read_calibration(tmp_path / CALIBRATION_FILE)
