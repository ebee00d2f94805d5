"""Fixtures of the inference tests."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

# Test folders are not on the import path; the helpers beside this file are imported by name.
sys.path.insert(0, str(Path(__file__).parent))

from model_folder import make_model_folder

MakeModel = Callable[..., Path]


@pytest.fixture
def make_model_at() -> MakeModel:
    """Return a function that writes a model folder below a folder and returns its path."""
    return make_model_folder


@pytest.fixture
def make_model(tmp_path: Path) -> MakeModel:
    """Return a function that writes a model folder and returns its path."""
    return partial(make_model_folder, tmp_path)
