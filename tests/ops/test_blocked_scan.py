"""The blocked recurrence: chunks side by side, hard decays, bounded memory."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from ops.scan_inputs import relative_error
from swin_umamba.ops import blocked_scan
from swin_umamba.ops.blocked_scan import BLOCK, blocked_scan_backward, blocked_scan_forward
from swin_umamba.ops.reference import selective_scan_reference

FLOAT64_TOLERANCE = 1e-12
FLOAT32_TOLERANCE = 2e-6
LENGTHS = (1, 2, 31, 32, 33, 63, 64, 65, 70, 100, 129)


def random_inputs(length: int, batch: int = 2, dim: int = 4, d_state: int = 3) -> list[Tensor]:
    """u, delta, A, B and C, channels last, in float64."""
    inputs = [
        torch.randn(batch, length, dim),
        torch.rand(batch, length, dim),
        -3 * torch.rand(dim, d_state),
        torch.randn(batch, length, d_state),
        torch.randn(batch, length, d_state),
    ]
    return [tensor.double() for tensor in inputs]


def reference(inputs: list[Tensor], grad_y: Tensor, grad_state: Tensor) -> list[Tensor]:
    """Output, last state and the gradients of the five inputs, in the layout of the blocked scan."""
    u, delta, A, B, C = inputs = [tensor.detach().requires_grad_() for tensor in inputs]
    y, state = selective_scan_reference(u.mT, delta.mT, A, B.mT, C.mT, return_last_state=True)
    y, state = y.mT, state.mT
    return [y, state, *torch.autograd.grad([y, state], inputs, [grad_y, grad_state])]


def blocked(inputs: list[Tensor], grad_y: Tensor, grad_state: Tensor) -> list[Tensor]:
    y, state, starts = blocked_scan_forward(*inputs)
    return [y, state, *blocked_scan_backward(grad_y, grad_state, starts, *inputs)]


@pytest.mark.usefixtures("nan_in_fresh_memory")
@pytest.mark.parametrize("chunk", [None, BLOCK, 2 * BLOCK])
@pytest.mark.parametrize("length", LENGTHS)
def test_outputs_and_gradients_equal_the_reference(
    length: int, chunk: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if chunk is not None:
        monkeypatch.setattr(blocked_scan, "chunk_length", lambda device, length: min(length, chunk))
    inputs = random_inputs(length)
    grad_y, grad_state = torch.randn_like(inputs[0]), torch.randn(2, 3, 4, dtype=torch.float64)
    results = blocked(inputs, grad_y, grad_state)
    for value, expected in zip(results, reference(inputs, grad_y, grad_state), strict=True):
        assert relative_error(value, expected) < FLOAT64_TOLERANCE


def test_gpu_chunks_are_whole_blocks() -> None:
    for length in (1, 255, 256, 257, 4096):
        steps = blocked_scan.chunk_length(torch.device("cuda"), length)
        assert steps == length or (steps % BLOCK == 0 and steps < length)
    assert blocked_scan.chunk_length(torch.device("cpu"), 10**6) == 10**6


@pytest.mark.parametrize("chunk", [1024, 256])
@pytest.mark.parametrize("rates", [range(1, 17), [10_000] * 16])
def test_hard_decays_stay_finite_and_exact(
    rates: list[int], chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocked_scan, "chunk_length", lambda device, length: min(length, chunk))
    u, delta, A, B, C = random_inputs(1024, batch=1, dim=2, d_state=16)
    delta[:, ::3] = 50 * delta[:, ::3]
    delta[:, 1::3] = 1e-3 * delta[:, 1::3]
    A = -torch.tensor(rates, dtype=torch.float64).expand(2, 16)
    single = [tensor.float() for tensor in (u, delta, A, B, C)]
    grad_y, grad_state = torch.randn(1, 1024, 2), torch.randn(1, 16, 2)
    double = [tensor.double() for tensor in single]
    expected = reference(double, grad_y.double(), grad_state.double())
    for value, exact in zip(blocked(single, grad_y, grad_state), expected, strict=True):
        assert relative_error(value, exact) < FLOAT32_TOLERANCE


class LargestTensor(TorchDispatchMode):
    """Records the number of elements of the largest tensor that any operation makes."""

    elements = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for value in result if isinstance(result, (tuple, list)) else (result,):
            if isinstance(value, Tensor):
                self.elements = max(self.elements, value.untyped_storage().size() // value.element_size())
        return result


def test_memory_does_not_hold_a_state_per_step() -> None:
    length, dim, d_state = 4096, 4, 16
    inputs = random_inputs(length, batch=1, dim=dim, d_state=d_state)
    with LargestTensor() as largest:
        blocked(inputs, torch.randn_like(inputs[0]), torch.zeros(1, d_state, dim, dtype=torch.float64))
    assert largest.elements <= length * max(dim, d_state)
    assert blocked_scan_forward(*inputs)[2].numel() == length // BLOCK * dim * d_state
