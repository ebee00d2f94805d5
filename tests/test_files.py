"""A reader sees the old content or the new one, whatever happens to the writer."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import stat
import subprocess
import sys
import time
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from swin_umamba.errors import CheckpointError, DataError, OutputError
from swin_umamba.files import (
    BLOCK,
    append_line,
    atomic_folder,
    atomic_write,
    cache_folder,
    check_output_folder,
    copy_file,
    file_sha256,
    write_text,
)
from swin_umamba.temporary_files import temporary_file

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
        beside = [temporary.parent.resolve(), *temporary.parent.resolve().parents]
        assert tmp_path in beside[:2]
        assert temporary.stat().st_dev == tmp_path.stat().st_dev
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
    assert caught.value.hint
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


@posix
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o644, 0o755, 0o666, 0o444])
def test_a_replaced_file_hands_on_its_permissions(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    path.chmod(mode)
    with atomic_write(path) as temporary:
        assert stat.S_IMODE(temporary.stat().st_mode) == 0o600
        temporary.write_text("new")
    assert path.read_text() == "new"
    assert stat.S_IMODE(path.stat().st_mode) == mode
    assert names(path.parent) == ["a.txt"]


@posix
@pytest.mark.skipif(os.name == "nt" or os.geteuid() != 0, reason="only root gives files to others")
@pytest.mark.parametrize(("mode", "expected"), [(0o600, 0o600), (0o666, 0o644), (0o640, 0o640)])
def test_what_others_opened_to_all_is_not_for_our_content(tmp_path: Path, mode: int, expected: int) -> None:
    path = tmp_path / "a.txt"
    path.touch()
    path.chmod(mode)
    os.chown(path, 4242, 4243)
    write_text(path, "new")
    assert stat.S_IMODE(path.stat().st_mode) == expected & ~umask()
    assert (path.stat().st_uid, path.stat().st_gid) == (0, 4243)


def umask() -> int:
    """Return the umask of this process."""
    mask = os.umask(0o777)
    os.umask(mask)
    return mask


@posix
def test_a_group_that_cannot_be_given_the_file_gets_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.txt"
    path.touch()
    path.chmod(0o664)
    before = os.stat_result([*path.stat()[:5], path.stat().st_gid + 1, *path.stat()[6:]])

    def refuse(*_: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "fchown", refuse)
    with temporary_file(path, before, private=True) as temporary:
        temporary.settle(before)
        assert stat.S_IMODE(temporary.path.stat().st_mode) == 0o604


@posix
@pytest.mark.parametrize(("existing", "expected"), [(False, 0o640), (True, 0o604)])
def test_permissions_if_the_writer_replaces_the_file_itself(
    tmp_path: Path, existing: bool, expected: int
) -> None:
    """As safetensors does."""
    path = tmp_path / "a.txt"
    if existing:
        path.touch()
        path.chmod(expected)
    mask = os.umask(0o027)
    try:
        with atomic_write(path) as temporary:
            other = temporary.with_name("other")
            other.touch(0o600)
            os.replace(other, temporary)
    finally:
        os.umask(mask)
    assert stat.S_IMODE(path.stat().st_mode) == expected


@posix
def test_a_link_to_a_file_is_followed_and_stays(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    for path, place in (
        (tmp_path / "a.txt", "disk/a.txt"),
        (tmp_path / "new.txt", tmp_path / "disk/new.txt"),
    ):
        path.symlink_to(place)
        for text in ("first", "second"):
            write_text(path, text)
            assert path.is_symlink()
            assert (tmp_path / "disk" / path.name).read_text() == text
        append_line(path, " line")
        assert path.read_text() == "second line\n"
    assert names(tmp_path) == ["a.txt", "disk", "new.txt"]
    assert names(tmp_path / "disk") == ["a.txt", "new.txt"]


@posix
def test_a_link_to_a_folder_is_followed_and_stays(tmp_path: Path) -> None:
    (tmp_path / "disk/model").mkdir(parents=True)
    (tmp_path / "disk/model/old.txt").touch()
    (tmp_path / "model").symlink_to("disk/model")
    with atomic_folder(tmp_path / "model") as temporary:
        (temporary / "new.txt").touch()
    assert (tmp_path / "model").is_symlink()
    assert names(tmp_path / "disk/model") == ["new.txt"]
    assert names(tmp_path) == ["disk", "model"]
    assert names(tmp_path / "disk") == ["model"]


def test_a_file_is_not_replaced_by_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OutputError, match="not a folder"), atomic_folder(tmp_path / "file"):
        pass
    assert (tmp_path / "file").read_text() == "mine"
    assert names(tmp_path) == ["file"]


@posix
@pytest.mark.parametrize(("old", "expected"), [(None, 0o750), (0o700, 0o700), (0o777, 0o777), (0o555, 0o755)])
def test_permissions_of_a_folder(tmp_path: Path, old: int | None, expected: int) -> None:
    """Those of the old one, which its owner may always write to; else what the umask leaves."""
    path = tmp_path / "model"
    if old is not None:
        path.mkdir()
        path.chmod(old)
    mask = os.umask(0o027)
    try:
        with atomic_folder(path) as temporary:
            assert stat.S_IMODE(temporary.parent.stat().st_mode) == 0o700
    finally:
        os.umask(mask)
    assert stat.S_IMODE(path.stat().st_mode) == expected


def other_error(code: int, *names: Path | None) -> OSError:
    first, second = (*names, None, None)[:2]
    return OSError(
        code, os.strerror(code), *([str(first)] if first else []), *([None, str(second)] if second else [])
    )


def test_an_error_about_another_file_is_not_one_about_the_output(tmp_path: Path) -> None:
    """A block fails with each kind of error; ``TEMPORARY`` stands for what it writes."""
    source, temporary_path = tmp_path / "source", Path("TEMPORARY")
    cases = [
        (errno.ENOENT, (source,), True),
        (errno.EACCES, (source,), True),
        (errno.EIO, (source, temporary_path), True),  # as when a file is copied
        (errno.ENOSPC, (source, temporary_path), False),
        (errno.EDQUOT, (source, temporary_path), False),
        (errno.EACCES, (temporary_path,), False),
        (errno.EIO, (temporary_path, source), False),
        (errno.ENOSPC, (), False),
        (errno.EIO, (), False),
    ]

    def write(manager: AbstractContextManager[Path], code: int, about: tuple[Path, ...]) -> None:
        with manager as temporary:
            raise other_error(code, *(temporary if each == temporary_path else each for each in about))

    for replacement in (atomic_write, atomic_folder):
        for code, about, stays in cases:
            path = tmp_path / "new" / "result"
            with pytest.raises(OSError if stays else OutputError) as caught:
                write(replacement(path), code, about)
            if stays:
                assert caught.value.filename == str(source)
            else:
                assert caught.value.where == str(path)
            assert names(tmp_path) == []


def test_a_file_is_copied(tmp_path: Path) -> None:
    content = bytes(range(256)) * 5000  # more than one block
    (tmp_path / "source").write_bytes(content)
    copy_file(tmp_path / "source", tmp_path / "new" / "copy")
    assert (tmp_path / "new/copy").read_bytes() == content


def test_a_source_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "copy").write_text("old")
    sources = [tmp_path / "missing", tmp_path / "folder"]
    if os.name != "nt":
        os.mkfifo(tmp_path / "pipe")
        sources.append(tmp_path / "pipe")
    for source in sources:
        with pytest.raises(CheckpointError, match="cannot be read") as caught:
            copy_file(source, tmp_path / "copy", error=CheckpointError, hint="fetch it again")
        assert (caught.value.where, caught.value.hint) == (str(source), "fetch it again")
    assert (tmp_path / "copy").read_text() == "old"
    with pytest.raises(OutputError) as output:
        copy_file(tmp_path / "copy", tmp_path / "copy" / "copy")
    assert output.value.where == str(tmp_path / "copy" / "copy")


@posix
def test_a_source_that_fails_in_the_middle_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Damaged(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            if self.tell():
                raise OSError(errno.EIO, "Input/output error")
            return super().read(size)

    monkeypatch.setattr("swin_umamba.files.open_to_read", lambda _: Damaged(bytes(BLOCK + 1)))
    with pytest.raises(DataError, match="Input/output error") as caught:
        copy_file(tmp_path / "source", tmp_path / "copy")
    assert caught.value.where == str(tmp_path / "source")
    assert names(tmp_path) == []
