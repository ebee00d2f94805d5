"""Which checkpoint a run goes on from."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from swin_umamba.errors import CheckpointError
from swin_umamba.nnunet.resume.newest import existing_checkpoints, newest_checkpoint
from swin_umamba.weights.checkpoint import save_checkpoint


def write(folder: Path, name: str, epoch: int) -> Path:
    save_checkpoint(folder / name, {"current_epoch": epoch, "network_weights": {}})
    return folder / name


def test_the_longest_trained_wins_whatever_its_name(tmp_path: Path) -> None:
    for name, epoch in (("final", 10), ("latest", 13), ("best", 12)):
        write(tmp_path, f"checkpoint_{name}.pth", epoch)
    write(tmp_path, "checkpoint_99.pth", 100)
    checkpoint = newest_checkpoint(tmp_path)
    assert checkpoint is not None
    assert checkpoint["current_epoch"] == 13


def test_torn_files_are_warned_about_and_skipped(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    latest = write(tmp_path, "checkpoint_latest.pth", 13)
    latest.write_bytes(latest.read_bytes()[:100])
    (tmp_path / "checkpoint_final.pth").write_bytes(b"")
    write(tmp_path, "checkpoint_best.pth", 12)
    with caplog.at_level(logging.WARNING):
        checkpoint = newest_checkpoint(tmp_path)
    assert checkpoint is not None
    assert checkpoint["current_epoch"] == 12
    assert caplog.text.count("cannot be loaded and is skipped") == 2


def test_a_kept_checkpoint_stands_in_for_torn_ones(tmp_path: Path) -> None:
    (tmp_path / "checkpoint_latest.pth").write_bytes(b"torn")
    write(tmp_path, "checkpoint_49.pth", 50)
    write(tmp_path, "checkpoint_149.pth", 150)
    write(tmp_path, "checkpoint_99.pth", 100)
    checkpoint = newest_checkpoint(tmp_path)
    assert checkpoint is not None
    assert checkpoint["current_epoch"] == 150


def test_it_never_starts_anew_beside_torn_files(tmp_path: Path) -> None:
    assert newest_checkpoint(tmp_path) is None
    (tmp_path / "checkpoint_latest.pth").write_bytes(b"torn")
    with pytest.raises(CheckpointError, match=r"checkpoint_latest\.pth"):
        newest_checkpoint(tmp_path)


def test_other_files_are_no_checkpoints(tmp_path: Path) -> None:
    (tmp_path / "checkpoint_old.pth").write_bytes(b"")
    (tmp_path / "checkpoint_.pth").write_bytes(b"")
    assert existing_checkpoints(tmp_path) == []
