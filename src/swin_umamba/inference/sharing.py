"""Cases that several processes share: each is claimed by the one that predicts it.

A claim is a lock beside the label map. A process that finds a case claimed goes on with the next one, and
comes back at its end, to keep the result or, if the other process has died, to predict the case itself.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from swin_umamba.lock import HeldByAnother, Lock
from swin_umamba.progress import progress

logger = logging.getLogger(__name__)

SECONDS_BETWEEN_ROUNDS = 1.0

Item = TypeVar("Item")
Result = TypeVar("Result")


def claim_of(path: Path) -> Lock:
    """Return the lock that is held by who makes a file."""
    return Lock(path.with_name(f".{path.name}.claim"))


def each_claimed(
    items: Sequence[Item], path_of: Callable[[Item], Path], do: Callable[[Item], Result], description: str
) -> list[Result]:
    """Return ``do(item)`` for each item, called while no other process holds the claim of that item.

    Parameters
    ----------
    items
        What is to be done, in this order.
    path_of
        Function that returns the file that an item makes.
    do
        What to do; it must find out what other processes have done meanwhile.
    description
        Title of the progress bar.
    """
    results: dict[int, Result] = {}

    def attempt(number: int) -> HeldByAnother | None:
        path = path_of(items[number])
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with claim_of(path).held():
                results[number] = do(items[number])
        except HeldByAnother as other:
            return other
        return None

    claimed = {}
    for number in progress(range(len(items)), description, total=len(items)):
        if (other := attempt(number)) is not None:
            claimed[number] = other
    if claimed:
        holder = next(iter(claimed.values())).what
        logger.info("waiting for %d case(s) that others predict, such as %s", len(claimed), holder)
    while claimed:
        time.sleep(SECONDS_BETWEEN_ROUNDS)
        claimed = {number: other for number in claimed if (other := attempt(number)) is not None}
    return [results[number] for number in range(len(items))]
