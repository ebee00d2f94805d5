"""Which checkpoints are written after an epoch, and what a stopped training saves."""

from __future__ import annotations

from pathlib import Path

import pytest

from swin_umamba.nnunet.resume import checkpoints
from swin_umamba.nnunet.resume.checkpoints import MINUTES_BETWEEN_SAVES, CheckpointFolder
from swin_umamba.weights.checkpoint import load_checkpoint


@pytest.fixture
def minutes(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time: the last of these."""
    passed = [0.0]
    monkeypatch.setattr(checkpoints, "monotonic", lambda: passed[-1] * 60)
    return passed


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_every_few_epochs_a_checkpoint_is_kept(tmp_path: Path, minutes: list[float]) -> None:
    folder = CheckpointFolder(tmp_path)
    for epochs_done in range(1, 7):
        folder.end_epoch({"current_epoch": epochs_done}, save_every=3)
    assert names(tmp_path) == ["checkpoint_2.pth", "checkpoint_5.pth"]
    assert load_checkpoint(tmp_path / "checkpoint_5.pth") == {"current_epoch": 6}


def test_every_few_minutes_the_latest_state_is_saved(tmp_path: Path, minutes: list[float]) -> None:
    folder = CheckpointFolder(tmp_path)
    minutes.append(MINUTES_BETWEEN_SAVES)
    folder.end_epoch({"current_epoch": 1}, save_every=100)
    assert names(tmp_path) == []
    minutes.append(MINUTES_BETWEEN_SAVES + 0.1)
    folder.end_epoch({"current_epoch": 2}, save_every=100)
    minutes.append(2 * MINUTES_BETWEEN_SAVES)
    folder.end_epoch({"current_epoch": 3}, save_every=100)
    assert load_checkpoint(tmp_path / "checkpoint_latest.pth") == {"current_epoch": 2}


def test_a_stopped_training_saves_its_last_complete_epoch(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path)
    assert folder.save_resume_point() is None
    assert names(tmp_path) == []
    folder.end_epoch({"current_epoch": 4}, save_every=100)
    assert folder.save_resume_point() == 4
    assert load_checkpoint(tmp_path / "checkpoint_latest.pth") == {"current_epoch": 4}


def test_a_replaced_run_leaves_no_checkpoint_no_calibration_and_no_validation(tmp_path: Path) -> None:
    for name in ("checkpoint_final.pth", "checkpoint_7.pth", "calibration.json", "metrics.jsonl"):
        (tmp_path / name).write_text("old")
    (tmp_path / "validation").mkdir()
    (tmp_path / "validation" / "summary.json").write_text("{}")
    CheckpointFolder(tmp_path).remove_earlier_run()
    assert names(tmp_path) == ["metrics.jsonl"]
