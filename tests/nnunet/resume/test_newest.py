"""Which checkpoint a run resumes from."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from swin_umamba.errors import CheckpointError
from swin_umamba.nnunet.resume.checkpoints import existing_checkpoints, newest_checkpoint
from swin_umamba.weights.checkpoint import save_checkpoint


def write(folder: Path, name: str, epoch: int) -> Path:
    save_checkpoint(folder / name, {"current_epoch": epoch, "network_weights": {}})
    return folder / name


def epochs_of_newest(folder: Path) -> int:
    checkpoint = newest_checkpoint(folder)
    assert checkpoint is not None
    return checkpoint["current_epoch"]


@pytest.mark.parametrize("longest", ["final", "latest", "best", "99"])
def test_the_longest_trained_wins_whatever_its_name(tmp_path: Path, longest: str) -> None:
    epochs = {"final": 50, "latest": 50, "best": 40, "9": 10, "49": 50, longest: 100}
    for name, epoch in epochs.items():
        write(tmp_path, f"checkpoint_{name}.pth", epoch)
    assert epochs_of_newest(tmp_path) == 100


def test_a_kept_checkpoint_counts_by_its_content_not_its_name(tmp_path: Path) -> None:
    write(tmp_path, "checkpoint_latest.pth", 13)
    write(tmp_path, "checkpoint_99.pth", 5)  # renamed by somebody
    write(tmp_path, "checkpoint_13.pth", 14)
    assert epochs_of_newest(tmp_path) == 14


def test_older_kept_checkpoints_are_not_loaded(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path, "checkpoint_latest.pth", 13)
    (tmp_path / "checkpoint_12.pth").write_bytes(b"torn")
    assert newest_checkpoint(tmp_path) is not None
    assert not caplog.text


def test_torn_files_are_warned_about_and_skipped(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    latest = write(tmp_path, "checkpoint_latest.pth", 13)
    latest.write_bytes(latest.read_bytes()[:100])
    (tmp_path / "checkpoint_final.pth").write_bytes(b"")
    write(tmp_path, "checkpoint_best.pth", 12)
    with caplog.at_level(logging.WARNING):
        assert epochs_of_newest(tmp_path) == 12
    assert caplog.text.count("cannot be loaded and is skipped") == 2


def test_a_kept_checkpoint_stands_in_for_torn_ones(tmp_path: Path) -> None:
    (tmp_path / "checkpoint_latest.pth").write_bytes(b"torn")
    write(tmp_path, "checkpoint_49.pth", 50)
    write(tmp_path, "checkpoint_149.pth", 150)
    write(tmp_path, "checkpoint_99.pth", 100)
    assert epochs_of_newest(tmp_path) == 150


def test_it_never_starts_anew_beside_torn_files(tmp_path: Path) -> None:
    assert newest_checkpoint(tmp_path) is None
    (tmp_path / "checkpoint_latest.pth").write_bytes(b"torn")
    with pytest.raises(CheckpointError, match=r"checkpoint_latest\.pth"):
        newest_checkpoint(tmp_path)


def test_other_files_are_no_checkpoints(tmp_path: Path) -> None:
    (tmp_path / "checkpoint_old.pth").write_bytes(b"")
    (tmp_path / "checkpoint_.pth").write_bytes(b"")
    assert existing_checkpoints(tmp_path) == []
