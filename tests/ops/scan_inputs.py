"""Random inputs for the scans, and the comparison used by all their tests."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor

from swin_umamba.ops.selective_scan import selective_scan
from swin_umamba.ops.ss2d_scan import ss2d_scan


def sequence_inputs(
    length: int,
    *,
    batch: int = 2,
    dim: int = 6,
    d_state: int = 3,
    groups: int = 2,
    dtype: torch.dtype = torch.float64,
) -> dict[str, Tensor]:
    """All tensors of `selective_scan`, requiring gradients."""
    tensors = {
        "u": torch.randn(batch, dim, length, dtype=dtype),
        "delta": torch.rand(batch, dim, length, dtype=dtype),
        "A": -3 * torch.rand(dim, d_state, dtype=dtype),
        "B": torch.randn(batch, groups, d_state, length, dtype=dtype),
        "C": torch.randn(batch, groups, d_state, length, dtype=dtype),
        "D": torch.randn(dim, dtype=dtype),
        "z": torch.randn(batch, dim, length, dtype=dtype),
        "delta_bias": torch.randn(dim, dtype=dtype),
    }
    return {name: tensor.requires_grad_() for name, tensor in tensors.items()}


def image_inputs(
    height: int,
    width: int,
    *,
    batch: int = 2,
    d_inner: int = 6,
    d_state: int = 3,
    dt_rank: int = 2,
    dtype: torch.dtype = torch.float64,
) -> dict[str, Tensor]:
    """All tensors of `ss2d_scan`, requiring gradients."""
    tensors = {
        "x": torch.randn(batch, height, width, d_inner, dtype=dtype),
        "x_dbl": torch.randn(batch, height, width, 4, dt_rank + 2 * d_state, dtype=dtype),
        "dt_projs_weight": torch.randn(4, d_inner, dt_rank, dtype=dtype),
        "dt_projs_bias": torch.randn(4, d_inner, dtype=dtype),
        "A": -3 * torch.rand(4, d_inner, d_state, dtype=dtype),
        "D": torch.randn(4, d_inner, dtype=dtype),
    }
    return {name: tensor.requires_grad_() for name, tensor in tensors.items()}


def detached(tensors: dict[str, Tensor]) -> list[Tensor]:
    """The tensors in order, without gradients."""
    return [tensor.detach() for tensor in tensors.values()]


def relative_error(value: Tensor, expected: Tensor, unit: Tensor | None = None) -> float:
    """Largest deviation, by default in units of the largest number expected; infinite if any is."""
    assert value.shape == expected.shape
    if not value.isfinite().all():
        return float("inf")
    value, expected = value.detach().double(), expected.detach().double()
    unit = expected.abs() if unit is None else unit
    return float((value - expected).abs().amax() / unit.amax().clamp_min(1e-30))


def terms_of_skip_gradient(inputs: Mapping[str, Tensor], cotangent: Tensor) -> Tensor:
    """Sum over |dL/dy u|, for every number of D.

    The gradient of D is a plain sum of dL/dy u over images and steps, and its terms may cancel: then no order
    of summation is exact in units of the result, but every order is within the rounding of the terms.
    """
    if "x" in inputs:
        return (cotangent * inputs["x"]).abs().sum((0, 1, 2)).expand(4, -1).detach()
    gate = torch.nn.functional.silu(inputs["z"]) if "z" in inputs else 1.0
    return (cotangent * gate * inputs["u"]).abs().sum((0, 2)).detach()


def errors_against_reference(
    backend: str | None,
    inputs: Mapping[str, Tensor],
    *,
    device: torch.device | str = "cpu",
    dtypes: Mapping[str, torch.dtype] | None = None,
    delta_softplus: bool = True,
    exact_backend: str = "reference",
    exact_device: torch.device | str = "cpu",
) -> dict[str, float]:
    """Relative errors of the outputs and of all gradients of one backend, under the name of each.

    The operator is the one that ``inputs`` belong to: `sequence_inputs`, without some of the options if
    wanted, or `image_inputs`. Tensors are float32 unless ``dtypes`` says otherwise. The reference, or another
    backend that knows float64, gets the same numbers in float64.
    """
    dtypes = dtypes or {}
    given = {
        name: tensor.detach().to(device, dtypes.get(name, torch.float32)).requires_grad_()
        for name, tensor in inputs.items()
    }
    exact = {
        name: tensor.detach().to(exact_device, torch.float64).requires_grad_()
        for name, tensor in given.items()
    }
    if "u" in inputs:
        options = {"delta_softplus": delta_softplus, "return_last_state": True}
        outputs = selective_scan(**given, **options, backend=backend)
        expected = selective_scan(**exact, **options, backend=exact_backend)
    else:
        outputs = (ss2d_scan(**given, backend=backend),)
        expected = (ss2d_scan(**exact, backend=exact_backend),)
    cotangents = [torch.randn_like(output) for output in outputs]
    exact_cotangents = [cotangent.to(exact_device, torch.float64) for cotangent in cotangents]
    gradients = torch.autograd.grad(outputs, list(given.values()), cotangents, allow_unused=True)
    truth = torch.autograd.grad(expected, list(exact.values()), exact_cotangents, allow_unused=True)
    units = {"D": terms_of_skip_gradient(exact, exact_cotangents[0]).cpu()}
    errors = {}
    for name, tensor, gradient, value in zip(given, given.values(), gradients, truth, strict=True):
        assert (gradient is None) == (value is None), name
        if gradient is not None:
            assert gradient.dtype == tensor.dtype, name
            errors[f"gradient of {name}"] = relative_error(gradient.cpu(), value.cpu(), units.get(name))
    for name, output, value in zip(("output", "last state"), outputs, expected, strict=False):
        errors[name] = relative_error(output.cpu(), value.cpu())
    return errors


@contextmanager
def threads(number: int) -> Iterator[None]:
    """Let PyTorch, and the native backend with it, use so many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)
