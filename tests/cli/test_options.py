"""Flags out of declared options."""

from __future__ import annotations

import argparse
from dataclasses import dataclass

import pytest

from swin_umamba.cli.options import add_options, given_options
from swin_umamba.errors import UsageError
from swin_umamba.inference.options import FolderOptions, ModelOptions
from swin_umamba.nnunet.training.options import TrainRequest, parse_fold
from swin_umamba.options import Options, option


@dataclass(frozen=True)
class Declared(Options):
    epochs: int = option(10, "number of epochs", flags=("--epochs", "-e"), metavar="N")
    size: tuple[int, int] | None = option(None, "height and width (default: 100 % of it)")
    quiet: bool = option(False, "no messages")
    mirror: bool = option(True, "no mirroring", flags=("--no-mirror",))
    draw: bool = option(False, "pictures", flags=("--draw", "--no-draw"))
    kind: str = option("a", "which", choices=("a", "b"))
    hidden: int = option(1, "only in Python", flags=())


def parse(*arguments: str) -> dict[str, object]:
    parser = argparse.ArgumentParser()
    add_options(parser, Declared)
    return given_options(parser.parse_args(arguments), Declared)


def test_only_what_was_given_is_there() -> None:
    assert parse() == {}
    assert parse("--size", "3", "4", "-e", "2") == {"size": (3, 4), "epochs": 2}
    assert parse("--quiet", "--no-mirror", "--no-draw") == {"quiet": True, "mirror": False, "draw": False}
    assert parse("--draw", "--kind", "b") == {"draw": True, "kind": "b"}
    for wrong in (["--kind", "c"], ["--size", "3"], ["--hidden", "2"]):
        with pytest.raises(SystemExit):
            parse(*wrong)


def test_help_names_defaults_once() -> None:
    parser = argparse.ArgumentParser()
    add_options(parser, Declared)
    text = " ".join(parser.format_help().split())
    assert "number of epochs (default: 10)" in text
    assert "height and width (default: 100 % of it)" in text
    assert "which (default: a)" in text


def test_some_of_the_options() -> None:
    parser = argparse.ArgumentParser()
    add_options(parser, ModelOptions, ("folds", "checkpoint"))
    add_options(parser, FolderOptions)
    args = parser.parse_args(["--fold", "0", "all", "--checkpoint", "x", "--nonfinite", "zero"])
    assert given_options(args, ModelOptions) == {"folds": (0, "all"), "checkpoint": "x"}
    assert given_options(args, FolderOptions) == {"nonfinite": "zero"}
    assert not hasattr(args, "device")


def test_folds_are_numbers_or_all() -> None:
    assert [parse_fold(text) for text in ("0", "3", "all")] == [0, 3, "all"]
    for wrong in ("first", "-1", "1.0", ""):
        with pytest.raises(UsageError, match="there is no fold"):
            parse_fold(wrong)


def test_every_option_of_a_training_has_a_flag_but_two() -> None:
    parser = argparse.ArgumentParser()
    add_options(parser, TrainRequest)
    destinations = {action.dest for action in parser._actions}
    assert TrainRequest.__dataclass_fields__.keys() - destinations == {"configuration", "plans_name"}
