"""Precision: the choice, its errors, and what autocast then does."""

from __future__ import annotations

import pytest
import torch

from swin_umamba.errors import UsageError
from swin_umamba.ops.precision import autocast, check_precision, training_precision

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize(
    ("requested", "device", "expected"),
    [
        (None, CPU, "float32"),
        (None, CUDA, "float16"),
        ("bfloat16", CPU, "bfloat16"),
        ("float32", CUDA, "float32"),
        ("float16", CUDA, "float16"),
    ],
)
def test_training_precision(requested: str | None, device: torch.device, expected: str) -> None:
    assert training_precision(requested, device) == expected


@pytest.mark.parametrize(
    ("precision", "said"), [("half", "unknown precision 'half'"), ("float16", "float16")]
)
def test_what_a_cpu_cannot_do(precision: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        check_precision(precision, CPU)
    with pytest.raises(UsageError, match=said):
        training_precision(precision, CPU)


@pytest.mark.parametrize(("precision", "dtype"), [("float32", torch.float32), ("bfloat16", torch.bfloat16)])
def test_autocast(precision: str, dtype: torch.dtype) -> None:
    x = torch.randn(4, 4)
    with autocast(CPU, precision):
        assert (x @ x).dtype == dtype
