"""One way to show progress: bars on a terminal, most of them only for work of more than two seconds."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

Item = TypeVar("Item")

SECONDS_BEFORE_SHOWN = 2.0
_wanted = True


def draw_no_bars() -> None:
    """Draw none in this process from now on: it is one of several that share a terminal."""
    global _wanted
    _wanted = False


def progress(
    items: Iterable[Item], description: str, *, total: int | None = None, unit: str = "case"
) -> Iterable[Item]:
    """Iterate over ``items`` with a progress bar on stderr; silent when stderr is not a terminal."""
    return _bar(items, desc=description, total=total, unit=unit, delay=SECONDS_BEFORE_SHOWN)


def byte_progress(
    blocks: Iterable[bytes], description: str, *, total: int | None = None, start: int = 0
) -> Iterator[bytes]:
    """Iterate over ``blocks`` of ``total`` bytes with a progress bar like that of ``progress``.

    The first ``start`` bytes are already done.
    """
    with _bar(
        desc=description,
        total=total,
        initial=start,
        unit="B",
        unit_scale=True,
        delay=SECONDS_BEFORE_SHOWN,
    ) as bar:
        for block in blocks:
            yield block
            bar.update(len(block))


@contextmanager
def passing_bar(description: str, *, total: int, unit: str, shown: bool = True) -> Iterator[tqdm[Any]]:
    """Yield a progress bar that appears at once and leaves no trace on the terminal.

    Log messages in the block appear above the bar. Silent when stderr is not a terminal, or if not ``shown``.
    """
    with _bar(shown=shown, desc=description, total=total, unit=unit, leave=False) as bar:
        if bar.disable:
            yield bar
            return
        with logging_redirect_tqdm():
            yield bar


@contextmanager
def bars_aside() -> Iterator[None]:
    """Hide progress bars while the block prints something, and show them again afterwards."""
    with tqdm.external_write_mode():
        yield


def _bar(items: Iterable[Any] | None = None, *, shown: bool = True, **options: Any) -> tqdm[Any]:
    return tqdm(items, disable=not (_wanted and shown and sys.stderr.isatty()), dynamic_ncols=True, **options)
