"""Functions in processes of their own: results, errors, signals, and the end of who started them."""

from __future__ import annotations

import multiprocessing
import os
import signal
import struct
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

import swin_umamba.child as child_module
from forked import CONTEXT, Forked
from swin_umamba.child import Child, ProcessEnded, first_done, run_apart, stop_all
from swin_umamba.errors import DataError, SwinUMambaError
from swin_umamba.interrupt import Terminated

SECONDS = 600
"""After which what hangs is given up: far more than anything here takes."""

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals")


@pytest.fixture(autouse=True)
def _fast_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child_module, "_CONTEXT", CONTEXT)


def started(function: Any, *arguments: Any) -> Child[Any]:
    child: Child[Any] = Child("fold 7", function, *arguments)
    child.start()
    return child


def fail(error: BaseException) -> None:
    raise error


def end(number: int) -> None:
    os.kill(os.getpid(), number)


def work_until_stopped(folder: Path, name: str, seconds_to_save: float = 0) -> None:
    """Say that it runs, and what ended it."""
    try:
        (folder / f"{name}.runs").write_text(str(os.getpid()))
        time.sleep(SECONDS)
    except Terminated:
        time.sleep(seconds_to_save)
        with (folder / f"{name}.saved").open("a") as file:
            file.write("saved\n")
        raise


def wait_for(path: Path) -> str:
    deadline = time.monotonic() + SECONDS
    while not (path.exists() and (text := path.read_text())):
        assert time.monotonic() < deadline, path
        time.sleep(0.005)
    return text


def test_results_come_back_as_they_are_done(tmp_path: Path) -> None:
    quick, slow = started(pow, 2, 10), started(work_until_stopped, tmp_path, "slow")
    assert first_done([slow, quick]) == [quick]
    assert quick.result() == 1024
    wait_for(tmp_path / "slow.runs")
    stop_all([quick, slow])


@pytest.mark.parametrize(
    ("function", "argument", "said"),
    [
        (fail, DataError("no", where="here", hint="do"), "no\n  where: here\n  what to do: do"),
        (fail, ValueError("odd"), "unexpected ValueError: odd"),
        (fail, KeyboardInterrupt(), "the process was told to stop"),
        (end, signal.SIGTERM, "the process was told to stop"),
        (end, signal.SIGABRT, "the process was killed by signal: Aborted"),
        (end, signal.SIGKILL, "the process was killed, by hand or because memory ran out"),
        (os._exit, 3, "the process ended with exit code 3"),
        (time.sleep, "not a number", "unexpected TypeError"),
    ],
)
def test_whatever_goes_wrong_there_is_an_error_here(function: Any, argument: Any, said: str) -> None:
    with pytest.raises(SwinUMambaError) as caught:
        started(function, argument).result()
    assert said in str(caught.value)
    assert isinstance(caught.value, DataError) == isinstance(argument, DataError)


def test_an_interrupt_ends_the_other_process_too(tmp_path: Path) -> None:
    main = threading.get_ident()

    def interrupt() -> None:
        wait_for(tmp_path / "apart.runs")
        signal.pthread_kill(main, signal.SIGINT)

    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        run_apart("apart", work_until_stopped, tmp_path, "apart")
    assert (tmp_path / "apart.saved").read_text() == "saved\n"
    assert run_apart("apart", pow, 2, 10) == 1024
    with pytest.raises(ProcessEnded, match="was killed"):
        run_apart("apart", end, signal.SIGKILL)


def test_an_interrupt_while_it_is_started_ends_it_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It works already, and this process does not know its number yet."""
    begin = CONTEXT.Process._Popen

    def interrupted(process: Any) -> Any:
        popen = begin(process)
        wait_for(tmp_path / "apart.runs")
        signal.raise_signal(signal.SIGINT)
        return popen

    monkeypatch.setattr(CONTEXT.Process, "_Popen", staticmethod(interrupted))
    with pytest.raises(KeyboardInterrupt):
        run_apart("apart", work_until_stopped, tmp_path, "apart")
    assert (tmp_path / "apart.saved").read_text() == "saved\n"
    assert not multiprocessing.active_children()


def _send_half(far_end: Any, *_: Any) -> None:
    os.write(far_end.fileno(), struct.pack("!i", 100) + b"half of a result")
    os.kill(os.getpid(), signal.SIGKILL)


def test_who_is_killed_while_it_sends_its_result_was_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child_module, "_run", _send_half)
    with pytest.raises(ProcessEnded, match="was killed"):
        started(pow, 2, 10).result()


def test_all_are_told_to_stop_once_and_waited_for(tmp_path: Path) -> None:
    children = [started(work_until_stopped, tmp_path, str(number), 0.2) for number in range(2)]
    numbers = [int(wait_for(tmp_path / f"{number}.runs")) for number in range(2)]
    for number in numbers:
        os.kill(number, signal.SIGINT)  # as a terminal does to all
        os.kill(number, signal.SIGTERM)  # as the scheduler of a cluster does
    stop_all(children)
    assert not any(child.is_alive() for child in children)
    assert all((tmp_path / f"{number}.saved").read_text() == "saved\n" for number in range(2))


def test_who_does_not_end_in_time_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child_module, "SECONDS_TO_SAVE", 0.05)
    child = started(work_until_stopped, tmp_path, "slow", SECONDS)
    wait_for(tmp_path / "slow.runs")
    stop_all([child])
    with pytest.raises(SwinUMambaError, match="was killed"):
        child.result()


def _start_one(folder: Path) -> None:
    # Forked, as a second server to fork from would take seconds; only one, as a second would hold its pipe.
    child_module._CONTEXT = multiprocessing.get_context("fork")
    started(work_until_stopped, folder, "child")
    time.sleep(SECONDS)


def test_a_child_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    parent = Forked(_start_one, tmp_path)
    number = int(wait_for(tmp_path / "child.runs"))
    parent.kill()
    assert wait_for(tmp_path / "child.saved") == "saved\n"
    deadline = time.monotonic() + SECONDS
    while _runs(number):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _runs(number: int) -> bool:
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{number}/stat")
    return not status.exists() or status.read_text().rpartition(")")[2].split()[0] != "Z"
