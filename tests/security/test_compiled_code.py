"""Code that others could have put into a cache is not loaded."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest

from swin_umamba import compiled_code
from swin_umamba.compiled_code import is_private, private_folder, set_private_caches

pytestmark = pytest.mark.skipif(os.name == "nt", reason="POSIX modes and owners")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "above" / "cache").mkdir(parents=True, mode=0o755)
    return tmp_path / "above" / "cache"


def owned_by(number: int, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a path belong to another user, as a test that is not the administrator's cannot."""
    lstat = Path.lstat

    def lying(self: Path) -> os.stat_result:
        status = lstat(self)
        return os.stat_result((*status[:4], number, *status[5:])) if self == path else status

    monkeypatch.setattr(Path, "lstat", lying)


def test_own_folders_are_private(folder: Path) -> None:
    (folder / "code.so").write_bytes(b"")
    (folder / "link.so").symlink_to("code.so")
    assert is_private(folder)
    assert is_private(folder / "not there yet" / "deeper")


@pytest.mark.parametrize("mode", [0o777, 0o757, 0o1777])
def test_a_folder_that_others_can_write_to(mode: int, folder: Path) -> None:
    folder.chmod(mode)
    assert not is_private(folder)


def test_a_file_that_others_can_write_to(folder: Path) -> None:
    (folder / "code.so").write_bytes(b"")
    (folder / "code.so").chmod(0o646)
    assert not is_private(folder)


def test_what_others_can_write_to_at_any_depth(folder: Path) -> None:
    inner = folder / "fxgraph" / "ab" / "abcd"  # as PyTorch nests its cache, and Triton its own
    inner.mkdir(parents=True)
    (inner / "code.so").write_bytes(b"")
    (inner / "up").symlink_to(folder)  # no end
    assert is_private(folder)
    for place in (inner / "code.so", inner, inner.parent):
        before = stat.S_IMODE(place.stat().st_mode)
        place.chmod(before | stat.S_IWOTH)
        assert not is_private(folder)
        place.chmod(before)
    assert is_private(folder)


@pytest.mark.parametrize("name", ["elsewhere", "elsewhere/code.so"])
def test_a_link_in_a_cache_leads_to_what_counts(name: str, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "code.so").write_bytes(b"")
    (folder / "code.so").symlink_to(tmp_path / name)
    (folder / "nothing.so").symlink_to(tmp_path / "nothing")
    assert is_private(folder)
    (tmp_path / "elsewhere").chmod(0o777)
    assert not is_private(folder)
    (tmp_path / "elsewhere").chmod(0o755)
    (tmp_path / "elsewhere" / "code.so").chmod(0o666)
    assert not is_private(folder)


def test_folders_above(folder: Path) -> None:
    folder.parent.chmod(0o777)  # the folder can be renamed, and another put in its stead
    assert not is_private(folder)
    folder.parent.chmod(0o1777)  # as /tmp: nobody can
    assert is_private(folder)


@pytest.mark.parametrize("name", ["above", "above/cache", "above/cache/code.so"])
def test_what_belongs_to_somebody_else(
    name: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "code.so").write_bytes(b"")
    owned_by(os.geteuid() + 1234, tmp_path / name, monkeypatch)
    assert not is_private(folder)
    owned_by(0, tmp_path / name, monkeypatch)
    assert is_private(folder)


def test_who_owns_a_common_folder_can_rename_what_lies_in_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.parent.chmod(0o1777)
    owned_by(os.geteuid() + 1234, folder.parent, monkeypatch)
    assert not is_private(folder)


def test_a_folder_that_is_missing_is_made_before_others_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SWIN_UMAMBA_CACHE", str(tmp_path / "own"))
    (tmp_path / "common").mkdir()
    (tmp_path / "common").chmod(0o1777)
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path / "common" / "triton"))
    set_private_caches()
    assert stat.S_IMODE((tmp_path / "common" / "triton").stat().st_mode) == 0o700
    (tmp_path / "own").mkdir(exist_ok=True)  # made before where no cache of PyTorch was named
    (tmp_path / "own").chmod(0o777)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    set_private_caches()
    assert is_private(Path(os.environ["TORCHINDUCTOR_CACHE_DIR"]))


def test_a_user_without_a_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere() -> Path:
        raise RuntimeError("Could not determine home directory.")

    at_exit: list[Callable[[], None]] = []
    monkeypatch.setattr("atexit.register", lambda *call, **options: at_exit.append(partial(*call, **options)))
    monkeypatch.setattr(compiled_code, "cache_folder", nowhere)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    set_private_caches()
    (folder,) = tmp_path.iterdir()
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == str(folder)
    (remove,) = at_exit
    remove()
    assert not folder.exists()  # every command makes one


def test_a_link_leads_to_what_counts(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(folder)
    assert is_private(tmp_path / "link")
    folder.chmod(0o777)
    assert not is_private(tmp_path / "link")


@pytest.mark.skipif(sys.platform == "win32", reason="groups")
@pytest.mark.parametrize(
    ("number", "group", "members", "others", "private"),
    [
        (4321, "me", [], [], True),
        (4321, "me", ["me", "root"], [7], True),
        (4321, "me", ["you"], [], False),
        (4321, "me", [], [4321], False),  # it is somebody else's first group
        (4322, "me", [], [], False),  # it only has my name
        (4321, "staff", [], [], False),
        (0, "root", [], [0], True),  # accounts of the system
        (0, "wheel", ["root"], [], True),
        (0, "root", ["you"], [], False),
    ],
)
def test_a_group_of_one(
    number: int,
    group: str,
    members: list[str],
    others: list[int],
    private: bool,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lstat = Path.lstat

    def lying(self: Path) -> os.stat_result:
        status = lstat(self)
        return os.stat_result((*status[:5], number, *status[6:])) if self == folder else status

    folder.chmod(0o775)
    monkeypatch.setattr(Path, "lstat", lying)
    monkeypatch.setattr("grp.getgrgid", lambda number: SimpleNamespace(gr_name=group, gr_mem=members))
    me = SimpleNamespace(pw_name="me", pw_uid=os.geteuid(), pw_gid=4321)
    users = [me, *(SimpleNamespace(pw_name="you", pw_uid=98765, pw_gid=each) for each in others)]
    monkeypatch.setattr("pwd.getpwuid", lambda number: me)
    monkeypatch.setattr("pwd.getpwall", lambda: users)
    compiled_code._users_by_first_group.cache_clear()
    assert is_private(folder) is private
    compiled_code._users_by_first_group.cache_clear()


def test_caches_of_torch_and_triton(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("SWIN_UMAMBA_CACHE", str(tmp_path / "own"))
    own = tmp_path / "own" / "compiled"
    for name in compiled_code.VARIABLES:
        monkeypatch.delenv(name, raising=False)
    set_private_caches()
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == str(own / "torchinductor")
    assert "TRITON_CACHE_DIR" not in os.environ  # its own default is in the home folder
    for name in compiled_code.VARIABLES:
        monkeypatch.setenv(name, str(folder))
    set_private_caches()
    assert {os.environ[name] for name in compiled_code.VARIABLES} == {str(folder)}
    assert caplog.text == ""
    folder.chmod(0o777)
    set_private_caches()
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == str(own / "torchinductor")
    assert os.environ["TRITON_CACHE_DIR"] == str(own / "triton")
    assert caplog.text.count("Other users can write to the cache of compiled code") == 1


def test_the_private_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWIN_UMAMBA_CACHE", str(tmp_path / "own"))
    place = private_folder("numba")
    assert place == tmp_path / "own" / "compiled" / "numba"
    assert stat.S_IMODE(place.stat().st_mode) == 0o700
    (tmp_path / "own").chmod(0o777)
    assert private_folder("numba") is None
