"""Read the next image of a folder while the network works on the present one."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

from swin_umamba.data.image_io import Image, read_case
from swin_umamba.options import Nonfinite

logger = logging.getLogger(__name__)

Files = tuple[Path, ...]

LARGEST_AHEAD = 32 * 2**20
"""Bytes on disk of a case that is read ahead; once read it lies beside the present image and its logits."""


class ReadAhead:
    """Reads cases, and the following one ahead in a thread of its own.

    Parameters
    ----------
    cases
        Files of each case, in the order in which they will be needed.
    nonfinite, series
        As for ``read_case``.
    executor
        Runs one thing at a time.
    """

    def __init__(
        self,
        cases: Sequence[Files],
        nonfinite: Nonfinite,
        series: str | None,
        executor: ThreadPoolExecutor,
    ) -> None:
        self._following: Mapping[Files, Files] = dict(pairwise(cases))
        self._nonfinite: Nonfinite = nonfinite
        self._series = series
        self._executor = executor
        self._ahead: dict[Files, Future[Image]] = {}

    def image_of(self, files: Files) -> Image:
        """Return the image of a case, and begin to read the following one.

        Raises
        ------
        DataError, UsageError
            As ``read_case`` does.
        """
        image = None
        if (future := self._ahead.pop(files, None)) is not None:
            try:
                image = future.result()
            except Exception:  # it is read again below: there may be more memory now
                logger.debug("reading ahead", exc_info=True)
        self._ahead.clear()  # of a case that another process has taken
        if image is None:
            image = self._read(files)
        following = self._following.get(files)
        if following is not None and _is_small(following):
            self._ahead[following] = self._executor.submit(self._read, following)
        return image

    def _read(self, files: Files) -> Image:
        return read_case(files, nonfinite=self._nonfinite, series=self._series)


@contextmanager
def reading_ahead(cases: Sequence[Files], nonfinite: Nonfinite, series: str | None) -> Iterator[ReadAhead]:
    """Yield a reader of cases; see ``ReadAhead``. What it has begun to read at the end is given up."""
    executor = ThreadPoolExecutor(1, thread_name_prefix="swin-umamba-reader")
    try:
        yield ReadAhead(cases, nonfinite, series, executor)
    finally:
        executor.shutdown(wait=False, cancel_futures=True)


def _is_small(files: Files) -> bool:
    """Return whether a case is read ahead: files of known size, no folder."""
    try:
        size = sum(path.stat().st_size for path in files)
        return size <= LARGEST_AHEAD and all(path.is_file() for path in files)
    except OSError:
        return False
