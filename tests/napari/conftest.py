"""Fixtures of the tests of the widget."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from trained.model_folder import make_model_folder

MakeModel = Callable[..., Path]


@pytest.fixture
def make_model(tmp_path: Path) -> MakeModel:
    """Return a function that writes a model folder in nnU-Net's results folder, and returns its path."""
    return partial(make_model_folder, tmp_path / "nnUNet_results" / "Dataset999_Tiny")
