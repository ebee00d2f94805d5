"""What each start of a training ran with."""

from __future__ import annotations

import json
import logging
import platform
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import torch

from swin_umamba.nnunet.record import software_file
from swin_umamba.nnunet.record.software_file import record_start
from swin_umamba.software import GitState, processor_name, software_versions

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def state(monkeypatch: pytest.MonkeyPatch) -> list[GitState | None]:
    """The git state that is found: the last one."""
    states: list[GitState | None] = [None]
    monkeypatch.setattr(software_file, "source_state", lambda: states[-1])
    return states


def starts(path: Path) -> list[dict[str, Any]]:
    return json.loads(path.read_text())["starts"]


def test_starts_are_added_and_a_fresh_run_replaces_them(tmp_path: Path, state: list[GitState | None]) -> None:
    path = tmp_path / "software.json"
    record_start(path, first_epoch=1, device=CPU, replace=True)
    state.append(GitState("0123abcd" * 5, changed=True))
    record_start(path, first_epoch=1, device=CPU, replace=False)  # interrupted in its first epoch
    record_start(path, first_epoch=4, device=CPU, replace=False)
    first, _, last = starts(path)
    assert [start["first_epoch"] for start in starts(path)] == [1, 1, 4]
    assert first["git"] is None
    assert last["git"] == {"commit": "0123abcd" * 5, "uncommitted_changes": True}
    assert last["versions"] == software_versions()
    assert (last["device"], last["platform"]) == (processor_name(), platform.platform())
    assert last["threads"] == torch.get_num_threads()
    age = datetime.now(timezone.utc) - datetime.fromisoformat(last["started"])
    assert timedelta(seconds=-1) < age < timedelta(minutes=10)
    record_start(path, first_epoch=1, device=CPU, replace=True)
    assert len(starts(path)) == 1


@pytest.mark.parametrize("damaged", [b"{", b"[]", b'{"starts": 1}', b"\xff"])
def test_a_damaged_file_is_put_aside(
    tmp_path: Path, damaged: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "software.json"
    path.write_bytes(damaged)
    with caplog.at_level(logging.WARNING):
        record_start(path, first_epoch=3, device=CPU, replace=False)
    assert "software.json is damaged" in caplog.text
    assert (tmp_path / "software.json.damaged").read_bytes() == damaged
    assert [start["first_epoch"] for start in starts(path)] == [3]


def test_a_training_of_a_version_without_the_file_goes_on(tmp_path: Path) -> None:
    record_start(tmp_path / "software.json", first_epoch=3, device=CPU, replace=False)
    assert [start["first_epoch"] for start in starts(tmp_path / "software.json")] == [3]
