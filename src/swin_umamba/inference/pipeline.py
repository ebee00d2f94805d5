"""Cases of a folder one after the other through the network, while others are read and written.

Threads read and preprocess cases ahead, in their order, and one thread behind writes and records. What is on
its way takes a bounded part of the memory: a case that would take more has the way for itself.
"""

from __future__ import annotations

import logging
import math
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack

import torch

from swin_umamba.data.image_io import shape_of
from swin_umamba.errors import SwinUMambaError
from swin_umamba.inference.case_result import CaseResult
from swin_umamba.inference.case_run import CaseRun
from swin_umamba.inference.case_work import CaseWork
from swin_umamba.inference.parts import claim_of
from swin_umamba.inference.records import Outcome
from swin_umamba.lock import HeldByAnother
from swin_umamba.ops.free_memory import free_memory
from swin_umamba.progress import Progress
from swin_umamba.syncing import folders_synced_together
from swin_umamba.torch_settings import processors

logger = logging.getLogger(__name__)

SECONDS_BETWEEN_ROUNDS = 1.0
AHEAD = 16
"""The most cases that are read, or being read, before their turn."""
SECONDS_AHEAD = 5.0
"""Work of the network that they may hold, beyond one for each reader: other processes want cases, too."""
BEHIND = 16
"""Cases that wait to be written; they are recorded together."""
PART_OF_FREE_MEMORY = 1 / 8
"""The most that all cases on their way may take together."""
MEMORY_WHERE_UNKNOWN = 2**30
BYTES_OF_A_VALUE = 16
"""Of an image: as read, cropped and normalized, and resampled to somewhat more pixels."""
BYTES_OF_A_PIXEL = 8
"""Of labels, mask and weights; each class has four more."""


def predict_overlapping(work: Sequence[CaseWork]) -> list[CaseResult]:
    """Predict cases, each while no other process holds its claim, and return the outcomes in their order.

    If the caller is interrupted, what the network has seen is written and recorded first.

    Parameters
    ----------
    work
        Cases of one folder, one at least, with its records.

    Raises
    ------
    OutputError
        If a result cannot be written, since all that follow would fail, too; those before are recorded.
    """
    results: dict[int, CaseResult] = {}
    _ = work[0].predictor.fingerprint  # once, and not in several threads
    for each in work:
        each.claimed.parent.mkdir(parents=True, exist_ok=True)
    claimed = []
    with (
        _Pipeline(work, results) as pipeline,
        Progress("predicting", total=len(work), unit="case") as shown,
    ):
        for number in range(len(work)):
            if not pipeline.predicted(number, shown.within):
                claimed.append(number)
            shown.update()
    if claimed:
        logger.info("waiting for %d case(s) that others predict", len(claimed))
    while claimed:
        time.sleep(SECONDS_BETWEEN_ROUNDS)
        found: dict[int, CaseResult] = {}
        with _Pipeline([work[number] for number in claimed], found) as pipeline:
            again = [number for number in range(len(claimed)) if not pipeline.predicted(number)]
        results |= {claimed[number]: result for number, result in found.items()}
        claimed = [claimed[number] for number in again]
    return [results[number] for number in range(len(work))]


class _OnItsWay:
    """A case that is being read, predicted or written."""

    def __init__(self, number: int, work: CaseWork, size: int) -> None:
        self.number, self.size = number, size
        self.run = CaseRun(work)
        self.claim = ExitStack()
        self.is_claimed_by_another = False
        self.reading: Future[None] | None = None

    def read(self) -> None:
        """Claim the case, find out whether it is finished, and read it if it is not."""
        try:
            self.claim.enter_context(claim_of(self.run.work.claimed).held())
        except HeldByAnother:
            self.is_claimed_by_another = True
            return
        self.run.look()
        self.run.prepare()


class _Pipeline:
    """The readers, the network and the writer of some cases, which are predicted in their order.

    Parameters
    ----------
    work
        The cases.
    results
        Filled with the outcomes, by number.
    """

    def __init__(self, work: Sequence[CaseWork], results: dict[int, CaseResult]) -> None:
        self._work, self._results = work, results
        self._following = 0
        self._ahead: deque[_OnItsWay] = deque()
        self._behind: queue.SimpleQueue[_OnItsWay | None] = queue.SimpleQueue()
        self._changed = threading.Condition()
        self._num_behind = self._taken = 0
        self._most = _memory_for_all()
        self._error: BaseException | None = None
        readers = _num_readers()
        self._ahead_at_least = readers + 2
        self._seconds = math.inf  # that the network took for the last case it saw
        self._readers = ThreadPoolExecutor(readers, thread_name_prefix="swin-umamba-reader")
        self._writer = threading.Thread(target=self._write, name="swin-umamba-writer")

    def __enter__(self) -> _Pipeline:
        self._writer.start()
        return self

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        # First of all, so that a second interrupt leaves no thread that waits.
        self._behind.put(None)
        self._readers.shutdown(cancel_futures=True)
        for each in self._ahead:
            self._let_go(each)
        self._writer.join()
        if kind is None and self._error is not None:
            raise self._error

    def predicted(self, number: int, on_progress: Callable[[float], None] | None = None) -> bool:
        """Have the network see the next case, and hand it on; return False if another process has its claim.

        Parameters
        ----------
        number
            Number of the case, one more than in the last call.
        on_progress
            Called with the part of it that the network has seen.
        """
        self._read_ahead()
        each = self._ahead.popleft()
        assert each.number == number
        try:
            assert each.reading is not None
            each.reading.result()
            if each.is_claimed_by_another:
                self._let_go(each)
                return False
            start, is_seen = time.perf_counter(), not each.run.is_decided
            each.run.predict(on_progress)
            if is_seen:
                self._seconds = time.perf_counter() - start
            if each.run.lacks_memory and self._taken > each.size:
                self._wait(lambda: self._taken == each.size or not self._num_behind)
                each.run.try_again()
            self._wait(lambda: self._num_behind < BEHIND)
        except BaseException:
            self._let_go(each)
            raise
        with self._changed:
            self._num_behind += 1
        self._behind.put(each)
        return True

    def _read_ahead(self) -> None:
        """Begin to read the cases that there is room for, and the next one in any case."""
        most = min(AHEAD, max(self._ahead_at_least, SECONDS_AHEAD / max(self._seconds, 1e-9)))
        while self._following < len(self._work) and len(self._ahead) < most:
            work = self._work[self._following]
            size = _memory_of(work, self._most)

            def fits(size: int = size) -> bool:
                return not self._taken or self._taken + size <= self._most

            if self._ahead and not fits():
                return
            self._wait(fits)
            each = _OnItsWay(self._following, work, size)
            with self._changed:
                self._taken += size
            self._following += 1
            self._ahead.append(each)
            each.reading = self._readers.submit(each.read)

    def _wait(self, condition: Callable[[], bool]) -> None:
        """Wait until something holds, which the writer brings about; raise its error if there is one."""
        with self._changed:
            self._changed.wait_for(lambda: self._error is not None or condition())
        if self._error is not None:
            raise self._error

    def _let_go(self, each: _OnItsWay) -> None:
        each.claim.close()
        with self._changed:
            self._taken -= each.size
            self._changed.notify_all()

    def _write(self) -> None:
        is_last = False
        while not is_last:
            first = self._behind.get()
            group = [] if first is None else [first]
            is_last = first is None
            while group and not is_last and len(group) < BEHIND and not self._behind.empty():
                another = self._behind.get()
                is_last = another is None
                group += [] if another is None else [another]
            try:
                if self._error is None:
                    self._finish(group)
            except BaseException as error:
                self._error = error
            for each in group:
                with self._changed:
                    self._num_behind -= 1
                self._let_go(each)

    def _finish(self, group: Sequence[_OnItsWay]) -> None:
        """Write the results of some cases, then record them together: those before one that fails, too."""
        finished: list[tuple[int, Outcome]] = []
        try:
            with folders_synced_together():
                for each in group:
                    each.run.finish()
                    finished.append((each.number, each.run.outcome()))
        finally:
            work = self._work[0]
            if work.records is not None:
                news = [outcome for _, outcome in finished if outcome.is_news]
                work.records.add_all(news, work.predictor)
            self._results.update({number: outcome.result for number, outcome in finished})


def _num_readers() -> int:
    """Return how many threads read: on few processors the network needs those that a second would take."""
    return max(1, min(4, processors() // 4))


def _memory_for_all() -> int:
    free = free_memory(torch.device("cpu"))
    return MEMORY_WHERE_UNKNOWN if free is None else int(free * PART_OF_FREE_MEMORY)


def _memory_of(work: CaseWork, most: int) -> int:
    """Return about how many bytes a case takes on its way; ``most`` if its headers do not tell that."""
    if work.case.in_blocks:
        return most
    plans = work.predictor.plans
    try:
        shapes = [shape_of(file) for file in work.case.files]
    except SwinUMambaError:  # it is reported when the file is read
        return 0
    if any(shape is None for shape in shapes):
        return most
    values = sum(math.prod(shape) for shape in shapes if shape is not None)
    pixels = max(math.prod(shape[1:]) for shape in shapes if shape is not None)
    return values * BYTES_OF_A_VALUE + pixels * (4 * plans.num_classes + BYTES_OF_A_PIXEL)
