"""The native scan against the machine's limit; run it as ``python benchmarks/ss2d.py --encoders``.

At the four stages of both encoders for an image of 320x320: VMamba's (16 states, d_inner 192 to 1536, rank of
dt d_inner / 32) and VMamba v2's (one state, d_inner 96 to 768, rank d_inner / 16). One thread, in seconds of
its processor time, so that other work on the machine weighs little; the fastest of the turns counts, and the
limit is the fastest of a multiply-add loop that runs between them.

Two counts of work are set against that limit. The first is that of ``necessary_operations`` in ss2d.py. It
leaves out softplus, which the scan cannot do without either: once for each channel and step, 15
multiplications and multiply-adds (exponential 5, logarithm 10), and again in the backward. With 16 states
that is a tenth more, with one as much as all the rest: the second count has it. Both leave out what runs
beside multiply-adds: rounding, clamps, shifts, loads and stores.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from ss2d import (
    MODES,
    check_correctness,
    forward_and_backward,
    make_inputs,
    multiply_adds_kernel,
    necessary_operations,
    say,
)
from swin_umamba.ops.native.threads import denormals_flushed
from swin_umamba.ops.native.vector import LANES
from swin_umamba.ops.ss2d_scan import ss2d_scan

SIDES = (80, 40, 20, 10)  # of the stages of an image of 320x320
SOFTPLUS_OPERATIONS = {"forward": 15, "forward+backward": 30}
REFERENCE_STEPS = 10_000  # with more steps, the plain loop takes minutes


def _processor_seconds(function: Callable[[], object]) -> float:
    start = time.thread_time()
    function()
    return time.thread_time() - start


def _multiply_adds_per_second() -> float:
    multiply_adds = multiply_adds_kernel()
    numbers, repeats = np.full(2 * LANES, 0.5, dtype=np.float32), 300_000
    with denormals_flushed():
        seconds = _processor_seconds(lambda: multiply_adds(repeats, numbers))
    return repeats * 8 * LANES / seconds


def _native(*inputs: Tensor) -> Tensor:
    return ss2d_scan(*inputs, backend="native")


def _reference(*inputs: Tensor) -> Tensor:
    return ss2d_scan(*inputs, backend="reference")


def _step(scan: Callable[..., Tensor], mode: str, inputs: list[Tensor], grad_y: Tensor) -> object:
    if mode == "forward":
        with torch.inference_mode():
            return scan(*inputs)
    return forward_and_backward(scan, inputs, grad_y)


def run(turns: int) -> None:
    """Check, time and print."""
    if sys.platform == "win32":
        sys.exit("the processor time of a thread is too coarse on Windows")
    torch.manual_seed(0)
    torch.set_num_threads(1)
    check_correctness({"native": _native}, torch.device("cpu"))
    _multiply_adds_per_second()
    say("one thread, processor time, fastest turn; shares of the multiply-add limit beside it")
    for d_state, width, channels_per_rank in ((16, 192, 32), (1, 96, 16)):
        for stage, side in enumerate(SIDES):
            d_inner = width << stage
            dt_rank = d_inner // channels_per_rank
            inputs = make_inputs(d_inner, side, side, d_state, dt_rank=dt_rank)
            for mode in MODES:
                _report(turns, mode, d_inner, side, d_state, dt_rank, inputs)


def _report(
    turns: int, mode: str, d_inner: int, side: int, d_state: int, dt_rank: int, inputs: list[Tensor]
) -> None:
    grad_y = torch.randn_like(inputs[0])
    fastest, limit = float("inf"), 0.0
    for _ in range(turns):
        limit = max(limit, _multiply_adds_per_second())
        for _ in range(2):  # the loop leaves the caches as they are, but the processor's frequency may change
            seconds = _processor_seconds(lambda: _step(_native, mode, inputs, grad_y))
            fastest = min(fastest, seconds)
    operations = necessary_operations(mode, d_inner, side, side, d_state, dt_rank)
    softplus = SOFTPLUS_OPERATIONS[mode] * 4.0 * side**2 * d_inner
    shares = [count / fastest / limit for count in (operations, operations + softplus)]
    loop = ""
    if 4 * side**2 <= REFERENCE_STEPS:
        seconds = _processor_seconds(lambda: _step(_reference, mode, inputs, grad_y))
        loop = f"   plain loop {seconds / fastest:4.0f} x"
    say(
        f"D={d_inner:<5} L={side}x{side}  N={d_state:<3} rank {dt_rank:<3} {mode:17}{fastest * 1e3:8.2f} ms"
        f"  limit {limit / 1e9:4.0f} G/s  {shares[0]:4.0%}, with softplus {shares[1]:4.0%}{loop}"
    )
