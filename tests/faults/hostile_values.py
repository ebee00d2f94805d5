"""Every value of a document replaced by hostile ones, in a forked process of bounded memory and time."""

from __future__ import annotations

import copy
import json
import math
import os
import resource
import signal
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from swin_umamba.errors import SwinUMambaError

MISSING = object()
HOSTILE: tuple[Any, ...] = (
    MISSING,
    None,
    True,
    0,
    -1,
    -3,
    3,
    0.5,
    200_000,
    2**63,
    10**400,
    1e308,
    -1e-320,
    math.nan,
    math.inf,
    "",
    "1",
    "os.system",
    "\x1b[31m../../x\u202e",
    "a" * 100_000,
    [],
    [None],
    [-3, 0],
    [[[[]]]],
    {},
    {"": {"a": []}},
)
SECONDS = 5.0
"""Of processor time for one document."""
MOST_GROWTH = 2**30
"""Bytes that the process may take beyond what it has."""


class Mutation(NamedTuple):
    """A place in a document and what is put there."""

    place: tuple[str | int, ...]
    value: Any

    def of(self, document: Any) -> Any:
        """Return a document with the value at the place."""
        if not self.place:
            return None if self.value is MISSING else self.value
        changed = copy.deepcopy(document)
        part = changed
        for key in self.place[:-1]:
            part = part[key]
        if self.value is MISSING:
            del part[self.place[-1]]
        else:
            part[self.place[-1]] = self.value
        return changed

    def __str__(self) -> str:
        value = "nothing" if self.value is MISSING else repr(self.value)[:40]
        return f"{'.'.join(map(str, self.place)) or 'all'}: {value}"


class Hang(BaseException):
    """Not an ``Exception``, which the code under test may turn into an error of its own."""


def places(document: Any, above: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Give the place of every value in a document, whole lists and objects among them."""
    yield above
    if isinstance(document, dict | list):
        for key, value in document.items() if isinstance(document, dict) else enumerate(document):
            yield from places(value, (*above, key))


def mutations(document: Any, number: int | None = None) -> list[Mutation]:
    """Return all mutations of a document, or as many that are spread over all places and values."""
    every = [Mutation(place, value) for place in places(document) for value in HOSTILE]
    if number is not None:
        Random(0).shuffle(every)
    return every[:number]


def outcomes(use: Callable[[Any], object], documents: Sequence[tuple[str, Any]]) -> Counter[str]:
    """Call ``use`` with each document in a forked process, and count the outcomes.

    Parameters
    ----------
    use
        Gives a result, or raises an error of ours.
    documents
        With what each is called in a failure.

    Returns
    -------
    Counter
        How often it was ``used`` and ``refused``.

    Raises
    ------
    AssertionError
        For one document it raised another error, hung, or the process died.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:  # pragma: no cover
        with suppress(BaseException):
            os.close(reading)
            _in_child(use, documents, writing)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, encoding="utf-8") as lines:
        found = [json.loads(line) for line in lines]
    status = os.waitpid(child, 0)[1]
    failures = [each for each in found if each not in ("used", "refused")]
    if len(found) < len(documents):
        failures.append(f"the process died of status {status} at {documents[len(found)][0]}")
    assert not failures, f"{len(failures)} of {len(documents)} failed:\n" + "\n".join(failures[:40])
    return Counter(found)


def _in_child(use: Callable[[Any], object], documents: Sequence[tuple[str, Any]], writing: int) -> None:
    import torch

    def stop(*_: object) -> None:
        raise Hang

    torch.set_num_threads(1)
    signal.signal(signal.SIGPROF, stop)
    status = Path("/proc/self/status")
    if status.is_file():
        taken = next(line for line in status.read_text().splitlines() if line.startswith("VmData"))
        resource.setrlimit(resource.RLIMIT_DATA, (1024 * int(taken.split()[1]) + MOST_GROWTH,) * 2)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    with os.fdopen(writing, "w", encoding="utf-8") as lines:
        for name, document in documents:
            outcome = _outcome(use, name, document)
            lines.write(json.dumps(outcome) + "\n")
            lines.flush()


def _outcome(use: Callable[[Any], object], name: str, document: Any) -> str:
    try:
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        use(document)
        return "used"
    except SwinUMambaError as error:
        return "refused" if error.hint else f"{name}: {error} does not say what to do"
    except BaseException as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        return f"{name}: {type(error).__name__}: {str(error)[:100]!r} in {last.filename}:{last.lineno}"
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
