from __future__ import annotations

import io
import logging
import sys
from collections.abc import Iterator

import pytest

from swin_umamba import progress as module
from swin_umamba.progress import (
    Progress,
    bars_aside,
    byte_progress,
    duration,
    passing_bar,
    progress,
    show_progress,
)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    """Seconds that a test lets pass."""

    def __init__(self) -> None:
        self.now = 5000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Clock:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(module, "clock", made := Clock())
    monkeypatch.setattr(module, "_last_line", 0.0)
    return made


def slowly(clock: Clock, count: int, seconds: float) -> Iterator[int]:
    for number in range(count):
        yield number
        clock.now += seconds


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


def test_a_line_every_half_minute_tells_what_is_done_and_left(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    with Progress("predicting", total=10, unit="case") as shown:
        for _ in slowly(clock, 9, 12.5):
            shown.update()
    assert caplog.messages == [
        "predicting: 4 of 10 cases, 9.4 s/case, 56 s left",
        "predicting: 7 of 10 cases, 10.7 s/case, 32 s left",
    ]


def test_what_is_iterated_over_is_counted(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    found = []
    for number in progress(range(4), "evaluating"):
        found.append(number)
        clock.now += 20
    assert found == [0, 1, 2, 3]
    assert caplog.messages == [
        "evaluating: 2 of 4 cases, 20.0 s/case, 40 s left",
        "evaluating: 4 of 4 cases, 20.0 s/case, 0 s left",
    ]


def test_what_is_done_in_less_than_half_a_minute_is_silent(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(9):  # one after the other, for minutes
        for _ in progress(range(10), "evaluating"):
            clock.now += 2.9
    assert caplog.messages == []


def test_rates_above_one_unknown_totals_and_bytes(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    for _ in progress(iter(range(400)), "measuring", unit="file"):
        clock.now += 0.125
    assert caplog.messages == ["measuring: 240 files, 8.0 files/s"]
    caplog.clear()
    for _ in byte_progress([bytes(5_000_000)] * 8, "weights", total=90_000_000, start=50_000_000):
        clock.now += 5
    assert caplog.messages == ["weights: 80.0 of 90.0 MB, 1.0 MB/s, 10 s left"]


def test_the_parts_of_one_large_item_are_told(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    with Progress("predicting", total=1, unit="case") as shown:
        for part in (0.125, 0.25, 0.5, 0.75):
            clock.now += 20
            shown.within(part)
        shown.update()
    assert caplog.messages == [
        "predicting: 25 % of 1 case, 160.0 s/case, 2 min left",
        "predicting: 75 % of 1 case, 106.7 s/case, 27 s left",
    ]


def test_parts_of_a_part_say_what_they_belong_to(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    for total in (1, 4):
        with Progress("predicting", total=total, unit="case") as shown:
            with passing_bar("large image", total=3, unit="block") as inner:
                for _ in range(3):
                    clock.now += 16
                    inner.update()
            shown.update()
    first, second = caplog.messages
    assert first == "large image: 2 of 3 blocks, 16.0 s/block, 16 s left"
    assert second == f"predicting: 0 of 4 cases; {first}"


def test_nothing_is_said_if_none_is_wanted(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    show_progress(False)
    try:
        for _ in progress(range(10), "predicting"):
            clock.now += 60
    finally:
        show_progress(True)
    with passing_bar("epoch 1/2", total=2, unit="step", shown=False) as bar:
        clock.now += 100
        bar.update()
    assert caplog.messages == []


def test_there_is_one_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    monkeypatch.setattr(module, "SECONDS_BEFORE_SHOWN", 0)
    with Progress("predicting", total=2, unit="case") as shown:
        with passing_bar("large image", total=3, unit="block") as inner:
            assert not inner.is_drawn
            inner.update(2)
        shown._bar.refresh()
    assert "predicting:   0%" in terminal.getvalue()
    assert "large image: 2 of 3 blocks]" in terminal.getvalue()
    assert "large image:  67%" not in terminal.getvalue()


def test_a_program_without_a_console(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    assert list(progress(slowly(clock, 2, 60), "reading", total=2)) == [0, 1]
    with passing_bar("reading", total=2, unit="file") as shown:
        shown.within(0.5)
        shown.set_postfix_str("a note")
        shown.update()


def test_durations() -> None:
    assert [duration(seconds) for seconds in (0.4, 29, 95, 3700)] == ["0 s", "29 s", "2 min", "1 h 2 min"]
