"""Fixtures of the tests of prediction."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from swin_umamba.inference.predictor import Predictor
from trained.model_folder import make_model, make_model_at

__all__ = ["make_model", "make_model_at"]

CELLS = {"background": 0, "interior": 1, "boundary": 2}


@pytest.fixture
def model(make_model: Callable[..., Path]) -> Path:
    """Return the folder of a model of cells."""
    return make_model(labels=CELLS)


@pytest.fixture
def cells(model: Path) -> Predictor:
    """Return a model of cells."""
    return Predictor.from_folder(model, device="cpu", mirroring=False)
