"""What differs on Windows, where an open file is neither replaced nor removed; see `like_windows`."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import TextIO

import numpy as np
import PIL.Image
import pytest

from like_windows import behave_like_windows, needs_proc
from swin_umamba import child, syncing
from swin_umamba.cli.main import COMMANDS, build_parser
from swin_umamba.cli.output import say
from swin_umamba.errors import OutputError
from swin_umamba.files import atomic_folder, atomic_write, write_text
from swin_umamba.inference.records import RECORDS_FILE, PredictionRecords
from swin_umamba.lock import HeldByAnother, Lock, let_go, opened_alone


@pytest.fixture
def windows(monkeypatch: pytest.MonkeyPatch) -> None:
    behave_like_windows(monkeypatch)


@needs_proc
@pytest.mark.usefixtures("windows")
class TestOpenFiles:
    def test_a_lock_is_given_back(self, tmp_path: Path) -> None:
        for _ in range(2):
            with (
                Lock(tmp_path / "work.lock").held(),
                pytest.raises(HeldByAnother),
                Lock(tmp_path / "work.lock").held(),
            ):
                pass
            assert not (tmp_path / "work.lock").exists()

    def test_who_opens_a_file_alone_may_replace_it(self, tmp_path: Path) -> None:
        path = tmp_path / "numbers"
        path.write_text("0\n")

        def add() -> None:
            for _ in range(20):
                with opened_alone(path) as file:
                    file.seek(0)
                    number = int(file.read())
                    let_go(file)
                    write_text(path, f"{number + 1}\n")

        threads = [threading.Thread(target=add) for _ in range(3)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        assert path.read_text() == "60\n"

    def test_records_are_tidied(self, tmp_path: Path) -> None:
        (tmp_path / RECORDS_FILE).write_text('{"case": "a", "n": 1}\n{"case": "a", "n": 2}\n{"case"')
        records = PredictionRecords(tmp_path)
        records.tidy(added=[{"case": "b"}])
        assert [line[-12:] for line in (tmp_path / RECORDS_FILE).read_text().splitlines()] == [
            '"a", "n": 2}',
            '"case": "b"}',
        ]

    def test_files_and_folders_are_replaced(self, tmp_path: Path) -> None:
        for text in ("one", "two"):
            with atomic_write(tmp_path / "file.txt") as temporary:
                temporary.write_text(text)
            with atomic_folder(tmp_path / "folder") as folder:
                (folder / "file.txt").write_text(text)
        assert (tmp_path / "file.txt").read_text() == (tmp_path / "folder" / "file.txt").read_text() == "two"
        assert {path.name for path in tmp_path.iterdir()} == {"file.txt", "folder"}

    def test_a_file_that_is_read_for_a_moment_is_waited_for(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(syncing, "WAITS_FOR_READERS", (0.05,) * 100)
        path = tmp_path / "file.txt"
        path.write_text("old")
        reader = path.open()
        closing = threading.Timer(0.2, reader.close)
        closing.start()
        write_text(path, "new")
        closing.join()
        assert path.read_text() == "new"

    def test_a_file_that_stays_open_is_an_error_and_stays_as_it_is(self, tmp_path: Path) -> None:
        path = tmp_path / "file.txt"
        path.write_text("old")
        with path.open(), pytest.raises(OutputError, match="open"):
            write_text(path, "new")
        assert path.read_text() == "old"
        assert list(tmp_path.iterdir()) == [path]

    def test_a_writer_that_fails_with_its_file_open_tells_its_own_error(self, tmp_path: Path) -> None:
        path = tmp_path / "file.txt"
        path.write_text("old")
        left_open: list[TextIO] = []

        def write() -> None:
            with atomic_write(path) as temporary:
                left_open.append(temporary.open("w"))
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            write()
        assert path.read_text() == "old"
        left_open[0].close()


def test_a_refusal_elsewhere_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[float] = []
    monkeypatch.setattr("time.sleep", asked.append)
    with pytest.raises(FileNotFoundError):
        syncing.rename(tmp_path / "a", tmp_path / "b")
    assert asked == []


@pytest.mark.parametrize("encoding", ["cp1252", "cp932", "ascii", "utf-8"])
def test_what_an_output_cannot_show_is_escaped(encoding: str) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding, newline="\n")
    say("Fall Ärger 症例 ×", file=stream, flush=True)
    shown = stream.buffer.getvalue().decode(encoding)  # type: ignore[attr-defined]
    assert shown.replace("\\xc4", "Ä").replace("\\xd7", "×").replace("\\u75c7\\u4f8b", "症例") == (
        "Fall Ärger 症例 ×\n"
    )


def test_help_is_shown_in_every_encoding() -> None:
    parser = build_parser()
    parser.format_help().encode("ascii")
    (commands,) = (each.choices for each in parser._actions if isinstance(each.choices, dict))
    assert commands.keys() >= set(COMMANDS)
    for command in commands.values():
        command.format_help().encode("ascii")


@pytest.mark.slow
def test_a_command_prints_where_the_console_has_other_letters(tmp_path: Path) -> None:
    mask = tmp_path / "症例.png"
    PIL.Image.fromarray(np.eye(8, dtype=np.uint8)).save(mask)
    done = subprocess.run(
        [sys.executable, "-m", "swin_umamba", "statistics", str(mask)],
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": "cp1252"},
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_a_child_whose_parent_ends_may_save(monkeypatch: pytest.MonkeyPatch) -> None:
    from types import SimpleNamespace

    told = threading.Event()
    monkeypatch.setattr(child, "wait", lambda sentinels: None)
    monkeypatch.setattr(child.multiprocessing, "parent_process", lambda: SimpleNamespace(sentinel=0))
    monkeypatch.setattr(child, "sys", SimpleNamespace(platform="win32"))
    monkeypatch.setattr(child.os, "kill", lambda *_: pytest.fail("on Windows, this ends a process at once"))
    raised: list[int] = []

    def raise_signal(number: int) -> None:
        raised.append(number)
        told.set()

    monkeypatch.setattr(child.signal, "raise_signal", raise_signal)
    child.end_with_parent()
    assert told.wait(300)
    assert raised == [signal.SIGTERM]


def test_text_files_name_their_encoding() -> None:
    # Else it is that of the system: on Windows, names of cases in other scripts could not be written.
    source = Path(child.__file__).parent
    command = ["-m", "ruff", "check", "--isolated", "--preview", "--select", "PLW1514", str(source)]
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
