"""The step sizes of the Triton kernels: projected in them, or before them by a matrix product."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor

from ops.scan_inputs import image_inputs
from swin_umamba.ops.ss2d_scan import ss2d_scan

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
from swin_umamba.ops.triton import launch
from swin_umamba.ops.triton import ss2d_scan as triton_ss2d_scan

pytestmark = pytest.mark.usefixtures("fast_interpreter", "nan_in_fresh_memory")


@pytest.mark.slow
@pytest.mark.parametrize("most_offset", [1, launch.MOST_OFFSET])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("dt_rank", [1, 6, 11, 12, 24, 48])
def test_every_rank_of_dt(
    dt_rank: int, dtype: torch.dtype, most_offset: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Projected in the kernels or before them, with offsets of 64 bits or of 32."""
    monkeypatch.setattr(launch, "MOST_OFFSET", most_offset)
    inputs = image_inputs(3, 3, d_inner=5, d_state=1, dt_rank=dt_rank)
    inputs["dt_projs_weight"].data.div_(dt_rank**0.5)
    errors = compare(inputs, {"x": dtype, "x_dbl": dtype})
    check(errors, FLOAT32_TOLERANCE if dtype == torch.float32 else HALF_TOLERANCE[dtype])


class Products:
    """Notes matrix products, and whether the program's own setting of TF32 was in force."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.shapes: list[tuple[int, ...]] = []
        self._programs_own = True
        self._bmm = torch.bmm
        monkeypatch.setattr(torch, "bmm", self._note)
        monkeypatch.setattr(triton_ss2d_scan, "products_without_tf32", self._without_tf32)

    def _note(self, left: Tensor, right: Tensor) -> Tensor:
        assert not self._programs_own
        result = self._bmm(left, right)
        assert result.dtype == torch.float32
        self.shapes.append(tuple(result.shape))
        return result

    @contextmanager
    def _without_tf32(self, device: torch.device) -> Iterator[None]:
        self._programs_own = False
        yield
        self._programs_own = True


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
def test_the_projection_is_neither_rounded_nor_saved(
    dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The backward projects again, and the gradient of what it projected takes its place."""
    products = Products(monkeypatch)
    places, gradients_of = [], triton_ss2d_scan.ss2d_gradients

    def noted(*tensors: Any) -> None:
        places.append([tensors[place].data_ptr() for place in (3, 12)])
        gradients_of(*tensors)

    monkeypatch.setattr(triton_ss2d_scan, "ss2d_gradients", noted)
    inputs = on_device(
        image_inputs(1, 2, d_inner=5, d_state=1, dt_rank=12, batch=1), {"x": dtype, "x_dbl": dtype}
    )
    saved: list[Tensor] = []

    def note(tensor: Tensor) -> Tensor:
        saved.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        y = ss2d_scan(**inputs, backend="triton")
    assert products.shapes == [(4, 2, 5)]
    assert {each.data_ptr() for each in saved if each.numel()} == {
        each.data_ptr() for each in inputs.values()
    }
    y.sum().backward()
    assert products.shapes == [(4, 2, 5), (4, 2, 5), (4, 5, 12), (4, 2, 12)]
    assert places[0][0] == places[0][1]


@pytest.mark.gpu
@pytest.mark.skipif(DEVICE.type != "cuda", reason="no CUDA device")
@pytest.mark.parametrize("dt_rank", [6, 48])
def test_tf32_changes_nothing(dt_rank: int, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = on_device(image_inputs(17, 30, d_inner=192, d_state=1, dt_rank=dt_rank))
    runs = []
    for allowed in (False, True):
        monkeypatch.setattr(torch.backends.cuda.matmul, "allow_tf32", allowed)
        y = ss2d_scan(**inputs, backend="triton")
        runs.append([y, *torch.autograd.grad(y.square().sum(), list(inputs.values()))])
    for exact, other in zip(*runs, strict=True):
        assert torch.equal(exact, other)
