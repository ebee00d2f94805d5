"""One way to show progress: a bar on a terminal, and elsewhere a line in the log every half minute."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterable, Iterator, Sized
from contextlib import ExitStack, contextmanager
from typing import Any, TypeVar

from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

logger = logging.getLogger(__name__)

Item = TypeVar("Item")

SECONDS_BEFORE_SHOWN = 2.0
SECONDS_BETWEEN_LINES = 30.0
FEW_SECONDS = 90
clock = time.monotonic
_wanted = True
_open: list[Progress] = []
"""Those of this process that are not done: the first counts what the others are part of."""
_last_line = -SECONDS_BETWEEN_LINES


def show_progress(wanted: bool) -> None:
    """Show progress in this process from now on, or none: it is one of several, or the user wants quiet."""
    global _wanted
    _wanted = wanted


def progress(
    items: Iterable[Item], description: str, *, total: int | None = None, unit: str = "case"
) -> Iterator[Item]:
    """Iterate over ``items``, showing how many are done if it takes more than two seconds."""
    if total is None and isinstance(items, Sized):
        total = len(items)
    with Progress(description, total=total, unit=unit) as shown:
        for item in items:
            yield item
            shown.update()


def byte_progress(
    blocks: Iterable[bytes], description: str, *, total: int | None = None, start: int = 0
) -> Iterator[bytes]:
    """Iterate over ``blocks`` of ``total`` bytes as ``progress`` does.

    The first ``start`` bytes are already done.
    """
    with Progress(description, total=total, unit="B", start=start) as shown:
        for block in blocks:
            yield block
            shown.update(len(block))


@contextmanager
def passing_bar(description: str, *, total: int, unit: str, shown: bool = True) -> Iterator[Progress]:
    """Yield progress that appears at once and leaves no trace on the terminal.

    Log messages in the block appear above the bar. Silent if not ``shown``.
    """
    with (
        Progress(description, total=total, unit=unit, passes=True, shown=shown) as made,
        ExitStack() as stack,
    ):
        if made.is_drawn:
            stack.enter_context(logging_redirect_tqdm())
        yield made


@contextmanager
def bars_aside() -> Iterator[None]:
    """Hide progress bars while the block prints something, and show them again afterwards."""
    with tqdm.external_write_mode():
        yield


class Progress:
    """How much of something is done, shown while the block runs.

    On a terminal there is one bar: within another's block, it is said behind that bar. Elsewhere a line goes
    to the log whenever it, and the last line, are older than ``SECONDS_BETWEEN_LINES``.

    Parameters
    ----------
    description
        What is done.
    total
        How much there is; None if unknown.
    unit
        What is counted, in the singular; ``B`` for bytes.
    start
        How much is done already.
    passes
        Show the bar at once, and remove it in the end.
    shown
        Whether to show anything.

    Attributes
    ----------
    n
        How much is done.
    disable
        Whether nothing is shown.
    is_drawn
        Whether it is a bar.
    """

    def __init__(
        self,
        description: str,
        *,
        total: int | None,
        unit: str,
        start: float = 0,
        passes: bool = False,
        shown: bool = True,
    ) -> None:
        self.description, self.total, self.unit = description, total, unit
        self.n = self._start = start
        self._began = clock()
        self._within = 0.0
        self._note = ""
        self.disable = not (_wanted and shown)
        on_terminal = sys.stderr is not None and sys.stderr.isatty()  # programs without a console have none
        self._says_lines = not self.disable and not on_terminal
        outer = next(iter(_open), None)
        self._outer = None if self.disable else outer
        self.is_drawn = not self.disable and on_terminal and outer is None
        self._bar: tqdm[Any] = tqdm(
            desc=description,
            total=total,
            initial=start,
            unit=unit,
            unit_scale=unit == "B",
            delay=0 if passes else SECONDS_BEFORE_SHOWN,
            leave=not passes,
            disable=not self.is_drawn,
            dynamic_ncols=True,
        )
        if not self.disable:
            _open.append(self)

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *error: object) -> None:
        if self in _open:
            _open.remove(self)
        self._bar.close()

    def update(self, by: float = 1) -> None:
        """Count something as done; of whatever was within, nothing is left."""
        self.n += by
        self._within = 0.0
        self._show()

    def within(self, part: float) -> None:
        """Say which part, from 0 to 1, of the next one is done."""
        self._within = part
        self._show()

    def set_description(self, description: str) -> None:
        """Say what is done now."""
        self.description = description
        self._bar.set_description(description)

    def set_postfix_str(self, note: str, refresh: bool = True) -> None:
        """Add something behind the bar or the line."""
        self._note = note
        self._bar.set_postfix_str(note, refresh=refresh)

    @property
    def state(self) -> str:
        """How much is done, in words."""
        return f"{self.description}: {self._amount()}"

    def _show(self) -> None:
        if self.is_drawn:
            done = self.n + self._within
            self._bar.n = int(done) if done == int(done) else round(done, 1)
            self._bar.update(0)
        elif self._says_lines:
            self._say_line()
        elif self._outer is not None:
            self._outer._bar.set_postfix_str(self.state, refresh=False)
            self._outer._bar.update(0)

    def _say_line(self) -> None:
        global _last_line
        now = clock()
        if now - max(self._began, _last_line) < SECONDS_BETWEEN_LINES:
            return
        _last_line = now
        parts = [self.state, *self._pace(now - self._began), *([self._note] if self._note else [])]
        outer = "" if self._outer is None or self._outer.total == 1 else f"{self._outer.state}; "
        logger.info("%s%s", outer, ", ".join(parts))

    def _amount(self) -> str:
        done = self.n + self._within
        if self.unit == "B":
            known = "" if self.total is None else f" of {self.total / 1e6:.1f}"
            return f"{done / 1e6:.1f}{known} MB"
        if self.total == 1 and 0 < done < 1:
            return f"{100 * done:.0f} % of 1 {self.unit}"
        units = self.unit if self.unit == "%" or (self.total or done) == 1 else f"{self.unit}s"
        return f"{round(done, 1):g}{'' if self.total is None else f' of {self.total}'} {units}"

    def _pace(self, seconds: float) -> list[str]:
        """Return the rate and the time left."""
        done = self.n + self._within - self._start
        if done <= 0 or seconds <= 0:
            return []
        rate = done / seconds
        if self.unit == "B":
            pace = f"{rate / 1e6:.1f} MB/s"
        elif rate >= 1 or self.unit == "%":
            pace = f"{rate:.1f} {self.unit}{'' if self.unit == '%' else 's'}/s"
        else:
            pace = f"{1 / rate:.1f} s/{self.unit}"
        if self.total is None:
            return [pace]
        left = max(self.total - self.n - self._within, 0) / rate
        return [pace, f"{duration(left) if left >= FEW_SECONDS else f'{round(left)} s'} left"]


def duration(seconds: float) -> str:
    """Return ``3 h 5 min``, ``5 min`` or ``20 s``, rounded."""
    hours, minutes = divmod(round(seconds / 60), 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min" if minutes else f"{round(seconds)} s"
