"""What commands print: one function, so that no name in an untrusted file controls the terminal."""

from __future__ import annotations

import sys
from typing import TextIO

from swin_umamba.errors import printable


def say(text: object = "", *, end: str = "\n", file: TextIO | None = None, flush: bool = False) -> None:
    """Print a text; control characters, bidirectional overrides and invisible letters in it are replaced."""
    print(printable(str(text)), end=end, file=sys.stdout if file is None else file, flush=flush)
