"""The first reason counts for all ranks, and a silent rank is one."""

from __future__ import annotations

import json
import pickle
import time
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import pytest
from torch.distributed import HashStore

from swin_umamba.distributed import watch as module
from swin_umamba.distributed.watch import Fault, Watch, is_broken_connection
from swin_umamba.errors import DataError, TrainingError, UsageError
from swin_umamba.interrupt import Terminated

BROKEN = RuntimeError("[/third_party/gloo/gloo/transport/tcp/pair.cc:553] Connection closed by peer")


@pytest.fixture
def watches(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Watch]]:
    """Those of two ranks in one process, and impatient; not started."""
    monkeypatch.setattr(module, "SECONDS_BETWEEN_BEATS", 0.01)
    monkeypatch.setattr(module, "SECONDS_UNTIL_LOST_IF_BROKEN", 0.2)
    store = HashStore()
    both = [Watch(store, None, rank, 2) for rank in range(2)]
    yield both
    for each in both:
        each.close()


@pytest.mark.parametrize(
    ("error", "code", "what"),
    [
        (DataError("a case is damaged", where="case7", hint="mend it"), 1, "a case is damaged"),
        (UsageError("no such option"), 2, "no such option"),
        (Terminated(), 143, "SIGTERM"),
        (KeyboardInterrupt(), 130, "SIGINT"),
        (ValueError("x"), 1, "unexpected ValueError: x"),
    ],
)
def test_the_first_reason_counts_for_all(
    watches: list[Watch], error: BaseException, code: int, what: str
) -> None:
    for each in watches:
        each._leaving.set()  # here, nobody is to interrupt the main thread
        each.start()
    watches[1].tell(error)
    watches[0].tell(TrainingError("a consequence"))
    assert watches[1].error_for(error) is error
    fault = watches[0].cause()
    assert fault is not None
    assert (fault.rank, fault.exit_code) == (1, code)
    assert what in fault.described
    raised = watches[0].error_for(BROKEN)
    if isinstance(error, KeyboardInterrupt):
        assert type(raised) is type(error)
    else:
        assert isinstance(raised, TrainingError)
        assert raised.exit_code == code
        assert f"all ranks stop, since rank 1 on {fault.host}: {what}" in str(raised)


def test_who_fell_silent_is_the_reason(watches: list[Watch]) -> None:
    first, other = watches
    first.tell(BROKEN)
    first.start()
    raised = first.error_for(BROKEN)
    assert isinstance(raised, TrainingError)
    assert "rank 1: no sign of life" in str(raised)
    assert other.store.check(["fault"])


class Lively(HashStore):
    """In which the other ranks give a sign of life before each look."""

    def multi_get(self, keys: list[str]) -> list[bytes]:
        self.looks = getattr(self, "looks", 0) + 1
        return [b"%d" % self.looks] * len(keys)


def test_a_broken_connection_is_no_reason_of_its_own(watches: list[Watch]) -> None:
    watches[0].store = Lively()
    watches[0]._leaving.set()
    watches[0].start()
    watches[0].tell(BROKEN)
    assert not watches[0].store.check(["fault"])
    assert "the connection to another rank has broken" in str(watches[0].error_for(BROKEN))


class Halting(HashStore):
    """Whose process is halted during a look; it has a reason by then."""

    def multi_get(self, keys: list[str]) -> list[bytes]:
        if not hasattr(self, "told"):
            self.told = True
            time.sleep(4 * module.SECONDS_UNTIL_LOST_IF_BROKEN)
            super().set("fault", json.dumps(asdict(Fault.of(1, DataError("a case is damaged")))))
        return super().multi_get(keys)


def test_a_halt_of_the_store_hides_no_reason(watches: list[Watch]) -> None:
    store = Halting()
    for rank in range(2):
        store.set(f"beat{rank}", "1")
    watches[0].store = store
    watches[0].tell(BROKEN)
    watches[0].start()
    assert "since rank 1 on" in str(watches[0].error_for(BROKEN))


def test_a_reason_waits_for_a_look_that_waits_for_the_store(watches: list[Watch]) -> None:
    patience: list[float] = []

    class Recorded:
        def acquire(self, timeout: float) -> bool:
            patience.append(timeout)
            return True

        def release(self) -> None:
            pass

    watches[1]._lock = Recorded()  # type: ignore[assignment]
    watches[1].say_saved()
    watches[1].tell(DataError("a case is damaged"))
    assert patience == [5, 2 * module.SECONDS_FOR_THE_STORE]


def test_the_others_wait_until_the_first_rank_has_saved(watches: list[Watch]) -> None:
    watches[1]._leaving.set()
    watches[1].start()
    watches[0].say_saved()
    watches[1].wait_for_saved()


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (BROKEN, True),
        (RuntimeError("NCCL communicator was aborted"), True),
        (RuntimeError("shapes do not fit"), False),
        (DataError("gloo.png is damaged"), False),
        (KeyboardInterrupt(), False),
    ],
)
def test_broken_connections(error: BaseException, expected: bool) -> None:
    assert is_broken_connection(error) is expected


def test_an_error_with_its_exit_code_crosses_processes() -> None:
    raised: Any = Fault.of(1, UsageError("no such option")).as_error()
    assert pickle.loads(pickle.dumps(raised)).what == raised.what
