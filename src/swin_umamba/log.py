"""The log of a command, and of the processes that it starts: our own messages on stderr."""

from __future__ import annotations

import logging

from swin_umamba.errors import printable

OURS = "swin_umamba"


def log_to_stderr(level: int, prefix: str = "") -> None:
    """Write this package's messages to stderr, unless the log goes somewhere already.

    Libraries have many that mean nothing to a user of ours: of theirs, only warnings are shown.

    Parameters
    ----------
    level
        The least important messages to show.
    prefix
        What each line begins with: the name of a process among several.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(PrintableFormatter(f"{prefix.replace('%', '%%')}%(message)s"))
    logging.basicConfig(handlers=[handler])
    logging.getLogger(OURS).setLevel(level)


class PrintableFormatter(logging.Formatter):
    """Lets no name out of a file command the terminal, as errors do."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the text of a message; what follows a line break in it looks like no message of its own."""
        return printable(super().format(record)).replace("\n", "\n  ")
