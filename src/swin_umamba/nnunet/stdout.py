"""Redirects the output of nnU-Net to the log."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator

logger = logging.getLogger(__name__)


@contextlib.contextmanager
def stdout_to_log() -> Iterator[None]:
    """Redirect the output of nnU-Net inside the ``with`` block to the log, at level debug."""
    with contextlib.redirect_stdout(_LogStream()):
        yield


class _LogStream:
    """A text stream that writes its lines to the log."""

    def __init__(self) -> None:
        self.rest = ""

    def write(self, text: str) -> int:
        *lines, self.rest = (self.rest + text).split("\n")
        for line in lines:
            if line.strip():
                logger.debug("nnU-Net: %s", line)
        return len(text)

    def flush(self) -> None:
        pass

    def isatty(self) -> bool:
        return False
