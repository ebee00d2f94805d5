"""Waiting for a client, so that it answers for its own silence and not for this process's."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from typing import TypeVar

LOOKS = 8
"""Parts of the time. While the process stands still, as on a machine that is short of processors, one of them
passes at most, and what has come meanwhile is seen in the next."""

T = TypeVar("T")


async def waited_for(coming: Awaitable[T], seconds: float) -> tuple[T, float]:
    """Wait for what a client sends.

    Parameters
    ----------
    coming
        What ends when it is there; cancelled if it is not there in time.
    seconds
        How long to wait.

    Returns
    -------
    tuple
        Its result, and how many seconds the client was waited for: no more than ``seconds``.

    Raises
    ------
    asyncio.TimeoutError
        If the client has sent nothing in that time.
    """
    look, waited = seconds / LOOKS, 0.0
    task = asyncio.ensure_future(coming)
    try:
        for _ in range(LOOKS):
            before = time.monotonic()
            await asyncio.wait({task}, timeout=look)
            waited += min(time.monotonic() - before, look)
            if task.done():
                return task.result(), waited
        raise asyncio.TimeoutError
    finally:
        task.cancel()
