"""Comparing what two runs have stored."""

from __future__ import annotations

from collections.abc import Container
from typing import Any

import torch

TIMES = frozenset({"epoch_start_timestamps", "epoch_end_timestamps"})


def assert_equal_states(one: Any, other: Any, *, leave_out: Container[str] = (), where: str = "") -> None:
    """Compare nested checkpoint entries bit by bit, except those with a key of ``leave_out``."""
    assert type(one) is type(other), where
    if isinstance(one, dict):
        assert one.keys() == other.keys(), where
        for key in one:
            if key not in leave_out:
                assert_equal_states(one[key], other[key], leave_out=leave_out, where=f"{where}/{key}")
    elif isinstance(one, list | tuple):
        assert len(one) == len(other), where
        for number, pair in enumerate(zip(one, other, strict=True)):
            assert_equal_states(*pair, leave_out=leave_out, where=f"{where}/{number}")
    elif isinstance(one, torch.Tensor):
        assert torch.equal(one, other), where
    else:
        assert one == other or (one != one and other != other), where
