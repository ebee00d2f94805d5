"""The command line: one module for each command, found by its ``ORDER``, and the user's own commands."""

from __future__ import annotations

import sys
from types import ModuleType

from swin_umamba.errors import UsageError

OWN_COMMANDS: dict[str, ModuleType] = {}
"""The user's own commands by name."""


def register_command(name: str, module: str) -> None:
    """Add a command to ``swin-umamba``.

    Call it in a file of your own that ``SWIN_UMAMBA_EXTENSIONS`` names (``docs/extending.md``).

    Parameters
    ----------
    name
        As the command line has it.
    module
        ``__name__`` of the file, which has ``HELP``, ``add_arguments(parser)`` and ``run(args)``, which
        returns the exit code.

    Raises
    ------
    UsageError
        If the package has a command of this name.
    """
    from swin_umamba.cli.main import COMMANDS

    if name in COMMANDS:
        raise UsageError(f"there is a command {name!r} already", hint="give yours another name")
    OWN_COMMANDS[name] = sys.modules[module]
