"""Nobody else puts something in the place of a temporary file, and dead writers' files go."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from swin_umamba import temporary_files
from swin_umamba.errors import OutputError
from swin_umamba.files import atomic_folder, atomic_open, atomic_write, write_text
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


class Colleague:
    """Somebody who may write to a folder, and puts links to our private things in the place of its files."""

    def __init__(self, tmp_path: Path) -> None:
        self.shared = tmp_path / "shared"
        self.shared.mkdir()
        self.file, self.folder = tmp_path / "id_rsa", tmp_path / "private"
        self.file.write_text("the key\n")
        self.file.chmod(0o600)
        self.folder.mkdir(mode=0o700)
        self.moved = tmp_path / "moved"
        self.moved.mkdir()

    def replace(self) -> None:
        """Replace all that is being written, as far as its folder allows."""
        for each in self.shared.iterdir():
            if each.name.startswith(PREFIX):
                is_folder = each.is_dir()
                each.rename(self.moved / str(len(names(self.moved))))
                each.symlink_to(self.folder if is_folder else self.file)

    def has_changed_nothing(self) -> bool:
        modes = [stat.S_IMODE(path.stat().st_mode) for path in (self.file, self.folder)]
        return modes == [0o600, 0o700] and self.file.read_text() == "the key\n" and not names(self.folder)


@posix
@pytest.mark.parametrize("existing", [False, True])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_file_that_is_replaced_while_it_is_written(tmp_path: Path, existing: bool, when: str) -> None:
    colleague = Colleague(tmp_path)
    path = colleague.shared / "a.txt"
    if existing:
        path.write_text("old")
    with atomic_write(path) as temporary:
        if when == "before":
            colleague.replace()
        temporary.write_text("new")
        if when == "after":
            colleague.replace()
    assert path.read_text() == "new"
    assert colleague.has_changed_nothing()


@posix
@pytest.mark.parametrize("by", ["a link", "another name", "another file"])
def test_an_open_file_that_is_replaced_is_refused(tmp_path: Path, by: str) -> None:
    """It lies in the folder itself; what was put in its place is not touched and gets no name."""
    colleague = Colleague(tmp_path)
    (colleague.shared / "a.txt").write_text("old")

    def write() -> None:
        with atomic_open(colleague.shared / "a.txt") as file:
            file.write(b"new")
            (temporary,) = colleague.shared.glob(f"{PREFIX}*")
            temporary.unlink()
            if by == "a link":
                temporary.symlink_to(colleague.file)
            elif by == "another name":
                os.link(colleague.file, temporary)
            else:
                colleague.file.rename(temporary)

    with colleague.file.open() as private:
        with pytest.raises(OutputError):
            write()
        assert stat.S_IMODE(os.fstat(private.fileno()).st_mode) == 0o600
        assert private.read() == "the key\n"
    assert (colleague.shared / "a.txt").read_text() == "old"


@posix
def test_a_folder_that_is_replaced_while_it_is_written(tmp_path: Path) -> None:
    colleague = Colleague(tmp_path)
    with atomic_folder(colleague.shared / "model") as temporary:
        colleague.replace()
        write_text(temporary / "plans.json", "new")
        colleague.replace()
        (temporary / "fold_0").mkdir()
        write_text(temporary / "fold_0" / "a.txt", "new")
    assert names(colleague.shared / "model") == ["fold_0", "plans.json"]
    assert colleague.has_changed_nothing()


@posix
def test_without_paths_by_descriptor_a_replaced_file_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(temporary_files, "_DESCRIPTORS", tmp_path / "not there")
    colleague = Colleague(tmp_path)

    def write() -> None:
        with atomic_write(colleague.shared / "a.txt") as temporary:
            temporary.write_text("new")
            colleague.replace()

    with pytest.raises(OutputError):
        write()
    assert colleague.has_changed_nothing()
    assert not (colleague.shared / "a.txt").exists()


@posix
@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_what_stands_in_the_place_of_a_temporary_file_is_left_alone(
    tmp_path: Path, link: Callable[[Path, Path], None]
) -> None:
    """Even where it should not be possible to put something there: a second check."""
    private = tmp_path / "id_rsa"
    private.write_text("the key\n")
    private.chmod(0o600)

    def write() -> None:
        with atomic_write(tmp_path / "a.txt") as temporary:
            temporary.write_text("new")
            temporary.unlink()
            link(private, temporary)

    with pytest.raises(OutputError):
        write()
    assert private.read_text() == "the key\n"
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    assert names(tmp_path) == ["id_rsa"]


@posix
@pytest.mark.parametrize("whose", ["ours", "theirs"])
def test_another_private_folder_is_not_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whose: str
) -> None:
    """Between making the folder and opening it, it can be replaced: by one with files, or one of theirs."""
    if whose == "theirs" and os.geteuid() != 0:
        pytest.skip("only root gives folders to others")
    mkdir = Path.mkdir

    def make_and_replace(path: Path, *options: Any, **more: Any) -> None:
        mkdir(path, *options, **more)
        if path.name.startswith(PREFIX):
            if whose == "ours":
                (path / "file").touch()
            else:
                os.chown(path, 4242, -1)

    monkeypatch.setattr(Path, "mkdir", make_and_replace)
    with pytest.raises(OutputError, match="another user has replaced it"), atomic_write(tmp_path / "a.txt"):
        pass
    assert not (tmp_path / "a.txt").exists()
