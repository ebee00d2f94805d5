"""Fixtures of the network tests."""

from __future__ import annotations

from typing import Any

import pytest

from models.classifier_file import classifier_file
from swin_umamba.models.registry import create_model, list_models
from weights.file_server import cache

__all__ = ["cache", "classifier_file"]


@pytest.fixture(params=list_models())
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def network(name: str) -> Any:
    """A tiny network in evaluation mode with deep supervision on."""
    from models.tiny_network import IN_CHANNELS, NUM_CLASSES, TINY

    return create_model(name, IN_CHANNELS, NUM_CLASSES, **TINY).eval()
