"""Folders synced together: each once, after the files, and none is forgotten."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from swin_umamba import syncing
from swin_umamba.errors import OutputError
from swin_umamba.files import write_text
from swin_umamba.syncing import folders_synced_together

posix = pytest.mark.skipif(os.name == "nt", reason="Windows cannot sync folders")


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Return the folders that are opened to be synced, in order."""
    found: list[Path] = []
    opened = os.open

    def recorded(path: Path, *given: int) -> int:
        if Path(path).is_dir():
            found.append(Path(path))
        return opened(path, *given)

    monkeypatch.setattr(syncing.os, "open", recorded)
    return found


@posix
def test_each_folder_is_synced_once_at_the_end(tmp_path: Path, synced: list[Path]) -> None:
    (tmp_path / "b").mkdir()
    with folders_synced_together():
        for name in ("a1", "a2", "b/1", "a3"):
            write_text(tmp_path / name, name)
        thread = threading.Thread(target=syncing.sync_folder, args=(tmp_path / "b",))
        thread.start()
        thread.join()
        assert tmp_path not in synced
        assert synced.count(tmp_path / "b") == 1  # of the other thread
    assert synced.count(tmp_path) == 1
    assert synced.count(tmp_path / "b") == 2
    write_text(tmp_path / "a4", "alone")
    assert synced.count(tmp_path) == 2


@posix
def test_folders_are_synced_after_an_error_and_those_that_cannot_be_are_named(
    tmp_path: Path, synced: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    def fail(error: type[Exception] | None) -> None:
        with folders_synced_together():
            write_text(tmp_path / "a", "a" if error else "b")
            if error is not None:
                raise error
            monkeypatch.setattr(os, "fsync", broken)

    with pytest.raises(ZeroDivisionError):
        fail(ZeroDivisionError)
    assert synced.count(tmp_path) == 1

    with pytest.raises(OutputError, match="cannot sync the folder: Input/output error") as caught:
        fail(None)
    assert caught.value.where == str(tmp_path)
    assert (tmp_path / "a").read_text() == "b"


@posix
def test_a_folder_that_is_gone_needs_no_syncing(tmp_path: Path) -> None:
    with folders_synced_together():
        syncing.sync_folder(tmp_path / "gone")
