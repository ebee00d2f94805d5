"""``swin-umamba``: parse the command line, run one command, turn errors into messages and exit codes."""

from __future__ import annotations

import argparse
import atexit
import functools
import gc
import importlib
import logging
import os
import pkgutil
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any, NoReturn

from swin_umamba import __version__, cli
from swin_umamba.cli.options import add_anonymous, add_common_options, pseudonyms_for
from swin_umamba.cli.output import say, say_json
from swin_umamba.errors import OutputError, SwinUMambaError, UsageError, unexpected
from swin_umamba.extensions import load_extensions
from swin_umamba.interrupt import Terminated, terminate_as_interrupt
from swin_umamba.log import log_to_stderr
from swin_umamba.memory import is_out_of_memory, out_of_memory
from swin_umamba.pseudonyms import in_use
from swin_umamba.torch_settings import apply_settings


def find_command(name: str) -> ModuleType:
    """Return the module of a command."""
    return cli.OWN_COMMANDS.get(name) or importlib.import_module(f"swin_umamba.cli.{name}")


def find_commands() -> tuple[str, ...]:
    """Return the names of the commands in the order of the help.

    Each is a module of this package with ``HELP``, ``ORDER``, ``add_arguments(parser)`` and ``run(args)``,
    which returns the exit code; with ``CASES``, the arguments that may be files of cases, if it takes
    ``--anonymous``. Modules without ``ORDER`` are parts of commands.
    """
    names = [each.name for each in pkgutil.iter_modules(cli.__path__) if each.name != "main"]
    placed = [(getattr(find_command(name), "ORDER", None), name) for name in names]
    return tuple(name for place, name in sorted(each for each in placed if each[0] is not None))


COMMANDS = find_commands()

EPILOG = """\
exit codes: 0 success, 1 something failed (the message names it), 2 wrong usage, 130 Ctrl-C,
143 terminated
start with: swin-umamba doctor, then swin-umamba demo
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv
        Arguments without the program's name; ``sys.argv`` by default.

    Returns
    -------
    int
        The exit code: 0 success, 1 something failed, 2 wrong usage, 130 after Ctrl-C, 143 after SIGTERM.
    """
    _end_without_collecting()
    if sys.stderr is None:  # closed by who started this; Python would print to stdout instead
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - for as long as the process lives
    argv = sys.argv[1:] if argv is None else argv
    apply_settings()
    try:
        load_extensions()
        args = build_parser().parse_args(argv)
    except UsageError as error:
        report_error(error, as_json="--json" in argv)
        return error.exit_code
    log_to_stderr(logging.DEBUG if args.debug else logging.WARNING if args.quiet else logging.INFO)
    if args.quiet:
        from swin_umamba.progress import show_progress

        show_progress(False)
    command = find_command(args.command)
    try:
        pseudonyms = pseudonyms_for(args, getattr(command, "CASES", ()))
    except UsageError as error:
        report_error(error, as_json=args.json)
        return error.exit_code
    with in_use(pseudonyms):  # for what is said of errors, too
        return _run(command, args)


@functools.cache
def _end_without_collecting() -> None:
    """Have the interpreter end without a search for garbage, which takes nearly a second after PyTorch.

    Exit handlers and open files are dealt with as ever; only cycles of objects are left to the system.
    """
    atexit.register(gc.freeze)


def _run(command: ModuleType, args: argparse.Namespace) -> int:
    try:
        with terminate_as_interrupt():
            code: int = command.run(args)
            return code
    except SwinUMambaError as error:
        if args.debug:
            raise
        report_error(error, as_json=args.json)
        return error.exit_code
    except KeyboardInterrupt as interrupt:
        hint = getattr(command, "AFTER_INTERRUPT", None)
        if getattr(command, "ENDS_BY_INTERRUPT", False):
            say(hint, file=sys.stderr)
        else:
            report_error(SwinUMambaError("interrupted", hint=hint), as_json=args.json)
        return 143 if isinstance(interrupt, Terminated) else 130
    except BrokenPipeError:
        # The reader of our output (head, less) has gone; Python would complain once more while it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        if args.debug:
            raise
        report_error(_as_own_error(error, f"swin-umamba {args.command}"), as_json=args.json)
        return 1


def _as_own_error(error: Exception, command: str) -> SwinUMambaError:
    if is_out_of_memory(error):
        hint = "end other programs, or give smaller images, fewer workers or another --device"
        return out_of_memory(error, sizes="this", where=command, hint=hint)
    if isinstance(error, OSError):
        return OutputError(
            f"the system refused to open or write a file: {error}",
            where=error.filename or command,
            hint="check free space and permissions, also of the folder for temporary files (TMPDIR); "
            "with --debug the full traceback is shown",
        )
    return unexpected(
        error, where=command, hint="run the same command with --debug and report what it prints"
    )


class _Parser(argparse.ArgumentParser):
    """Raises its errors, so that they are reported like all others."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        # The parser of a command hands what it does not know to that of all commands, whose help is no help.
        known, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return known, unknown

    def error(self, message: str) -> NoReturn:
        raise UsageError(message, where=self.prog, hint=f"see {self.prog} --help")


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    parser = _Parser(
        prog="swin-umamba",
        description="Swin-UMamba segmentation: train, predict and evaluate through stock nnU-Net.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"swin-umamba {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name in (*COMMANDS, *cli.OWN_COMMANDS):
        command = find_command(name)
        command_parser = commands.add_parser(name, help=command.HELP, description=command.HELP)
        command.add_arguments(command_parser)
        if hasattr(command, "CASES"):
            add_anonymous(command_parser)
        add_common_options(command_parser)
    return parser


def report_error(error: SwinUMambaError, *, as_json: bool) -> None:
    """Print an error as text on stderr, and as JSON on stdout where machines asked for it."""
    say(f"error: {error}", file=sys.stderr)
    if as_json:
        say_json("error", {"error": error.parts()}, indent=None)
