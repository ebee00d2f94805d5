"""The user's own code: what is loaded, from where, and what is refused with one message."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from swin_umamba.errors import UsageError
from swin_umamba.extensions import VARIABLE, load_class, load_extensions, load_module


@pytest.fixture(autouse=True)
def _own_modules() -> Iterator[None]:
    """Forget the modules and folders that a test has loaded."""
    modules, folders = set(sys.modules), list(sys.path)
    yield
    sys.path[:] = folders
    for name in set(sys.modules) - modules:
        del sys.modules[name]


def write(path: Path, code: str = "class Mine: pass\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(code)
    return path


def test_a_class_of_a_file_and_its_neighbour(tmp_path: Path) -> None:
    write(tmp_path / "the_neighbour.py", "VALUE = 3\n")
    path = write(tmp_path / "the_file.py", "from the_neighbour import VALUE\nclass Mine: value = VALUE\n")
    found = load_class(f"{path}:Mine", "--trainer")
    assert (found.__name__, found.__module__, found.value) == ("Mine", "the_file", 3)  # type: ignore[attr-defined]
    assert load_class(f"{path}:Mine", "--trainer") is found  # loaded once
    assert sys.path[-1] == str(tmp_path)  # last, so that it hides nothing


def test_a_module_of_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "the_package" / "the_part.py")
    monkeypatch.chdir(tmp_path)
    assert load_class("the_package.the_part:Mine", "--trainer").__module__ == "the_package.the_part"


@pytest.mark.parametrize("name", ["colorsys", "json", "torch", "sys"])
def test_a_file_that_would_hide_another_module(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / f"{name}.py")
    with pytest.raises(UsageError, match="name of another module") as caught:
        load_module(str(path), "--trainer")
    assert caught.value.where == str(path)


def test_two_files_of_one_name(tmp_path: Path) -> None:
    load_module(str(write(tmp_path / "a" / "the_same.py")), "x")
    with pytest.raises(UsageError, match="name of another module"):
        load_module(str(write(tmp_path / "b" / "the_same.py")), "x")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("no_such_module:Mine", "cannot be imported .ModuleNotFoundError"),
        ("no_such_file.py:Mine", "no such file"),
        ("faulty.py:Mine", "ZeroDivisionError: division by zero"),
        ("good.py:Other", "no class 'Other'"),
        ("good.py:number", "no class 'number'"),
        ("good.py:", "no class ''"),
        (":Mine", "cannot be the name of a module"),
        ("..relative:Mine", "cannot be the name of a module"),
        ("with-hyphen.py:Mine", "cannot be the name of a module"),
    ],
)
def test_what_cannot_be_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str, message: str
) -> None:
    write(tmp_path / "good.py", "number = 3\n")
    write(tmp_path / "faulty.py", "1 / 0\n")
    write(tmp_path / "with-hyphen.py")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=message):
        load_class(given, "--trainer")


def test_the_variable_names_files_and_modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load_extensions()  # nothing to do
    path = write(tmp_path / "the_first.py")
    write(tmp_path / "installed" / "the_second.py")
    monkeypatch.syspath_prepend(str(tmp_path / "installed"))
    monkeypatch.setenv(VARIABLE, f"{path}::the_second")
    load_extensions()
    assert {"the_first", "the_second"} <= set(sys.modules)
    monkeypatch.setenv(VARIABLE, str(tmp_path / "missing.py"))
    with pytest.raises(UsageError, match="no such file") as caught:
        load_extensions()
    assert VARIABLE in str(caught.value.hint)
