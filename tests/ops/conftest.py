"""Set-up of the operator tests."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from swin_umamba.ops import backend


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
