"""Others who may write to an output folder: nothing of ours is changed or read behind what they put there."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from swin_umamba import opening, temporary_files
from swin_umamba.errors import OutputError
from swin_umamba.files import append_line, atomic_folder, atomic_open, atomic_write, write_text
from swin_umamba.opening import open_regular, open_to_read
from swin_umamba.temporary_files import PREFIX

posix = pytest.mark.skipif(os.name == "nt", reason="POSIX permissions and links")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


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


@posix
def test_links_of_others_are_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    (tmp_path / "link").symlink_to("mine.txt")
    if os.geteuid() == 0:
        os.lchown(tmp_path / "link", 4242, -1)
    else:
        monkeypatch.setattr(opening, "own_number", lambda: os.geteuid() + 1)
    for write in (write_text, append_line):
        with pytest.raises(OutputError, match="a link that another user has put there"):
            write(tmp_path / "link", "theirs")
    assert (tmp_path / "mine.txt").read_text() == "mine"


@posix
def test_pipes_are_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for flags in (os.O_RDONLY, os.O_RDWR):
        with pytest.raises(OSError, match="it is a pipe or a device"):
            open_regular(tmp_path / "pipe", flags)
    with pytest.raises(OSError, match="it is a pipe or a device"):
        open_to_read(tmp_path / "pipe")


@posix
def test_the_umask_is_never_touched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For it is the whole process's: files that other threads make meanwhile would be open to all."""
    monkeypatch.delattr(os, "umask")
    for _ in range(2):
        write_text(tmp_path / "a.txt", "x")
        append_line(tmp_path / "a.jsonl", "x")
        with atomic_folder(tmp_path / "model"):
            pass


@posix
def test_pipes_and_devices_are_not_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "null").symlink_to(os.devnull)
    for name in ("pipe", "null"):
        for write in (write_text, append_line):
            with pytest.raises(OutputError):
                write(tmp_path / name, "x")
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)
    assert stat.S_ISCHR(Path(os.devnull).stat().st_mode)
    assert names(tmp_path) == ["null", "pipe"]
