"""Outside of compilers, transforms and modes both scans run without their registered operators."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Mapping
from types import FrameType, ModuleType
from typing import Any, NoReturn

import pytest
import torch
from torch import Tensor, nn
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.checkpoint import checkpoint

from ops.scan_inputs import image_inputs, sequence_inputs
from swin_umamba.ops import chunked, selective_scan, ss2d_scan
from swin_umamba.ops.backend import backend_status
from swin_umamba.ops.derivatives import operator_is_needed

# Python's calls of a scan besides those of its backend.
MOST_CALLS = {
    "ss2d_scan": {"graph": 125, "no graph": 105, "autocast": 155, "backward": 115},
    "selective_scan": {"graph": 150, "no graph": 128, "autocast": 180, "backward": 135},
}

Scan = Callable[..., Any]


def images() -> dict[str, Tensor]:
    return image_inputs(3, 5, batch=1, dtype=torch.float32)


def sequences() -> dict[str, Tensor]:
    return sequence_inputs(7, batch=1, dtype=torch.float32)


def without_options() -> dict[str, Tensor]:
    return {name: tensor for name, tensor in sequences().items() if name not in ("D", "z", "delta_bias")}


CASES: dict[str, tuple[ModuleType, str, Callable[[], dict[str, Tensor]], dict[str, Any]]] = {
    "image": (ss2d_scan, "ss2d_scan", images, {}),
    "sequence": (selective_scan, "selective_scan", sequences, {"delta_softplus": True}),
    "last state": (selective_scan, "selective_scan", sequences, {"return_last_state": True}),
    "bare": (selective_scan, "selective_scan", without_options, {}),
}


def outputs_and_gradients(scan: Scan, inputs: Mapping[str, Tensor]) -> list[Tensor]:
    """Two backwards through one graph, one of the last output alone, and a forward without gradients."""
    outputs = scan(**inputs)
    outputs = list(outputs) if isinstance(outputs, tuple) else [outputs]
    weights = [torch.cos(output.detach()) for output in outputs]
    results = []
    for _ in range(2):
        results += torch.autograd.grad(outputs, list(inputs.values()), weights, retain_graph=True)
    # Only the last output: the gradient of the first one is then undefined.
    results += torch.autograd.grad(
        outputs[-1].sum(), list(inputs.values()), allow_unused=True, materialize_grads=True
    )
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        again = scan(**inputs)
    return [*outputs, *results, *(again if isinstance(again, tuple) else [again])]


def no_operator(*_: object) -> NoReturn:
    raise AssertionError("a registered operator was called")


@pytest.mark.parametrize("backend", ["chunked", "native"])
@pytest.mark.parametrize("case", CASES)
def test_both_ways_give_equal_bits(case: str, backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if not backend_status(backend).available:
        pytest.skip(backend_status(backend).reason)
    module, name, make, options = CASES[case]
    inputs = make()

    def scan(**tensors: Tensor) -> Any:
        return getattr(module, name)(**tensors, **options, backend=backend)

    with monkeypatch.context() as patch:
        patch.setattr(module, "operator_is_needed", lambda tensors: True)
        expected = outputs_and_gradients(scan, inputs)
    for operator in (f"_{name}", f"_{name}_backward"):
        monkeypatch.setattr(module, operator, no_operator)
    found = outputs_and_gradients(scan, inputs)
    assert any(value.any() for value in expected)
    for value, exact in zip(found, expected, strict=True):
        assert torch.equal(value, exact)


def test_a_plain_call_needs_no_operator() -> None:
    tensors = [*images().values(), nn.Parameter(torch.ones(2)), None]
    assert not operator_is_needed(tensors)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert not operator_is_needed(tensors)
    with torch.inference_mode():
        assert not operator_is_needed(tensors)


class Kind(Tensor):
    """A subclass, which may want to see the operator."""


def test_whoever_looks_at_operators_sees_one() -> None:
    x = torch.ones(2)
    assert operator_is_needed([x.to("meta")])
    assert operator_is_needed([None, x.as_subclass(Kind)])
    with TorchDispatchMode():
        assert operator_is_needed([x])
    seen = []
    torch.func.vmap(lambda x: seen.append(operator_is_needed([x])) or x)(x)
    make_fx(lambda x: seen.append(operator_is_needed([x])) or x, tracing_mode="fake")(x)
    assert seen == [True, True]


def test_a_graph_of_operators_has_them() -> None:
    tensors = list(images().values())
    graph = make_fx(lambda *tensors: ss2d_scan.ss2d_scan(*tensors, backend="chunked"))(*tensors).graph
    assert torch.ops.swin_umamba.ss2d_scan.default in [node.target for node in graph.nodes]


@pytest.mark.parametrize("case", ["image", "sequence"])
def test_an_input_that_was_changed_before_the_backward_is_refused(case: str) -> None:
    module, name, make, options = CASES[case]
    inputs = make()
    changed = [tensor * 1 for tensor in inputs.values()]
    y = getattr(module, name)(*changed, **options, backend="chunked")
    changed[1].mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


@pytest.mark.parametrize("case", CASES)
def test_recomputed_activations_give_equal_gradients(case: str) -> None:
    module, name, make, options = CASES[case]
    inputs = make()
    tensors = list(inputs.values())

    def energy(*values: Tensor) -> Tensor:
        outputs = getattr(module, name)(
            **dict(zip(inputs, values, strict=True)), **options, backend="chunked"
        )
        return sum(o.square().sum() for o in (outputs if isinstance(outputs, tuple) else (outputs,)))

    expected = torch.autograd.grad(energy(*tensors), tensors)
    for reentrant in (False, True):
        y = checkpoint(energy, *tensors, use_reentrant=reentrant)
        for tensor in tensors:
            tensor.grad = None
        y.backward()
        for tensor, exact in zip(tensors, expected, strict=True):
            assert tensor.grad is not None
            assert torch.equal(tensor.grad, exact)


def calls_of(function: Callable[[], object]) -> int:
    """Python functions, and functions of C that Python calls: the same number however busy the machine is."""
    function()  # imports, caches
    calls = 0

    def count(frame: FrameType, event: str, argument: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    gc.disable()  # finalizers are calls, too
    sys.setprofile(count)
    try:
        function()
    finally:
        sys.setprofile(None)
        gc.enable()
    return calls


@pytest.mark.parametrize("name", ["ss2d_scan", "selective_scan"])
def test_a_scan_costs_the_host_little_more_than_its_backend(name: str) -> None:
    inputs = images() if name == "ss2d_scan" else sequences()
    inputs.pop("z", None)
    plain = [tensor.detach() for tensor in inputs.values()]
    option = True  # delta_softplus, or save_states
    module, scan = CASES["image" if name == "ss2d_scan" else "sequence"][0], {}
    if name == "selective_scan":
        scan = {"delta_softplus": True}

    def forward() -> Tensor:
        y: Tensor = getattr(module, name)(**inputs, **scan, backend="chunked")
        return y

    def without_graph() -> None:
        with torch.no_grad():
            forward()

    def in_half() -> None:
        with torch.autocast("cpu", torch.bfloat16):
            forward()

    alone = calls_of(lambda: getattr(chunked, f"{name}_forward")(*plain, option))
    for how, call in {"graph": forward, "no graph": without_graph, "autocast": in_half}.items():
        assert calls_of(call) - alone < MOST_CALLS[name][how], how

    y = forward()
    *_, states = getattr(chunked, f"{name}_forward")(*plain, option)
    grad_y = torch.ones_like(y)
    more = (grad_y, states) if name == "ss2d_scan" else (grad_y, None, states)
    end = () if name == "ss2d_scan" else (True,)
    alone = calls_of(lambda: getattr(chunked, f"{name}_backward")(*more, *plain, *end))
    through = calls_of(lambda: torch.autograd.grad(y, list(inputs.values()), grad_y, retain_graph=True))
    assert through - alone < MOST_CALLS[name]["backward"]
