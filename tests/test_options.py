"""Options that are stored with a run."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from swin_umamba.errors import UsageError
from swin_umamba.options import continue_options


@dataclass(frozen=True)
class Stored:
    epochs: int = 10
    seed: int | None = None
    workers: int = 2


def test_what_may_change_is_taken_over() -> None:
    stored = Stored(seed=3)
    assert continue_options(stored, {"workers": 0, "seed": 3}, ["workers", "epochs"]) == Stored(10, 3, 0)
    assert continue_options(stored, {}, ["workers"]) == stored
    assert stored == Stored(10, 3, 2)


def test_all_contradictions_are_named() -> None:
    with pytest.raises(UsageError) as caught:
        continue_options(Stored(), {"workers": 0, "seed": 3, "epochs": 11}, ["workers"])
    assert "seed is 3 but the run was started with None; epochs is 11" in caught.value.what
    assert caught.value.cure is not None
    assert caught.value.cure.endswith("what may change is: workers")
