"""Windows as far as it can be had elsewhere: it renames and removes no file that a process has open."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from swin_umamba import lock, syncing, temporary_files

OPEN_FILES = Path("/proc/self/fd")
needs_proc = pytest.mark.skipif(not OPEN_FILES.exists(), reason="tells open files by /proc")


def is_open(path: str | os.PathLike[str]) -> bool:
    """Return whether this process has a file open."""
    place = os.path.realpath(path)
    for each in OPEN_FILES.iterdir():
        try:
            if os.readlink(each) == place:
                return True
        except FileNotFoundError:
            continue
    return False


def behave_like_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the branches for Windows where files are locked and replaced, and refuse what it refuses."""
    windows = SimpleNamespace(**{name: getattr(sys, name) for name in dir(sys)})
    windows.platform = "win32"
    for module in (lock, syncing, temporary_files):
        monkeypatch.setattr(module, "sys", windows)
    monkeypatch.setattr(syncing, "WAITS_FOR_READERS", (0.001,))

    def refusing(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*paths: Any, **keywords: Any) -> Any:
            for each in paths:
                if is_open(each):
                    raise PermissionError(13, "another process has it open", str(each))
            return function(*paths, **keywords)

        return call

    for name in ("replace", "rename", "unlink", "remove"):
        monkeypatch.setattr(os, name, refusing(getattr(os, name)))
