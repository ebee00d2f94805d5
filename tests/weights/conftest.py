"""Fixtures of the weights tests."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

# Test folders are not on the import path; the helpers beside this file are imported by name.
sys.path.insert(0, str(Path(__file__).parent))

from file_server import FileServer


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    """A server on this machine, asked without a proxy."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "SWIN_UMAMBA_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    with FileServer() as server:
        yield server


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache; the folder for weights in it."""
    monkeypatch.setenv("SWIN_UMAMBA_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "weights"
