"""Modules that lie in the current folder are not imported."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from swin_umamba.cli import doctor
from swin_umamba.errors import UsageError
from swin_umamba.extensions import VARIABLE, load_extensions, load_module
from swin_umamba.software import git_state


def test_nothing_is_imported_from_the_current_folder(tmp_path: Path) -> None:
    (tmp_path / "planted.py").write_text("open('executed', 'w').close()")
    for name, code in (("planted", 1), ("json", 0)):
        done = subprocess.run(
            [sys.executable, "-c", doctor.IMPORT.format(name)], cwd=tmp_path, capture_output=True, check=False
        )
        assert done.returncode == code
    assert not (tmp_path / "executed").exists()


WORKERS = """
import os
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

if __name__ == "__main__":
    from swin_umamba.torch_settings import apply_settings

    apply_settings()
    for method in ("spawn", "forkserver"):
        with ProcessPoolExecutor(1, mp_context=get_context(method)) as pool:
            print(pool.submit(os.getpid).result() != os.getpid())
"""


@pytest.mark.parametrize("name", ["pickle", "socket", "multiprocessing", "swin_umamba"])
def test_workers_import_nothing_from_the_current_folder(name: str, tmp_path: Path) -> None:
    (tmp_path / "program").mkdir()
    (tmp_path / "program" / "main.py").write_text(WORKERS)
    (tmp_path / f"{name}.py").write_text("open('executed', 'w')")
    done = subprocess.run(
        [sys.executable, tmp_path / "program" / "main.py"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.stdout == "True\nTrue\n", done.stderr
    assert not (tmp_path / "executed").exists()


def test_what_is_installed_comes_before_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "colorsys.py").write_text("raise RuntimeError('planted')\n")
    monkeypatch.chdir(tmp_path)
    folders = list(sys.path)
    assert load_module("colorsys", "x").rgb_to_hsv(0, 0, 0) == (0, 0, 0)
    assert sys.path == folders


@pytest.mark.parametrize("given", ["planted", "planted.py", "./planted.py", "folder/../planted.py"])
def test_the_variable_never_means_what_lies_in_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    (tmp_path / "planted.py").write_text("from pathlib import Path\nPath('canary').touch()\n")
    (tmp_path / "folder").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(VARIABLE, given)
    folders = list(sys.path)
    with pytest.raises(UsageError, match=r"relative path|ModuleNotFoundError"):
        load_extensions()
    assert sys.path == folders
    assert not (tmp_path / "canary").exists()


def git(folder: Path, *arguments: str) -> None:
    owner = ("-c", "user.name=a", "-c", "user.email=a@b")
    subprocess.run(["git", "-C", str(folder), *owner, *arguments], check=True, capture_output=True)


@pytest.mark.skipif(os.name == "nt", reason="shell commands")
@pytest.mark.parametrize("root", ["venv", "."])
def test_settings_of_a_clone_that_we_are_installed_in_run_nothing(tmp_path: Path, root: str) -> None:
    """Somebody's project comes as an archive, with its ``.git``; a virtual environment is made in it."""
    file = tmp_path / "venv" / "lib" / "software.py"
    file.parent.mkdir(parents=True)
    file.write_text("a")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "a")
    git(tmp_path, "config", "filter.planted.clean", f"touch '{tmp_path}/canary'; cat")
    git(tmp_path, "config", "core.fsmonitor", f"touch '{tmp_path}/canary'; false")
    git(tmp_path, "config", "core.worktree", str(tmp_path))
    (tmp_path / ".git" / "info" / "attributes").write_text("* filter=planted\n")
    file.write_text("b")
    state = git_state(file, tmp_path / root)
    if root == ".":  # a clone that is told to be the source's own is: the attack works
        assert state is not None
        assert state.changed
        assert (tmp_path / "canary").exists()
    else:
        assert state is None
        assert not (tmp_path / "canary").exists()


@pytest.mark.skipif(os.name == "nt", reason="shell scripts")
@pytest.mark.parametrize("path", [".", "", "planted"])
def test_no_program_of_the_current_folder_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    (tmp_path / path).mkdir(exist_ok=True)
    (tmp_path / path / "git").write_text(f"#!/bin/sh\ntouch '{tmp_path}/canary'\n")
    (tmp_path / path / "git").chmod(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", path, prepend=os.pathsep)
    git_state(tmp_path / "a.py", tmp_path)
    assert not (tmp_path / "canary").exists()
