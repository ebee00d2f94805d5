"""The arguments of one command by itself."""

from __future__ import annotations

import argparse
from types import ModuleType


def parsed(command: ModuleType, *given: object) -> argparse.Namespace:
    """Return what the command would be run with, after ``--json`` was added as to all commands."""
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    parser.add_argument("--json", action="store_true")
    return parser.parse_args(list(map(str, given)))
