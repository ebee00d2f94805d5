"""Set-up of the operator tests."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from swin_umamba.ops import backend

# Test folders are not on the import path; the helpers beside this file are imported by name.
sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(autouse=True)
def _no_backend_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(backend.ENVIRONMENT_VARIABLE, raising=False)


@pytest.fixture
def without_numba(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine on which ``import numba`` fails."""
    monkeypatch.setitem(sys.modules, "numba", None)
    backend.backend_status.cache_clear()
    yield
    backend.backend_status.cache_clear()
