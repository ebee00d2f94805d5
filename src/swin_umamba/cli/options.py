"""Flags that several commands share, and flags out of declared options."""

from __future__ import annotations

import argparse
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

from swin_umamba.errors import UsageError
from swin_umamba.options import Option, declared_options
from swin_umamba.pseudonyms import KEY_VARIABLE, Pseudonyms, key_file, read_key

if TYPE_CHECKING:
    from swin_umamba.evaluation.classes import LabelClasses

RUNNABLE_MODEL = (
    "model folder (TRAINER__PLANS__CONFIGURATION), fold folder, checkpoint file, or file of export"
)


def add_common_options(parser: argparse.ArgumentParser, *, default: object = False) -> None:
    """Add the options that every command has; one below another leaves the default to the outer one."""
    for name, meaning in (
        ("--json", "print the result as JSON on stdout"),
        ("--debug", "show tracebacks and debug messages"),
        ("--quiet", "show no progress, and of messages only warnings"),
    ):
        parser.add_argument(name, action="store_true", default=default, help=meaning)


def add_model(parser: argparse.ArgumentParser, meaning: str = RUNNABLE_MODEL) -> None:
    """Add ``--model``, which is required."""
    parser.add_argument("-m", "--model", type=Path, required=True, help=meaning)


def add_classes(parser: argparse.ArgumentParser, purpose: str) -> None:
    """Add the two options that name classes, for ``classes_of``."""
    classes = parser.add_mutually_exclusive_group()
    classes.add_argument("--dataset-json", type=Path, help="dataset.json with the class names and values")
    classes.add_argument(
        "--labels",
        nargs="+",
        metavar="LABEL",
        help=f"classes to {purpose}, such as 1 2 or liver=1 kidneys=2,3",
    )


def classes_of(args: argparse.Namespace) -> LabelClasses | None:
    """Return the classes that were named; None if there are none."""
    from swin_umamba.evaluation.classes import LabelClasses

    if args.dataset_json is not None:
        return LabelClasses.from_dataset_json(args.dataset_json)
    return LabelClasses.from_arguments(args.labels) if args.labels else None


def add_force(parser: argparse.ArgumentParser, meaning: str) -> None:
    """Add ``--overwrite``, which earlier versions called ``--force``."""
    parser.add_argument("--overwrite", "--force", dest="overwrite", action="store_true", help=meaning)


def check_new(path: Path, args: argparse.Namespace) -> None:
    """Raise ``UsageError`` if a file exists that ``--overwrite`` does not permit to replace."""
    if path.exists() and not args.overwrite:
        raise UsageError(
            "the file exists already", where=path, hint="give another name with -o, or --overwrite"
        )


def add_anonymous(parser: argparse.ArgumentParser) -> None:
    """Add ``--anonymous``, for commands that show names of cases."""
    parser.add_argument(
        "--anonymous",
        action="store_true",
        help="stable pseudonyms instead of the names of cases, in all that is shown and written; see "
        "docs/privacy.md",
    )


def pseudonyms_for(args: argparse.Namespace, inputs: Collection[str]) -> Pseudonyms | None:
    """Return the pseudonyms to use; None without ``--anonymous``.

    Parameters
    ----------
    args
        The parsed arguments.
    inputs
        Those of them that may be files of cases: their names are hidden even where there is no such file.

    Raises
    ------
    UsageError
        If the key cannot be read or made.
    """
    if not getattr(args, "anonymous", False):
        return None
    path = key_file()
    try:
        pseudonyms = Pseudonyms(read_key(path))
    except (OSError, ValueError) as error:
        raise UsageError(
            f"there is no key for pseudonyms: {error}",
            where=path,
            hint=f"mend that, or name another file with {KEY_VARIABLE}",
        ) from error
    given = [getattr(args, name) for name in inputs]
    for each in (path for value in given for path in (value if isinstance(value, list) else [value])):
        if each is not None and not each.is_dir():
            pseudonyms.of(each.name.partition(".")[0])
    return pseudonyms


def add_options(
    parser: argparse._ActionsContainer, options_class: type, names: Collection[str] | None = None
) -> None:
    """Add the flags of declared options.

    What is not given is not in the parsed arguments either, so that it can be told from a default.

    Parameters
    ----------
    parser
        Gets the flags: a parser, or a group of its options.
    options_class
        A dataclass of options.
    names
        Those to add; all by default.
    """
    for option in declared_options(options_class):
        if option.flags and (names is None or option.name in names):
            parser.add_argument(
                *option.flags[:1] if option.type is bool else option.flags,
                dest=option.name,
                default=argparse.SUPPRESS,
                help=_help(option),
                **_kind(option),
            )


def given_options(args: argparse.Namespace, *options_classes: type) -> dict[str, Any]:
    """Return the declared options that were given, by their names; several values as a tuple."""
    names = [option.name for each in options_classes for option in declared_options(each)]
    given = {name: getattr(args, name) for name in names if hasattr(args, name)}
    return {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}


def _kind(option: Option) -> dict[str, Any]:
    """Return what ``add_argument`` needs for the type of an option."""
    if option.type is bool:
        if len(option.flags) == 2:
            return {"action": argparse.BooleanOptionalAction}
        return {"action": "store_false" if option.default is True else "store_true"}
    kind: dict[str, Any] = {"type": option.parse or option.type}
    several: dict[str, Any] = {}
    origin, members = get_origin(option.type), get_args(option.type)
    if origin in (tuple, Sequence):
        several = {"nargs": len(members) if origin is tuple else "+"}
        kind = {"type": option.parse or members[0], **several}
    if origin is Literal or option.choices:
        return {**several, "choices": option.choices or members}
    return {**kind, "metavar": option.metavar}


def _help(option: Option) -> str:
    text = option.help.replace("%", "%%")
    if "default" in text or option.type is bool or option.default is None:
        return text
    return f"{text} (default: {option.default})"
