"""What all conformance tests share."""

from __future__ import annotations

import os

import pytest


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Thousands of small files are written here, and nobody minds if a power failure takes them."""
    monkeypatch.setattr(os, "fsync", lambda _: None)
