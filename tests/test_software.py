"""Versions and git state, with every way in which git can fail."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

import swin_umamba
from swin_umamba import software
from swin_umamba.software import GitState, git_state, processor_name, software_versions

posix = pytest.mark.skipif(os.name == "nt", reason="shell scripts")


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that is the only one in a clone, of which git may take its time to tell."""
    monkeypatch.setattr(software, "SECONDS_FOR_GIT", 600)
    file = tmp_path / "clone" / "a.py"
    file.parent.mkdir()
    file.write_text("a")
    commit = ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "a"]
    for arguments in (["init", "-q"], ["add", "a.py"], commit):
        subprocess.run(["git", "-C", str(file.parent), *arguments], check=True)
    return file


def put_git_first(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let ``git`` be a shell script."""
    folder.mkdir()
    (folder / "git").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "git").chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)


def test_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(software, "PACKAGES", ("numpy", "no-such-package"))
    assert software_versions() == {
        "swin-umamba": swin_umamba.__version__,
        "Python": ".".join(map(str, sys.version_info[:3])),
        "numpy": version("numpy"),
        "no-such-package": None,
    }


def test_git_state_of_a_clone(clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_DIR", "/nowhere")  # as in a hook
    head = (clone.parent / ".git" / "HEAD").read_text().split()[1]
    commit = (clone.parent / ".git" / head).read_text().strip()
    assert git_state(clone, clone.parent) == GitState(commit, changed=False)
    clone.write_text("b")
    assert git_state(clone, clone.parent) == GitState(commit, changed=True)


def test_a_file_that_only_lies_in_a_clone_has_no_state(clone: Path, tmp_path: Path) -> None:
    installed = clone.parent / "venv" / "installed.py"
    installed.parent.mkdir()
    installed.write_text("a")
    assert git_state(installed, clone.parent) is None
    assert git_state(tmp_path / "a.py", tmp_path) is None


@posix
@pytest.mark.parametrize("script", ["exit 128", "sleep 30", "printf '\\377'; exit 1", "kill -9 $$"])
def test_git_that_fails_or_hangs(
    clone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str
) -> None:
    monkeypatch.setattr(software, "SECONDS_FOR_GIT", 0.2)
    put_git_first(tmp_path / "bin", script, monkeypatch)
    assert git_state(clone, clone.parent) is None


def test_an_installed_package_asks_no_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for place, asked in (("src", True), ("site-packages", False)):
        calls: list[Path] = []
        monkeypatch.setattr(software, "git_state", lambda file, root, calls=calls: calls.append(root))
        monkeypatch.setattr(software, "__file__", str(tmp_path / "root" / place / "swin_umamba" / "a.py"))
        assert software.source_state() is None
        assert calls == [tmp_path / "root"] * asked


def test_no_git(clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert git_state(clone, clone.parent) is None


def test_the_processor_has_a_name() -> None:
    assert processor_name()
