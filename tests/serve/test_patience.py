"""Who is silent is given up, and nobody because this process stood still."""

from __future__ import annotations

import asyncio
import time

import pytest

from swin_umamba.serve import patience
from swin_umamba.serve.patience import waited_for


async def arrives(arrived: asyncio.Event) -> str:
    await arrived.wait()
    return "here"


def test_what_is_there_is_not_waited_for() -> None:
    async def wait() -> tuple[str, float]:
        arrived = asyncio.Event()
        arrived.set()
        return await waited_for(arrives(arrived), 600)

    answer, seconds = asyncio.run(wait())
    assert answer == "here"
    assert seconds <= 600 / patience.LOOKS


def test_silence_is_given_up() -> None:
    async def wait() -> asyncio.Future[str]:
        coming = asyncio.ensure_future(arrives(asyncio.Event()))
        with pytest.raises(asyncio.TimeoutError):
            await waited_for(coming, 0.01)
        await asyncio.wait({coming})
        return coming

    assert asyncio.run(wait()).cancelled()


def test_an_error_is_passed_on() -> None:
    async def fails() -> None:
        raise ValueError("odd")

    async def wait() -> None:
        await waited_for(fails(), 600)

    with pytest.raises(ValueError, match="odd"):
        asyncio.run(wait())


def test_a_process_that_stood_still_gives_nobody_up() -> None:
    seconds = 0.4

    async def wait() -> tuple[str, float]:
        arrived = asyncio.Event()

        async def stand_still() -> None:
            time.sleep(2 * seconds)  # with the whole loop
            arrived.set()

        halt = asyncio.ensure_future(stand_still())
        answer = await waited_for(arrives(arrived), seconds)
        await halt
        return answer

    answer, waited = asyncio.run(wait())
    assert answer == "here"
    assert waited <= seconds
