"""Options that several verbs share."""

from __future__ import annotations

import argparse

import pytest

from swin_umamba.cli.options import (
    add_checkpoint_options,
    add_device_option,
    add_prediction_options,
    parse_folds,
)
from swin_umamba.errors import UsageError


def test_defaults_and_purpose() -> None:
    parser = argparse.ArgumentParser()
    add_checkpoint_options(parser, purpose="average")
    add_device_option(parser)
    add_prediction_options(parser)
    assert vars(parser.parse_args([])) == {
        "fold": None,
        "checkpoint": "checkpoint_final.pth",
        "device": "auto",
        "no_mirroring": False,
        "precision": "float32",
    }
    assert "folds to average (default: all that were trained)" in " ".join(parser.format_help().split())


def test_folds_are_numbers_or_all() -> None:
    assert parse_folds(None) is None
    assert parse_folds(["0", "3", "all"]) == [0, 3, "all"]
    for wrong in ("first", "-1", "1.0", ""):
        with pytest.raises(UsageError, match="there is no fold"):
            parse_folds(["0", wrong])
