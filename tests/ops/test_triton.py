"""The Triton kernels against the float64 reference: outputs, every gradient, and what they must withstand.

Without a GPU they run in Triton's interpreter on the CPU, which is slow: the shapes are small and ragged,
with a last chunk of a few steps (21 are 16 and 5, and tiles of 8, 8 and 5), a last channel block that is not
full, and more than one of both.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import swin_umamba.ops
from ops.scan_inputs import detached, image_inputs, relative_error, sequence_inputs
from swin_umamba.errors import BackendError
from swin_umamba.ops import ss2d_scan as ss2d_module
from swin_umamba.ops.reference import ss2d_scan_reference
from swin_umamba.ops.selective_scan import _selective_scan, _selective_scan_backward
from swin_umamba.ops.ss2d_scan import _ss2d_scan, _ss2d_scan_backward, ss2d_scan

pytest.importorskip("triton", reason="Triton is not installed")
from ops.triton_interpreter import (
    DEVICE,
    FLOAT32_TOLERANCE,
    HALF_TOLERANCE,
    check,
    compare,
    fast_interpreter,  # noqa: F401
    on_device,
)
from swin_umamba.ops.launch_settings import DEFAULT
from swin_umamba.ops.triton import launch
from swin_umamba.ops.triton import ss2d_scan as triton_ss2d_scan

SLOW_BFLOAT16 = pytest.param(torch.bfloat16, marks=pytest.mark.slow)
pytestmark = pytest.mark.usefixtures("fast_interpreter", "nan_in_fresh_memory")


IMAGES = {
    "ragged": (5, 7, {"d_state": 3}),
    "one state": (3, 6, {"batch": 1, "d_state": 1, "d_inner": 33, "dt_rank": 12}),
    "one pixel": (1, 1, {"d_state": 2}),
    "one row": (1, 21, {"batch": 1, "d_state": 2}),
    "one column": (17, 1, {"batch": 1, "d_state": 1, "dt_rank": 24}),
    "two channel blocks": (3, 4, {"batch": 1, "d_inner": 130, "d_state": 2}),
    "16 states": (3, 6, {"batch": 1, "d_inner": 40, "d_state": 16, "dt_rank": 5}),
    "64 states": (3, 3, {"batch": 1, "d_state": 64}),
}


def quick(cases: Iterable[str], *slow: str) -> list[Any]:
    """Return the cases as parameters; the interpreter walks through many states one by one."""
    return [pytest.param(case, marks=pytest.mark.slow) if case in slow else case for case in cases]


@pytest.mark.parametrize("case", quick(IMAGES, "ragged", "two channel blocks", "16 states", "64 states"))
def test_images_agree_with_the_reference(case: str) -> None:
    height, width, options = IMAGES[case]
    check(compare(image_inputs(height, width, **options)))


SEQUENCES = {
    "ragged": (19, {}),
    "one step": (1, {}),
    "one state": (18, {"d_state": 1, "groups": 1}),
    "two channel blocks in each of two groups": (7, {"batch": 1, "dim": 260, "d_state": 1}),
    "16 states": (17, {"batch": 1, "dim": 34, "d_state": 16, "groups": 1}),
    "64 states": (9, {"batch": 1, "d_state": 64}),
}


@pytest.mark.parametrize("case", quick(SEQUENCES, "16 states", "64 states"))
def test_sequences_agree_with_the_reference(case: str) -> None:
    length, options = SEQUENCES[case]
    check(compare(sequence_inputs(length, **options)))


@pytest.mark.parametrize("absent", [("D",), ("delta_bias",), ("z",), ("D", "z", "delta_bias")], ids=str)
def test_sequences_without_an_option(absent: tuple[str, ...]) -> None:
    inputs = {name: tensor for name, tensor in sequence_inputs(9, batch=1).items() if name not in absent}
    if "delta_bias" in inputs:
        inputs["delta_bias"].data.abs_()  # a step size must not be negative
    check(compare(inputs, delta_softplus=False))


@pytest.mark.parametrize("dtype", [SLOW_BFLOAT16, torch.float16], ids=str)
def test_images_in_half_precision(dtype: torch.dtype) -> None:
    """The kernels read half precision; only what they return is rounded to it."""
    halves = {"x": dtype, "x_dbl": dtype}
    errors = compare(image_inputs(2, 5, batch=1, d_state=3, dt_rank=12), halves)
    rounded = {name: error for name, error in errors.items() if name.split()[-1] in ("output", "x", "x_dbl")}
    check(rounded, HALF_TOLERANCE[dtype])


@pytest.mark.slow
def test_half_precision_is_computed_in_float32() -> None:
    """Whether x comes in half precision or as the same numbers in float32 does not matter to the sums."""
    half = on_device(image_inputs(3, 6, batch=1), {"x": torch.float16, "x_dbl": torch.float16})
    single = {name: tensor.detach().float().requires_grad_() for name, tensor in half.items()}
    y, exact = ss2d_scan(**half, backend="triton"), ss2d_scan(**single, backend="triton")
    assert y.dtype == torch.float16
    assert torch.equal(y, exact.half())
    assert torch.equal(ss2d_scan(**half, backend="triton", out_dtype=torch.float32), exact)
    weight = torch.randn_like(y)
    gradients = torch.autograd.grad(y, list(half.values()), weight)
    expected = torch.autograd.grad(exact, list(single.values()), weight.float())
    for (name, tensor), gradient, value in zip(half.items(), gradients, expected, strict=True):
        assert gradient.dtype == tensor.dtype
        assert torch.equal(gradient, value.to(tensor.dtype)), name


@pytest.mark.parametrize(
    ("rate", "dtype"),
    [
        pytest.param(1.0, torch.float32, marks=pytest.mark.slow),
        pytest.param(16.0, torch.float32, marks=pytest.mark.slow),
        (1e4, torch.float32),
        pytest.param(1e4, torch.bfloat16, marks=pytest.mark.slow),
    ],
)
def test_hard_decays_in_images(rate: float, dtype: torch.dtype) -> None:
    """Steps from 1e-6 to 50 with decays down to exp(-500000), next to each other."""
    inputs = image_inputs(3, 3, batch=1, d_state=2, dt_rank=1)
    inputs["x_dbl"].data[..., 0].mul_(30)
    inputs["A"].data.fill_(-rate)
    errors = compare(inputs, {"x": dtype, "x_dbl": dtype})
    check(errors, FLOAT32_TOLERANCE if dtype == torch.float32 else HALF_TOLERANCE[dtype])


def test_hard_decays_in_sequences() -> None:
    inputs = sequence_inputs(20, batch=1)
    inputs["A"].data.copy_(-torch.tensor([1e-3, 16.0, 1e4]).expand(6, 3))
    inputs["delta"].data.copy_(torch.logspace(-6, 1.7, 20)[torch.randperm(20)].expand(1, 6, 20))
    del inputs["delta_bias"]
    check(compare(inputs, delta_softplus=False))


def test_tiny_steps_keep_their_digits() -> None:
    """softplus(-15) is 3e-7: computed as log(1 + exp) in float32 it would be off by a tenth."""
    inputs = image_inputs(2, 3, batch=1)
    inputs["dt_projs_bias"].data.fill_(-15.0)
    inputs["D"].data.zero_()
    check(compare(inputs))


def test_strided_and_expanded_tensors() -> None:
    x, x_dbl, weight, bias, A, D = detached(on_device(image_inputs(2, 3, batch=1)))
    strided = (x.mT.contiguous().mT, x_dbl.transpose(1, 2).contiguous().transpose(1, 2))
    shared_A = A[:1].expand(4, -1, -1)
    expected = ss2d_scan(x, x_dbl, weight, bias, shared_A.contiguous(), D, backend="triton")
    assert not strided[0].is_contiguous()
    assert torch.equal(ss2d_scan(*strided, weight, bias, shared_A, D, backend="triton"), expected)


@pytest.mark.parametrize("shape", [(0, 3, 4), (2, 0, 4), (2, 3, 0)])
def test_empty_images(shape: tuple[int, int, int]) -> None:
    batch, height, width = shape
    inputs = on_device(image_inputs(height, width, batch=batch))
    y = ss2d_scan(**inputs, backend="triton")
    assert y.shape == inputs["x"].shape
    y.sum().backward()
    for tensor in inputs.values():
        assert tensor.grad is not None
        assert torch.equal(tensor.grad, torch.zeros_like(tensor))


def test_equal_inputs_give_equal_bits() -> None:
    inputs = on_device(image_inputs(*((2, 9) if DEVICE.type == "cuda" else (1, 3)), batch=1, d_state=1))
    runs = []
    for _ in range(2):
        y = ss2d_scan(**inputs, backend="triton")
        runs.append([y, *torch.autograd.grad(y.square().sum(), list(inputs.values()))])
    for first, second in zip(*runs, strict=True):
        assert torch.equal(first, second)


def test_the_registered_operator_gives_equal_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = on_device(image_inputs(1, 2, batch=1, d_state=1))
    runs = []
    for operator in (False, True):
        monkeypatch.setattr(ss2d_module, "operator_is_needed", lambda tensors, operator=operator: operator)
        y = ss2d_scan(**inputs, backend="triton")
        runs.append([y, *torch.autograd.grad(y.square().sum(), list(inputs.values()))])
    for plain, registered in zip(*runs, strict=True):
        assert torch.equal(plain, registered)


def test_no_kernel_uses_an_atomic_operation() -> None:
    """The structural half of determinism: nothing is ever added up in the order in which threads arrive."""
    sources = sorted((Path(swin_umamba.ops.__file__).parent / "triton").glob("*.py"))
    assert len(sources) >= 10
    for path in sources:
        assert not re.search(r"\batomic_\w+\(|tl\.atomic|index_add|scatter_add", path.read_text()), path.name


@pytest.mark.parametrize(("save_states", "dt_rank"), [(True, 2), (False, 12)])
def test_no_states_are_saved(save_states: bool, dt_rank: int) -> None:
    tensors = detached(on_device(image_inputs(1, 2, batch=1, dt_rank=dt_rank)))
    _, states = _ss2d_scan(*tensors, save_states, "triton")
    assert states.shape == (0, 4, 1, 3, 6)
    assert states.untyped_storage().nbytes() == 0


@pytest.mark.parametrize(
    ("programs", "length", "steps"),
    [(3, 16384, 32), (24, 16384, 256), (24, 256, 16), (192, 256, 32), (1, 7, 16), (10**6, 1, 256)],
)
def test_chunks_grow_with_the_work(programs: int, length: int, steps: int) -> None:
    assert launch.chunk_steps(programs, length, DEFAULT.enough_warps) == steps


@pytest.mark.parametrize("steps", [7, *(pytest.param(n, marks=pytest.mark.slow) for n in (1, 32, 64))])
def test_chunks_of_any_length_give_the_same_output(steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "chunk_steps", lambda *_: steps)
    inputs = image_inputs(5, 7, batch=1, d_inner=3, d_state=2)
    y = ss2d_scan(*detached(on_device(inputs)), backend="triton")
    expected = ss2d_scan_reference(*detached(inputs))
    assert relative_error(y.cpu(), expected) < FLOAT32_TOLERANCE


def test_half_precision_gives_a_float32_output() -> None:
    x, x_dbl, *others = detached(on_device(image_inputs(2, 3, batch=1)))
    x, x_dbl = x.half(), x_dbl.half()
    y, _ = triton_ss2d_scan.ss2d_scan_forward(x, x_dbl, *others)
    assert y.dtype == torch.float32
    assert torch.equal(y, ss2d_scan(x.float(), x_dbl.float(), *others, backend="triton"))


@pytest.mark.slow
def test_offsets_of_64_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "MOST_OFFSET", 1)
    check(compare(image_inputs(3, 6, batch=1, d_state=2)))


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_operators_keep_the_rules_of_torch_library(dtype: torch.dtype) -> None:
    inputs = on_device(image_inputs(2, 9, batch=1, d_state=1), {"x": dtype, "x_dbl": dtype})
    checks = ("test_schema", "test_autograd_registration", "test_faketensor")
    torch.library.opcheck(_ss2d_scan, (*inputs.values(), True, "triton"), test_utils=checks)
    tensors = detached(inputs)
    y, states = _ss2d_scan(*tensors, True, "triton")
    torch.library.opcheck(
        _ss2d_scan_backward, (torch.randn_like(y), states, *tensors, "triton"), test_utils=checks
    )
    u, delta, A, B, C, D, _, bias = detached(on_device(sequence_inputs(18, batch=1, d_state=1)))
    arguments = (u, delta, A, B, C, D, bias, True, "triton")
    torch.library.opcheck(_selective_scan, arguments, test_utils=checks)
    y, state, states = _selective_scan(*arguments)
    torch.library.opcheck(
        _selective_scan_backward, (torch.randn_like(y), state, states, *arguments), test_utils=checks
    )


@pytest.mark.slow
def test_compiles_into_one_graph() -> None:
    inputs = on_device(image_inputs(3, 6, batch=1, d_state=1))
    tensors = list(inputs.values())
    results = []
    for function in (ss2d_scan, torch.compile(ss2d_scan, fullgraph=True, backend="aot_eager")):
        y = function(*tensors, backend="triton")
        results.append([y, *torch.autograd.grad(y.sum(), tensors)])
    for value, expected in zip(*results, strict=True):
        assert torch.equal(value, expected)


def test_float64_is_refused() -> None:
    with pytest.raises(BackendError, match="computes float32 on a CUDA device, not"):
        ss2d_scan(**image_inputs(2, 3), backend="triton")


def twenty_steps(network: torch.nn.Module, new_input: Callable[[], Tensor]) -> list[Tensor]:
    """Train for 20 steps and return the weights."""
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4)
    for _ in range(20):
        loss = network(new_input()).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return [parameter.detach().clone() for parameter in network.parameters()]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_twenty_steps_give_equal_weights_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    from swin_umamba import create_model

    # Else cuDNN may choose an algorithm that adds up in the order in which threads arrive.
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", True)
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", False)
    runs = []
    for _ in range(2):
        torch.manual_seed(0)
        network = create_model("swin_umamba_d", in_channels=1, num_classes=3, depths=(1, 1, 1, 1)).cuda()
        runs.append(twenty_steps(network, lambda: torch.randn(2, 1, 64, 64, device="cuda")))
    for first, second in zip(*runs, strict=True):
        assert torch.equal(first, second)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_twenty_steps_of_the_scan_alone_give_equal_weights_twice() -> None:
    """Whatever cuDNN does: the parameters of a scan are trained, on the same images."""

    class Scan(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            inputs = image_inputs(33, 50, d_inner=192, d_state=16, dt_rank=6, dtype=torch.float32)
            self.tensors = torch.nn.ParameterList([tensor.detach().cuda() for tensor in inputs.values()])

        def forward(self, noise: Tensor) -> Tensor:
            x, *others = self.tensors
            return ss2d_scan(x + noise, *others, backend="triton")

    runs = []
    for _ in range(2):
        torch.manual_seed(0)
        runs.append(twenty_steps(Scan(), lambda: torch.randn(2, 33, 50, 192, device="cuda")))
    for first, second in zip(*runs, strict=True):
        assert torch.equal(first, second)
