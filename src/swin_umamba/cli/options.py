"""Options that several verbs share."""

from __future__ import annotations

import argparse

from swin_umamba.errors import UsageError


def add_common_options(parser: argparse.ArgumentParser, *, default: object = False) -> None:
    """Add the options that every verb has; a verb of a verb leaves the default to the outer one."""
    for name, meaning in (
        ("--json", "print the result as JSON on stdout"),
        ("--debug", "show tracebacks and debug messages"),
    ):
        parser.add_argument(name, action="store_true", default=default, help=meaning)


def add_checkpoint_options(parser: argparse.ArgumentParser, *, purpose: str) -> None:
    """Add which folds and which of their checkpoints to take; ``purpose`` is what is done with the folds."""
    parser.add_argument(
        "--fold", nargs="+", metavar="N", help=f"folds to {purpose} (default: all that were trained)"
    )
    parser.add_argument(
        "--checkpoint",
        default="checkpoint_final.pth",
        metavar="NAME",
        help="file in each fold (default: %(default)s)",
    )


def add_device_option(parser: argparse.ArgumentParser) -> None:
    """Add where the network runs."""
    parser.add_argument("--device", default="auto", help="auto (default), cpu, cuda, cuda:N or mps")


def add_prediction_options(parser: argparse.ArgumentParser) -> None:
    """Add what trades time for quality."""
    parser.add_argument(
        "--no-mirroring", action="store_true", help="no mean over mirrored images: four times faster in 2D"
    )
    parser.add_argument(
        "--precision",
        default="float32",
        choices=("float32", "bfloat16", "float16"),
        help="of matrix products and convolutions (default: float32, the same numbers on every device)",
    )


def parse_folds(given: list[str] | None) -> list[int | str] | None:
    """Return fold numbers and ``"all"``; raise ``UsageError`` for anything else."""
    if given is None:
        return None
    wrong = [fold for fold in given if fold != "all" and not fold.isdecimal()]
    if wrong:
        raise UsageError(f"there is no fold {wrong[0]!r}", where="--fold", cure="give numbers, or all")
    return [fold if fold == "all" else int(fold) for fold in given]
