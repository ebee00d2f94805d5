"""Rows 22, 23 and 24 of the fault table: derivatives, hard decays and awkward memory of the scan."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from ops.scan_inputs import image_inputs, relative_error, sequence_inputs
from swin_umamba.ops.backend import backend_status
from swin_umamba.ops.selective_scan import selective_scan
from swin_umamba.ops.ss2d_scan import ss2d_scan

LENGTHS = (1, 2, 3, 31, 63, 64, 65, 127, 129)  # around the chunks of all backends
FLOAT32_BACKENDS = ("reference", "chunked", "native")
# Those that compute in float64. The reference goes step by step, and has no chunks.
BACKENDS_AND_LENGTHS = [
    *itertools.product(["reference"], (1, 2, 3, 31)),
    *itertools.product(["chunked"], LENGTHS),
]
FLOAT32_BACKENDS_AND_LENGTHS = [*BACKENDS_AND_LENGTHS, *itertools.product(["native"], LENGTHS)]
FLOAT32_TOLERANCE = 5e-6  # of the largest number of each tensor
LONG_TOLERANCE = 2e-5  # 4096 steps add up more rounding
BFLOAT16_TOLERANCE = 2**-8  # the rounding of the result itself
# Half of all combinations of five options: any four of them occur in every combination.
OPTIONS = [(*options, sum(options) % 2 == 0) for options in itertools.product([True, False], repeat=4)]


def skip_without(backend: str) -> None:
    if not backend_status(backend).available:
        pytest.skip(backend_status(backend).reason)


def all_of(scan: Callable[..., Any], inputs: dict[str, Tensor]) -> list[Tensor]:
    """Outputs and the gradients of every input, for fixed random cotangents."""
    outputs = scan(**inputs)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    generator = torch.Generator().manual_seed(1)
    # The last state of no steps depends on nothing.
    roots = [each for each in outputs if each.requires_grad]
    cotangents = [torch.randn(each.shape, generator=generator).to(each.dtype) for each in roots]
    gradients = torch.autograd.grad(
        roots, list(inputs.values()), cotangents, allow_unused=True, materialize_grads=True
    )
    return [*outputs, *gradients]


def sequence_scan(backend: str, **inputs: Any) -> Any:
    return selective_scan(**inputs, delta_softplus=True, return_last_state=True, backend=backend)


# ---- row 22


@pytest.mark.parametrize(("backend", "length"), BACKENDS_AND_LENGTHS)
def test_row_22_gradcheck_of_sequences(backend: str, length: int) -> None:
    """Every input of the scan with all options; entry by entry where it is short."""
    inputs = sequence_inputs(length, batch=1, dim=2, d_state=1, groups=1)
    names = list(inputs)
    assert torch.autograd.gradcheck(
        lambda *tensors: sequence_scan(backend, **dict(zip(names, tensors, strict=True))),
        tuple(inputs.values()),
        fast_mode=length > 3,
    )


@pytest.mark.parametrize(("with_D", "with_z", "with_bias", "softplus", "with_last_state"), OPTIONS)
def test_row_22_gradcheck_with_each_option_on_and_off(
    with_D: bool, with_z: bool, with_bias: bool, softplus: bool, with_last_state: bool
) -> None:
    present = {"D": with_D, "z": with_z, "delta_bias": with_bias}
    inputs = {
        name: tensor
        for name, tensor in sequence_inputs(5, batch=1, dim=2, d_state=2, groups=2).items()
        if present.get(name, True)
    }
    if with_bias and not softplus:
        inputs["delta_bias"].data.abs_()  # a step must not be negative
    names = list(inputs)
    assert torch.autograd.gradcheck(
        lambda *tensors: selective_scan(
            **dict(zip(names, tensors, strict=True)),
            delta_softplus=softplus,
            return_last_state=with_last_state,
            backend="chunked",
        ),
        tuple(inputs.values()),
    )


@pytest.mark.parametrize(("backend", "length"), BACKENDS_AND_LENGTHS)
def test_row_22_gradcheck_of_images(backend: str, length: int) -> None:
    height = 3 if length in (3, 63, 129) else 1
    inputs = image_inputs(height, length // height, batch=1, d_inner=2, d_state=1, dt_rank=1)
    assert torch.autograd.gradcheck(
        lambda *tensors: ss2d_scan(*tensors, backend=backend), tuple(inputs.values()), fast_mode=length > 3
    )


# ---- row 23


def hard_sequence(rate: float | None, length: int) -> dict[str, Tensor]:
    """Steps from 1e-6 to 50 in random order, and decays of 1 to 16, or one."""
    inputs = sequence_inputs(length, batch=1, dim=4, d_state=16, groups=2)
    inputs["A"].data.copy_(-torch.arange(1.0, 17).expand(4, 16) if rate is None else -rate)
    steps = torch.logspace(-6, 1.69897, length)[torch.randperm(length)]
    inputs["delta"].data.copy_(steps.expand(1, 4, length))
    del inputs["delta_bias"]
    return inputs


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize(
    ("length", "backend"),
    [
        *itertools.product([65], FLOAT32_BACKENDS),
        *itertools.product([4096], ["chunked", "native"]),
        pytest.param(4096, "reference", marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("rate", [None, 1e4], ids=["1 to 16", "1e4"])
def test_row_23_hard_decays(rate: float | None, length: int, dtype: torch.dtype, backend: str) -> None:
    """Finite, and as near to float64 as rounding allows: outputs, last state and every gradient."""
    skip_without(backend)
    rounded = {
        name: tensor.detach().to(dtype if name in ("u", "delta", "B", "C", "z") else torch.float32)
        for name, tensor in hard_sequence(rate, length).items()
    }

    def scan(backend: str) -> Callable[..., Any]:
        return lambda **inputs: selective_scan(**inputs, return_last_state=True, backend=backend)

    exact = {name: tensor.double().requires_grad_() for name, tensor in rounded.items()}
    given = {name: tensor.clone().requires_grad_() for name, tensor in rounded.items()}
    names = ["y", "last state", *given]
    tolerance = FLOAT32_TOLERANCE if length < 100 else LONG_TOLERANCE
    generator = torch.Generator().manual_seed(1)
    results = {}
    weights: list[Tensor] = []
    for key, inputs, chosen in (("exact", exact, "chunked"), ("given", given, backend)):
        outputs = scan(chosen)(**inputs)
        weights = weights or [torch.randn(each.shape, generator=generator).to(dtype) for each in outputs]
        cotangents = [weight.to(each.dtype) for weight, each in zip(weights, outputs, strict=True)]
        results[key] = [*outputs, *torch.autograd.grad(outputs, list(inputs.values()), cotangents)]
    for name, value, expected in zip(names, results["given"], results["exact"], strict=True):
        assert value.isfinite().all(), name
        bound = BFLOAT16_TOLERANCE if value.dtype == torch.bfloat16 else tolerance
        assert relative_error(value, expected) < bound, name


# ---- row 24


@pytest.mark.usefixtures("nan_in_fresh_memory")
@pytest.mark.parametrize(("backend", "length"), FLOAT32_BACKENDS_AND_LENGTHS)
def test_row_24_nan_in_fresh_memory(backend: str, length: int) -> None:
    skip_without(backend)
    for scan, inputs in (
        (sequence_scan, sequence_inputs(length)),
        (lambda backend, **tensors: ss2d_scan(**tensors, backend=backend), image_inputs(1, length)),
    ):
        exact = all_of(lambda scan=scan, **tensors: scan("reference", **tensors), inputs)
        single = {name: tensor.detach().float().requires_grad_() for name, tensor in inputs.items()}
        values = all_of(lambda scan=scan, **tensors: scan(backend, **tensors), single)
        for value, expected in zip(values, exact, strict=True):
            assert relative_error(value, expected) < FLOAT32_TOLERANCE


def strided(tensor: Tensor) -> Tensor:
    """The same numbers with gaps in memory and the axes in reverse order."""
    axes = list(reversed(range(tensor.dim())))
    large = torch.zeros(*(2 * size for size in tensor.permute(axes).shape), dtype=tensor.dtype)
    view = large[tuple(slice(None, None, 2) for _ in axes)].permute(axes)
    view.copy_(tensor)
    return view


def once(tensor: Tensor) -> Tensor:
    """The first entry of the first axis, repeated without memory of its own."""
    return tensor[:1].expand(tensor.shape)


@pytest.mark.parametrize("backend", FLOAT32_BACKENDS)
@pytest.mark.parametrize("layout", [strided, once])
def test_row_24_layouts_in_memory(layout: Callable[[Tensor], Tensor], backend: str) -> None:
    """Equal numbers give equal results wherever they lie, outputs and gradients."""
    skip_without(backend)
    for scan, inputs in (
        (sequence_scan, sequence_inputs(33, dtype=torch.float32)),
        (
            lambda backend, **tensors: ss2d_scan(**tensors, backend=backend),
            image_inputs(5, 7, dtype=torch.float32),
        ),
    ):
        awkward = {name: layout(tensor.detach()).requires_grad_() for name, tensor in inputs.items()}
        plain = {name: tensor.detach().contiguous().requires_grad_() for name, tensor in awkward.items()}
        assert not any(tensor.is_contiguous() for tensor in awkward.values())
        values = all_of(lambda scan=scan, **tensors: scan(backend, **tensors), awkward)
        expected = all_of(lambda scan=scan, **tensors: scan(backend, **tensors), plain)
        for value, exact in zip(values, expected, strict=True):
            assert relative_error(value, exact) < FLOAT32_TOLERANCE


@pytest.mark.usefixtures("nan_in_fresh_memory")
@pytest.mark.parametrize("backend", FLOAT32_BACKENDS)
@pytest.mark.parametrize("shape", [(0, 5), (2, 0)])
def test_row_24_nothing_in_nothing_out(shape: tuple[int, int], backend: str) -> None:
    skip_without(backend)
    batch, length = shape
    for scan, inputs in (
        (sequence_scan, sequence_inputs(length, batch=batch, dtype=torch.float32)),
        (
            lambda backend, **tensors: ss2d_scan(**tensors, backend=backend),
            image_inputs(length, 3, batch=batch, dtype=torch.float32),
        ),
    ):
        values = all_of(lambda scan=scan, **tensors: scan(backend, **tensors), inputs)
        assert all(value.isfinite().all() for value in values)
        assert values[0].numel() == 0


@pytest.mark.parametrize("backend", ["chunked", "native"])
def test_row_24_number_of_threads(backend: str) -> None:
    """The kernels give the same bits; operators of PyTorch, which "chunked" is made of, the same digits."""
    skip_without(backend)
    sequence = sequence_inputs(129, dim=48, d_state=5, dtype=torch.float32)
    image = image_inputs(13, 17, d_inner=70, dtype=torch.float32)
    before = torch.get_num_threads()
    results = []
    try:
        for number in (1, 2, 3, 8):
            torch.set_num_threads(number)
            of_sequence = all_of(lambda **tensors: sequence_scan(backend, **tensors), sequence)
            of_image = all_of(lambda **tensors: ss2d_scan(**tensors, backend=backend), image)
            results.append([*of_sequence, *of_image])
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        for value, expected in zip(other, results[0], strict=True):
            if backend == "native":
                assert torch.equal(value, expected)
            else:
                assert relative_error(value, expected) < FLOAT32_TOLERANCE
