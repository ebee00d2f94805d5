"""Fixtures of the tests of the widget."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

# Test folders are not on the import path; the helpers of inference and here are imported by name.
sys.path.insert(0, str(Path(__file__).parents[1] / "inference"))
sys.path.insert(0, str(Path(__file__).parent))

from model_folder import make_model_folder

MakeModel = Callable[..., Path]


@pytest.fixture
def make_model(tmp_path: Path) -> MakeModel:
    """Return a function that writes a model folder in nnU-Net's results folder, and returns its path."""
    return partial(make_model_folder, tmp_path / "nnUNet_results" / "Dataset999_Tiny")
