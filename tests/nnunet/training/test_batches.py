"""Batches that depend on a seed and their number alone."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import random
import signal
import sys
from collections.abc import Iterator
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from swin_umamba.nnunet.training.batches import (
    BatchStream,
    SeededBatches,
    batch_streams,
    end_quietly,
    worker_death,
)


class Draws:
    """A loader whose batches are one number of each global generator."""

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return self

    def __next__(self) -> dict[str, Any]:
        return {"drawn": (random.random(), float(np.random.rand()), float(torch.rand(())))}  # noqa: NPY002


class Fails(Draws):
    def __next__(self) -> dict[str, Any]:
        raise ValueError("case 7 is damaged")


def first_batches(number: int, *, first: int = 0, workers: int = 0, seed: int | None = 3) -> list[Any]:
    training, validation = batch_streams(
        [Draws(), Draws()],
        seed=seed,
        rank=0,
        first=(first, first),
        workers=workers,
        pin_memory=False,
        batch_bytes=0,
    )
    drawn = [(next(training)["drawn"], next(validation)["drawn"]) for _ in range(number)]
    training.close()
    validation.close()
    return drawn


def test_batches_are_the_same_for_any_number_of_workers_and_after_any_pause() -> None:
    expected = first_batches(6)
    assert first_batches(6, workers=3) == expected
    assert first_batches(4, first=2, workers=2) == expected[2:]


def test_all_batches_differ() -> None:
    streams = [first_batches(5), first_batches(5, seed=4), first_batches(5, seed=None)]
    drawn = list(itertools.chain.from_iterable(itertools.chain.from_iterable(streams)))
    for each in zip(*drawn, strict=True):
        assert len(set(each)) == 30
    other_rank = SeededBatches(Draws(), (3, 1, 0))[0]["drawn"]
    assert other_rank not in drawn


def test_the_generators_of_this_process_are_left_alone() -> None:
    def draw() -> tuple[float, ...]:
        return next(Draws())["drawn"]

    def seed() -> None:
        random.seed(0)
        np.random.seed(0)  # noqa: NPY002
        torch.manual_seed(0)

    seed()
    expected = [draw(), draw()]
    seed()
    drawn = [draw()]
    first_batches(3)
    assert [*drawn, draw()] == expected


@pytest.mark.parametrize("workers", [0, 1])
def test_an_error_of_the_loader_reaches_the_training(workers: int) -> None:
    stream = BatchStream(SeededBatches(Fails(), (0,)), first=0, workers=workers, pin_memory=False)
    with pytest.raises(ValueError, match="case 7 is damaged") as caught:
        next(stream)
    stream.close()
    assert worker_death(caught.value, "data", stream.ended) is None


def test_only_the_death_of_a_process_is_explained() -> None:
    for message in (
        "DataLoader worker (pid 5) is killed by signal: Killed. ",
        "DataLoader worker (pid 5) exited unexpectedly with exit code 1. Details are lost due to ...",
    ):
        error = worker_death(RuntimeError(message), "data", lambda _: {})
        assert error is not None
        assert error.what == f"a process that loads and augments data has died: {message.split('. ')[0]}"
        assert error.where == "data"
    assert worker_death(RuntimeError("mat1 and mat2 cannot be multiplied"), "data", lambda _: {5: -9}) is None


def test_exit_codes_say_more_than_the_message() -> None:
    prefix = "a process that loads and augments data has died: "
    for error in (
        RuntimeError("DataLoader worker (pid(s) 5) exited unexpectedly"),
        EOFError(),
        ConnectionResetError("Connection reset by peer"),
        FileNotFoundError("No such file or directory"),
    ):
        death = worker_death(error, "data", lambda _: {5: -signal.SIGSEGV, 6: 3})
        assert death is not None
        assert death.what == (
            f"{prefix}process 5 was killed by signal: {signal.strsignal(signal.SIGSEGV)}; "
            "process 6 has ended with exit code 3"
        )
    assert worker_death(EOFError(), "data", lambda _: {}) is None
    assert worker_death(OSError("No space left on device"), "data", lambda _: {}) is None


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_a_process_without_shared_memory_names_its_cure() -> None:
    pytorchs = "DataLoader worker (pid 5) is killed by signal: Bus error. It is possible that ..."
    for error, ended in ((RuntimeError(pytorchs), {}), (EOFError(), {5: -signal.SIGBUS})):
        death = worker_death(error, "data", lambda _, ended=ended: ended)
        assert death is not None
        assert "--shm-size" in str(death.hint)
        assert "--ipc=host" in str(death.hint)


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_a_death_is_not_raised_again_while_it_is_explained() -> None:
    """As PyTorch does, in the main thread, as soon as the system tells of it."""

    def raise_again(*_: Any) -> None:
        raise RuntimeError("DataLoader worker (pid 5) is killed by signal: Killed.")

    def ended(seconds: float) -> dict[int, int]:
        os.kill(os.getpid(), signal.SIGCHLD)
        return {5: -signal.SIGKILL}

    before = signal.signal(signal.SIGCHLD, raise_again)
    try:
        death = worker_death(EOFError(), "data", ended)
        assert signal.getsignal(signal.SIGCHLD) is raise_again
    finally:
        signal.signal(signal.SIGCHLD, before)
    assert death is not None
    assert "process 5 was killed by signal: Killed" in death.what


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_a_stream_knows_which_process_was_killed() -> None:
    stream = BatchStream(SeededBatches(Fails(), (0,)), first=0, workers=2, pin_memory=False)
    assert stream.ended() == {}
    first = multiprocessing.active_children()[0]
    with suppress(RuntimeError):  # PyTorch tells of it as soon as it sees it
        first.kill()
        first.join(300)
    assert stream.ended() == {first.pid: -signal.SIGKILL}
    stream.close()
    assert BatchStream(SeededBatches(Fails(), (0,)), first=0, workers=0, pin_memory=False).ended() == {}


def test_a_process_whose_connections_have_closed_is_waited_for() -> None:
    """The system closes them first, and has an exit code when it has taken down all threads and memory."""
    end, other = multiprocessing.Pipe()
    other.close()

    class Dying:
        pid, sentinel = 7, end.fileno()
        exitcode: int | None = None

        def join(self) -> None:
            self.exitcode = -signal.SIGKILL

    stream = BatchStream(SeededBatches(Fails(), (0,)), first=0, workers=0, pin_memory=False)
    stream._iterator = SimpleNamespace(_workers=[Dying()])
    assert stream.ended(300) == {7: -signal.SIGKILL}
    end.close()


def test_a_loading_process_is_silent_only_about_its_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[BaseException] = []
    monkeypatch.setattr(sys, "excepthook", lambda _, error, trace: said.append(error))
    end_quietly(0)
    for error in (EOFError(), ConnectionResetError(), BrokenPipeError(), ValueError("a case")):
        sys.excepthook(type(error), error, None)
    assert [str(error) for error in said] == ["a case"]
