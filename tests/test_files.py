"""A reader sees the old content or the new one, whatever happens to the writer."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from swin_umamba import files
from swin_umamba.errors import OutputError
from swin_umamba.files import (
    SECONDS_UNTIL_STALE,
    append_line,
    atomic_folder,
    atomic_write,
    cache_folder,
    check_output_folder,
    file_sha256,
    write_json,
    write_text,
)

posix = pytest.mark.skipif(os.name == "nt", reason="POSIX permissions and signals")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_write_and_replace(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "a.txt"
    for text in ("first", "zweitens: ü"):
        write_text(path, text)
        assert path.read_text(encoding="utf-8") == text
    assert names(path.parent) == ["a.txt"]


def test_temporary_file_is_beside_and_has_the_full_suffix(tmp_path: Path) -> None:
    with atomic_write(tmp_path / "a.nii.gz") as temporary:
        assert temporary.parent == tmp_path
        assert temporary.name.endswith(".nii.gz")
        assert temporary.name.startswith(".")
        assert not (tmp_path / "a.nii.gz").exists()
        temporary.write_bytes(b"x")
    assert names(tmp_path) == ["a.nii.gz"]


@pytest.mark.parametrize("error", [ValueError("own"), KeyboardInterrupt(), MemoryError()])
def test_error_in_the_block_keeps_the_old_file(tmp_path: Path, error: BaseException) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")

    def write_half() -> None:
        with atomic_write(path) as temporary:
            temporary.write_text("half")
            raise error

    with pytest.raises(type(error)) as caught:
        write_half()
    assert caught.value is error
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_full_disk_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match="No space left on device") as caught:
        write_text(path, "new")
    assert caught.value.where == str(path)
    assert caught.value.cure
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError):
        write_text(tmp_path / "file" / "a.txt", "x")
    (tmp_path / "folder").mkdir()
    with pytest.raises(OutputError):
        write_text(tmp_path / "folder", "x")
    assert names(tmp_path) == ["file", "folder"]


@posix
def test_permissions_follow_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_text(tmp_path / "a.txt", "x")
        assert os.umask(0o027) == 0o027
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a.txt").stat().st_mode) == 0o640


def test_json(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"b": [1, None], "a": "ü"})
    assert json.loads(path.read_text(encoding="utf-8")) == {"b": [1, None], "a": "ü"}
    with pytest.raises(ValueError):
        write_json(path, {"x": float("nan")})
    assert json.loads(path.read_text(encoding="utf-8"))["b"] == [1, None]
    assert names(tmp_path) == ["a.json"]


@posix
def test_killed_writer_leaves_a_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    code = (
        "import sys, itertools; from swin_umamba.files import write_text\n"
        "for n in itertools.count():\n"
        "    write_text(sys.argv[1], f'{n % 10}' * 200_000)\n"
    )
    for delay in (0.0, 0.003, 0.011):
        with subprocess.Popen([sys.executable, "-c", code, str(path)]) as writer:
            while not path.exists():
                assert writer.poll() is None
                time.sleep(0.005)
            time.sleep(delay)
            writer.kill()
        text = path.read_text()
        assert text == text[0] * 200_000


def test_a_failed_write_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(OutputError), atomic_write(tmp_path / "new" / "deep" / "a.txt"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert names(tmp_path) == []


def test_what_a_dead_writer_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    # Its name could be that of a temporary file of ba.txt, too.
    others = [".writing-abcd1234ba.txt", "a.txt.old"]
    for name in (".writing-abcd1234a.txt", *others):
        (tmp_path / name).write_text("half")
        os.utime(tmp_path / name, (0, 0))
    with atomic_write(tmp_path / "a.txt"):
        alive = set(names(tmp_path)) - {".writing-abcd1234a.txt", *others}
        files._temporary_files.cache_clear()  # as in another process
        write_text(tmp_path / "a.txt", "new")
        assert names(tmp_path) == sorted({*others, *alive, "a.txt"})
        assert len(alive) == 1
    assert names(tmp_path) == sorted({*others, "a.txt"})


@posix
@pytest.mark.parametrize(
    ("age", "stays"), [(SECONDS_UNTIL_STALE - 60, True), (SECONDS_UNTIL_STALE + 1, False)]
)
def test_where_files_cannot_be_locked_age_decides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, age: int, stays: bool
) -> None:
    def unsupported(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(files.fcntl, "flock", unsupported)
    leftover = tmp_path / ".writing-abcd1234a.txt"
    leftover.write_text("half")
    os.utime(leftover, (time.time() - age,) * 2)
    write_text(tmp_path / "a.txt", "new")
    assert leftover.exists() == stays


@posix
def test_a_writer_whose_file_is_taken_for_a_leftover_makes_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between making the file and locking it, the file looks like a dead writer's."""
    lock, made = files._lock, []

    def lock_too_late(descriptor: int, *, wait: bool) -> bool:
        made.extend(path for path in tmp_path.iterdir())
        if len(made) == 1:
            made[0].unlink()
        return lock(descriptor, wait=wait)

    monkeypatch.setattr(files, "_lock", lock_too_late)
    write_text(tmp_path / "a.txt", "new")
    assert len(made) == 2
    assert names(tmp_path) == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "new"


def test_an_output_folder_is_checked_before_the_work(tmp_path: Path) -> None:
    check_output_folder(tmp_path)
    check_output_folder(tmp_path / "new" / "deep")
    assert names(tmp_path) == []
    (tmp_path / "file").write_text("mine")
    for folder in (tmp_path / "file", tmp_path / "file" / "deep"):
        with pytest.raises(OutputError, match="a file, not a folder") as caught:
            check_output_folder(folder)
        assert caught.value.where == str(tmp_path / "file")


def test_a_folder_appears_whole_and_replaces_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "new" / "model"
    for number in range(2):
        with atomic_folder(path) as temporary:
            write_text(temporary / f"{number}.txt", "x")
            assert names(path) == ["0.txt"] if number else not path.exists()
        assert names(path) == [f"{number}.txt"]
    assert names(path.parent) == ["model"]


def test_an_error_in_the_block_keeps_the_old_folder(tmp_path: Path) -> None:
    def write_half(path: Path) -> None:
        with atomic_folder(path) as temporary:
            (temporary / "half.txt").touch()
            raise KeyboardInterrupt

    (tmp_path / "model").mkdir()
    (tmp_path / "model/old.txt").touch()
    for path in (tmp_path / "model", tmp_path / "not/yet/there"):
        with pytest.raises(KeyboardInterrupt):
            write_half(path)
    assert names(tmp_path) == ["model"]
    assert names(tmp_path / "model") == ["old.txt"]


@pytest.mark.parametrize("error", [OSError(errno.EIO, "input/output error"), KeyboardInterrupt()])
def test_the_old_folder_comes_back_if_the_new_one_cannot_take_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model/old.txt").touch()
    replace, calls = os.replace, []

    def fail_the_second_time(source: Path, target: Path) -> None:
        calls.append(source)
        if len(calls) == 2:
            raise error
        replace(source, target)

    monkeypatch.setattr(os, "replace", fail_the_second_time)
    with pytest.raises((OutputError, KeyboardInterrupt)), atomic_folder(tmp_path / "model"):
        pass
    assert names(tmp_path) == ["model"]
    assert names(tmp_path / "model") == ["old.txt"]


def test_where_the_cache_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SWIN_UMAMBA_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    home = Path.home() / ".cache" / "swin-umamba"
    assert cache_folder() == home
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert cache_folder() == home, "the specification has relative paths ignored"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "swin-umamba"
    monkeypatch.setenv("SWIN_UMAMBA_CACHE", str(tmp_path / "own"))
    assert cache_folder() == tmp_path / "own"
    monkeypatch.setenv("SWIN_UMAMBA_CACHE", "~/own")
    assert cache_folder() == Path.home() / "own"
    assert not (tmp_path / "own").exists()


def test_sha256_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "abc").write_bytes(b"abc")  # the example of FIPS 180-2
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert file_sha256(tmp_path / "abc") == expected
    large = bytes(3 * 2**20 + 5)
    (tmp_path / "large").write_bytes(large)
    assert file_sha256(tmp_path / "large") == hashlib.sha256(large).hexdigest()


def test_lines_are_appended(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    append_line(path, "first")
    append_line(path, "zweitens: ü")
    assert path.read_bytes() == "first\nzweitens: ü\n".encode()


def test_a_line_that_cannot_be_appended_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot append") as caught:
        append_line(tmp_path / "missing" / "a.jsonl", "first")
    assert str(tmp_path / "missing" / "a.jsonl") in str(caught.value)


@posix
def test_a_line_on_a_full_disk_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    """No byte beyond a limit can be written, as on a full disk; half the line would fit."""
    path = tmp_path / "a.jsonl"
    append_line(path, "first")
    code = (
        "import resource, signal, sys; from swin_umamba.files import append_line\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10))\n"
        "append_line(sys.argv[1], 'the second line')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False
    )
    assert "OutputError: cannot append to the file: only 4 of 16 bytes could be written" in done.stderr
    assert path.read_text() == "first\n"
