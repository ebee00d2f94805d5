"""The smallest kernel: whether compiler, driver and cache work at all."""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from swin_umamba.ops.triton.launch import device_of

SIZE = 16


@triton.jit
def _double(values, SIZE: tl.constexpr):  # type: ignore[no-untyped-def]
    places = values + tl.arange(0, SIZE)
    tl.store(places, 2 * tl.load(places))


def run_smallest_kernel(device: torch.device) -> None:
    """Compile a kernel, or find it in the cache, and run it.

    Raises
    ------
    RuntimeError
        If it computes something wrong; whatever Triton raises if it does not run.
    """
    values = torch.ones(SIZE, device=device)
    with device_of(values):
        _double[(1,)](values, SIZE=SIZE)
    if not torch.equal(values.cpu(), torch.full((SIZE,), 2.0)):
        raise RuntimeError("a kernel that doubles numbers does not")
