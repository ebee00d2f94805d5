"""The folder of uploads and results: it goes, whoever still writes to it."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import Any

import pytest

from swin_umamba.serve import storage
from swin_umamba.serve.storage import PrivateFolder


@pytest.fixture
def half_deleted(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Let a file come into being behind each deletion; return the names of those still to come."""
    coming: list[Path] = []
    delete = shutil.rmtree

    def deletes(path: Path, **options: Any) -> None:
        delete(path, **options)
        if coming:
            path.mkdir()
            (path / coming.pop()).write_text("a result")

    monkeypatch.setattr(storage.shutil, "rmtree", deletes)
    monkeypatch.setattr(storage, "SECONDS_BETWEEN_TRIES", 0.0)
    return coming


def test_what_is_written_while_it_is_deleted_is_deleted_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, half_deleted: list[Path]
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    half_deleted += [Path("mask"), Path("view")]
    with PrivateFolder(1000) as folder:
        (folder.new() / "image").write_text("an image")
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_deleted_is_told(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    half_deleted: list[Path],
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    half_deleted += [Path("mask")] * storage.TRIES_TO_DELETE
    with caplog.at_level(logging.ERROR), PrivateFolder(1000) as folder:
        pass
    assert f"remove {folder.path}" in caplog.text
