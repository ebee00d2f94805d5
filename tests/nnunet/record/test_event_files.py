"""Event files, read back with TensorBoard's own reader."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Any

import pytest

from nnunet.record.event_reading import read_events
from swin_umamba.errors import OutputError, UsageError
from swin_umamba.nnunet.record.event_files import EventFiles, require_tensorboard

pytest.importorskip("tensorboard")


def line(epoch: int, **changes: Any) -> dict[str, Any]:
    """An epoch in binary fractions, which survive float32."""
    return {
        "epoch": epoch,
        "train_loss": 1 / epoch if epoch in (1, 2, 4) else 0.125,
        "validation_loss": None,
        "pseudo_dice": 0.5,
        "pseudo_dice_per_class": {"liver": 0.25, "spleen": None},
        "ema_pseudo_dice": 0.75,
        "learning_rate": 2.0**-10,
        "seconds": 8.0,
        "skipped_steps": epoch,
        "finished": f"2026-01-02T03:04:{epoch:02}.000+00:00",
    } | changes


def test_the_scalars_of_an_epoch(tmp_path: Path) -> None:
    events = EventFiles(tmp_path, [])
    events.add(line(1))
    expected = {
        "loss/training": [(1, 1.0)],
        "pseudo_dice/mean": [(1, 0.5)],
        "pseudo_dice/moving_average": [(1, 0.75)],
        "learning_rate": [(1, 2.0**-10)],
        "seconds": [(1, 8.0)],
        "skipped_steps": [(1, 1.0)],
        "pseudo_dice_of_class/liver": [(1, 0.25)],
    }
    assert read_events(tmp_path) == expected  # at once, not when the file is closed
    events.close()
    assert read_events(tmp_path) == expected


def test_epochs_that_are_trained_again_are_not_double(tmp_path: Path) -> None:
    killed = EventFiles(tmp_path, [])
    for epoch in (1, 2, 3):
        killed.add(line(epoch))
    killed.close()
    resumed = EventFiles(tmp_path, [line(1)])
    resumed.add(line(2, train_loss=16.0))
    resumed.close()
    assert read_events(tmp_path)["loss/training"] == [(1, 1.0), (2, 16.0)]


def test_epochs_before_the_option_was_given_are_written(tmp_path: Path) -> None:
    events = EventFiles(tmp_path, [line(1), line(2)])
    events.add(line(3))
    events.close()
    assert read_events(tmp_path)["loss/training"] == [(1, 1.0), (2, 0.5), (3, 0.125)]


def test_a_folder_that_cannot_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "tensorboard").write_text("mine")
    with pytest.raises(OutputError, match="cannot write event files"):
        EventFiles(tmp_path / "tensorboard", [])
    assert (tmp_path / "tensorboard").read_text() == "mine"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_failing_writer_ends_the_writing_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tensorboard.summary.writer.record_writer import RecordWriter

    def full(self: RecordWriter, data: bytes) -> None:
        raise OSError(28, "No space left on device")

    events = EventFiles(tmp_path, [])
    monkeypatch.setattr(RecordWriter, "write", full)
    with caplog.at_level(logging.WARNING):
        for epoch in range(1, 20):
            events.add(line(epoch))
        events.close()
    assert len(caplog.messages) == 1
    assert "No space left on device" in caplog.text
    assert read_events(tmp_path) == {}


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "torch.utils.tensorboard", raising=False)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(UsageError, match=r"pip install 'swin-umamba\[tensorboard\]'"):
        require_tensorboard()
