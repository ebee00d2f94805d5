"""One way to show progress: on a terminal, and only when something takes longer than two seconds."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

from tqdm import tqdm

Item = TypeVar("Item")

SECONDS_BEFORE_SHOWN = 2.0


def progress(
    items: Iterable[Item], description: str, *, total: int | None = None, unit: str = "case"
) -> Iterable[Item]:
    """Iterate over ``items`` with a progress bar on stderr; silent when stderr is no terminal."""
    return tqdm(
        items,
        desc=description,
        total=total,
        unit=unit,
        delay=SECONDS_BEFORE_SHOWN,
        disable=not sys.stderr.isatty(),
        dynamic_ncols=True,
    )


def byte_progress(
    blocks: Iterable[bytes], description: str, *, total: int | None = None, start: int = 0
) -> Iterator[bytes]:
    """Iterate over ``blocks`` of ``total`` bytes with a progress bar like that of ``progress``.

    ``start`` bytes are there already.
    """
    with tqdm(
        desc=description,
        total=total,
        initial=start,
        unit="B",
        unit_scale=True,
        delay=SECONDS_BEFORE_SHOWN,
        disable=not sys.stderr.isatty(),
        dynamic_ncols=True,
    ) as bar:
        for block in blocks:
            yield block
            bar.update(len(block))
