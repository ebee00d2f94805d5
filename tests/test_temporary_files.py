"""Nobody else puts something in the place of a temporary file, and dead writers' files go."""

from __future__ import annotations

import errno
import fcntl
import os
import time
from pathlib import Path

import pytest

from swin_umamba import temporary_files
from swin_umamba.files import atomic_write, write_text
from swin_umamba.temporary_files import PREFIX, SECONDS_UNTIL_STALE

posix = pytest.mark.skipif(os.name == "nt", reason="POSIX permissions and signals")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_a_dead_writer_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    # Its name could be that of a temporary file of ba.txt, too.
    others = [".writing-abcd1234ba.txt", "a.txt.old"]
    for name in (".writing-abcd1234a.txt", *others):
        (tmp_path / name).write_text("half")
        os.utime(tmp_path / name, (0, 0))
    with atomic_write(tmp_path / "a.txt"):
        alive = set(names(tmp_path)) - {".writing-abcd1234a.txt", *others}
        temporary_files._temporary_files.cache_clear()  # as in another process
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

    monkeypatch.setattr(temporary_files.fcntl, "flock", unsupported)
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
    lock, made = temporary_files._lock, []

    def lock_too_late(descriptor: int, *, wait: bool) -> bool:
        made.extend(path for path in tmp_path.rglob(f"{PREFIX}*") if path.is_file())
        if len(made) == 1:
            made[0].unlink()
        return lock(descriptor, wait=wait)

    monkeypatch.setattr(temporary_files, "_lock", lock_too_late)
    write_text(tmp_path / "a.txt", "new")
    assert len(made) == 2
    assert names(tmp_path) == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "new"


@posix
def test_a_dead_writers_private_folder_is_removed_and_no_other(tmp_path: Path) -> None:
    for name in ("a.txt", "ba.txt"):
        (tmp_path / f".writing-abcd1234{name}").mkdir()
        (tmp_path / f".writing-abcd1234{name}" / f".writing-1234abcd{name}").write_text("half")
    being_made = tmp_path / ".writing-abcd5678a.txt"
    being_made.mkdir()
    (tmp_path / ".writing-dead5678a.txt").mkdir()  # its writer was killed before it had a file, or after
    foreign = tmp_path / ".writing-efgh5678a.txt"  # as atomic_folder makes for a folder called a.txt
    (foreign / "a.txt").mkdir(parents=True)
    os.utime(foreign, (0, 0))
    descriptor = os.open(being_made, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)  # as its living writer does
    write_text(tmp_path / "a.txt", "new")
    os.close(descriptor)
    assert names(tmp_path) == sorted([".writing-abcd1234ba.txt", being_made.name, foreign.name, "a.txt"])
    assert names(foreign) == ["a.txt"]
