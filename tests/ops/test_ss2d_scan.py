"""The public four-direction scan: gradients, dtypes, autocast, layouts, compilation, memory, refusals."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from ops.scan_inputs import detached, errors_against_reference, image_inputs
from swin_umamba.errors import UsageError
from swin_umamba.ops.backend import backend_status
from swin_umamba.ops.ss2d_scan import _ss2d_scan, _ss2d_scan_backward, ss2d_scan

FLOAT32_TOLERANCE = 5e-6
SIZES = ((1, 1), (2, 1), (1, 3), (31, 1), (7, 9), (8, 8), (5, 13))


@pytest.mark.parametrize("size", SIZES)
def test_gradients_are_derivatives(size: tuple[int, int]) -> None:
    inputs = image_inputs(*size, batch=1, d_inner=2, d_state=1, dt_rank=1)
    assert torch.autograd.gradcheck(
        lambda *tensors: ss2d_scan(*tensors, backend="chunked"),
        tuple(inputs.values()),
        fast_mode=size[0] * size[1] > 3,
    )


@pytest.mark.parametrize("size", [(1, 1), (3, 5), (9, 13)])
def test_automatic_choice_agrees_with_the_reference(size: tuple[int, int]) -> None:
    errors = errors_against_reference(None, image_inputs(*size, d_inner=24, d_state=16, dt_rank=3))
    assert max(errors.values()) < FLOAT32_TOLERANCE, errors


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_agrees_with_the_reference() -> None:
    inputs = image_inputs(20, 30, d_inner=24, d_state=16, dt_rank=3)  # longer than two of the chunks on a GPU
    errors = errors_against_reference(None, inputs, device="cuda")
    assert max(errors.values()) < FLOAT32_TOLERANCE, errors


@pytest.mark.parametrize("backend", ["chunked", "reference"])
def test_autocast_changes_nothing(backend: str) -> None:
    inputs = image_inputs(4, 5, dtype=torch.float32)
    tensors = list(inputs.values())
    expected = ss2d_scan(**inputs, backend=backend)
    gradients = torch.autograd.grad(expected.sum(), tensors)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = ss2d_scan(**inputs, backend=backend)
        if backend == "chunked":
            for value, exact in zip(torch.autograd.grad(y.sum(), tensors), gradients, strict=True):
                assert torch.equal(value, exact)
    assert torch.equal(y, expected)


def test_half_precision_activations_give_half_precision_back() -> None:
    inputs = image_inputs(4, 5, dtype=torch.float32)
    half = inputs | {name: inputs[name].detach().bfloat16().requires_grad_() for name in ("x", "x_dbl")}
    single = inputs | {name: half[name].detach().float() for name in ("x", "x_dbl")}
    y = ss2d_scan(**half, backend="chunked")
    assert y.dtype == torch.bfloat16
    exact = ss2d_scan(**single, backend="chunked")
    assert torch.equal(y, exact.bfloat16())
    assert torch.equal(ss2d_scan(**half, backend="chunked", out_dtype=torch.float32), exact)
    gradients = torch.autograd.grad(y.sum(), list(half.values()))
    assert [gradient.dtype for gradient in gradients] == [tensor.dtype for tensor in half.values()]


def test_strided_and_expanded_tensors() -> None:
    x, x_dbl, weight, bias, A, D = detached(image_inputs(4, 5))
    strided = (
        x.permute(0, 3, 1, 2).contiguous().permute(0, 2, 3, 1),
        x_dbl.flip(1).flip(1).mT.contiguous().mT,
    )
    shared_A = A[:1].expand(4, -1, -1)
    expected = ss2d_scan(x, x_dbl, weight, bias, shared_A.contiguous(), D, backend="chunked")
    assert not strided[0].is_contiguous()
    assert torch.equal(ss2d_scan(*strided, weight, bias, shared_A, D, backend="chunked"), expected)


@pytest.mark.parametrize("shape", [(0, 3, 4), (2, 0, 4), (2, 3, 0)])
def test_nothing_in_nothing_out(shape: tuple[int, int, int]) -> None:
    batch, height, width = shape
    inputs = image_inputs(height, width, batch=batch)
    y = ss2d_scan(**inputs, backend="chunked")
    assert y.shape == inputs["x"].shape
    y.sum().backward()
    for tensor in inputs.values():
        assert tensor.grad is not None
        assert torch.equal(tensor.grad, torch.zeros_like(tensor))


def test_operators_keep_the_rules_of_torch_library() -> None:
    inputs = image_inputs(3, 5)
    torch.library.opcheck(_ss2d_scan, (*inputs.values(), True, "chunked"))
    tensors = detached(inputs)
    torch.library.opcheck(_ss2d_scan, (*tensors, False, "chunked"))
    y, states = _ss2d_scan(*tensors, True, "chunked")
    torch.library.opcheck(_ss2d_scan_backward, (torch.randn_like(y), states, *tensors, "chunked"))


def test_compiles_into_one_graph() -> None:
    inputs = image_inputs(4, 5)
    tensors = list(inputs.values())
    results = []
    for function in (ss2d_scan, torch.compile(ss2d_scan, fullgraph=True, backend="aot_eager")):
        y = function(*tensors, backend="chunked")
        results.append([y, *torch.autograd.grad(y.sum(), tensors)])
        with torch.no_grad():  # another graph, which saves no states
            assert torch.equal(function(*tensors, backend="chunked"), y)
    for value, expected in zip(*results, strict=True):
        assert torch.equal(value, expected)
    # Still callable outside the graph.
    assert torch.equal(ss2d_scan(*tensors, backend="chunked"), results[0][0])


def test_exports_with_free_image_size() -> None:
    class Scan(nn.Module):
        def forward(self, x: Tensor, x_dbl: Tensor, parameters: list[Tensor]) -> Tensor:
            return ss2d_scan(x, x_dbl, *parameters)

    x, x_dbl, *parameters = detached(image_inputs(4, 5))
    free = {1: torch.export.Dim("height", min=2, max=64), 2: torch.export.Dim("width", min=2, max=64)}
    program = torch.export.export(
        Scan(), (x, x_dbl, parameters), dynamic_shapes=(free, free, [None] * len(parameters))
    )
    x, x_dbl, *_ = detached(image_inputs(7, 3))
    assert torch.equal(program.module()(x, x_dbl, parameters), ss2d_scan(x, x_dbl, *parameters))


def test_meta_tensors_give_the_shape_without_computing() -> None:
    inputs = {name: tensor.to("meta") for name, tensor in image_inputs(4, 5).items()}
    y = ss2d_scan(**inputs)
    assert y.shape == (2, 4, 5, 6)
    assert y.is_meta


@pytest.mark.parametrize("backend", ["chunked", "native"])
def test_autograd_keeps_the_inputs_and_little_more(backend: str) -> None:
    """A state per pixel would be d_state times the activation, for each of the four directions."""
    if not backend_status(backend).available:
        pytest.skip(backend_status(backend).reason)
    inputs = image_inputs(32, 32, batch=1, d_inner=32, d_state=16, dt_rank=2, dtype=torch.float32)
    kept: dict[int, int] = {}

    def record(tensor: Tensor) -> Tensor:
        kept[tensor.data_ptr()] = tensor.numel()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(record, lambda tensor: tensor):
        ss2d_scan(**inputs, backend=backend)
    own = sum(tensor.numel() for tensor in inputs.values())
    assert sum(kept.values()) >= own
    assert sum(kept.values()) - own <= 4 * inputs["x"].numel()


class TensorSizes(TorchDispatchMode):
    """Records the number of elements of each tensor that the scan returns."""

    elements: tuple[int, ...] = ()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func is torch.ops.swin_umamba.ss2d_scan.default:
            self.elements = tuple(tensor.numel() for tensor in result)
        return result


@pytest.mark.parametrize("backend", ["chunked", "native"])
def test_states_are_saved_only_where_a_gradient_may_be_asked_for(backend: str) -> None:
    if not backend_status(backend).available:
        pytest.skip(backend_status(backend).reason)
    inputs = image_inputs(8, 9, dtype=torch.float32)
    with TensorSizes() as training:
        y = ss2d_scan(**inputs, backend=backend)
    with TensorSizes() as without_leaves:
        y_without_leaves = ss2d_scan(*detached(inputs), backend=backend)
    with TensorSizes() as without_grad, torch.no_grad():
        y_without_grad = ss2d_scan(**inputs, backend=backend)
    assert training.elements[1] > 0
    assert without_leaves.elements == without_grad.elements == (y.numel(), 0)
    assert torch.equal(y, y_without_leaves)
    assert torch.equal(y, y_without_grad)


def replaced(name: str, change: Callable[[Tensor], Any]) -> Callable[[dict[str, Tensor]], dict[str, Any]]:
    return lambda inputs: inputs | {name: change(inputs[name])}


REFUSED = [
    (replaced("x", lambda x: x[0]), "x must have shape"),
    (replaced("x_dbl", lambda x_dbl: x_dbl[..., 1:]), "x_dbl must have shape"),
    (replaced("x_dbl", lambda x_dbl: x_dbl[:, :, 1:]), "x_dbl must have shape"),
    (replaced("dt_projs_weight", lambda weight: weight[0]), "dt_projs_weight must have shape"),
    (replaced("dt_projs_weight", lambda weight: weight[:3]), "dt_projs_weight must have shape"),
    (replaced("dt_projs_bias", lambda bias: bias.flatten()), "dt_projs_bias must have shape"),
    (replaced("A", lambda A: A.flatten(0, 1)), "A must have shape"),
    (replaced("A", lambda A: A[:, 1:]), "A must have shape"),
    (replaced("D", lambda D: D.flatten()), "D must have shape"),
    (replaced("x", lambda x: x.int()), "x must hold floating-point numbers"),
    (replaced("D", lambda D: D.to("meta")), "all tensors must be on one device"),
    (replaced("A", lambda A: None), "A must be a tensor, not NoneType"),
]


@pytest.mark.parametrize(("change", "message"), REFUSED, ids=[message for _, message in REFUSED])
def test_bad_input_is_refused(change: Callable[[dict[str, Tensor]], dict[str, Any]], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        ss2d_scan(**change(image_inputs(2, 3)))
