from __future__ import annotations

import io
import sys

import pytest

from swin_umamba import progress as module
from swin_umamba.progress import bars_aside, byte_progress, passing_bar, progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


BLOCKS = [b"abc", b"de", b"f"]


def test_nothing_is_lost_and_nothing_shown_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(byte_progress(BLOCKS, "file", total=6)) == BLOCKS
    assert list(progress([1, 2], "cases")) == [1, 2]
    assert capsys.readouterr() == ("", "")


def test_bytes_are_counted_from_the_start_of_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SECONDS_BEFORE_SHOWN", 0)
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    assert list(byte_progress(BLOCKS, "file", total=16, start=10)) == BLOCKS
    assert "file:" in terminal.getvalue()
    assert "16.0/16.0" in terminal.getvalue()


def test_a_passing_bar_is_there_at_once_gives_way_and_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    monkeypatch.setattr(sys, "stdout", terminal)
    with passing_bar("epoch 1/2", total=4, unit="step"):
        assert terminal.getvalue().startswith("\repoch 1/2:   0%")
        with bars_aside():
            print("a line")  # noqa: T201
    *_, cleared, line, redrawn, end, rest = terminal.getvalue().split("\r")
    assert (cleared.strip(), line) == ("", "a line\n")
    assert redrawn.startswith("epoch 1/2:   0%")
    assert (end.strip(), rest) == ("", "")
