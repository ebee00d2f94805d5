"""Printing for all commands, in one place, so that no name in an untrusted file can control the terminal."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from typing import Any, TextIO

from swin_umamba.errors import printable
from swin_umamba.json_files import contract_text


def say(text: object = "", *, end: str = "\n", file: TextIO | None = None, flush: bool = False) -> None:
    """Print a text; control characters, bidirectional overrides and invisible letters in it are replaced.

    Letters that the encoding of the output lacks, as on Windows when it goes to a file, become escapes.
    """
    stream = sys.stdout if file is None else file
    encoding = getattr(stream, "encoding", None) or "utf-8"
    shown = printable(str(text)).encode(encoding, "backslashreplace").decode(encoding)
    print(shown, end=end, file=stream, flush=flush)


def say_result(
    args: argparse.Namespace, name: str, content: Mapping[str, Any], *lines: str, indent: int | None = 2
) -> None:
    """Print the result of a command: what ``--json`` prints, or lines of text."""
    if args.json:
        say_json(name, content, indent=indent)
    else:
        say("\n".join(lines))


def say_json(name: str, content: Mapping[str, Any], *, indent: int | None = 2, flush: bool = False) -> None:
    """Print the output of ``--json``; ``name`` is the name of its schema in ``docs/schemas/``."""
    say(contract_text(name, content, indent), flush=flush)
