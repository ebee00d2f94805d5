"""Step 10: what the card can do, and how much of it the scans and the networks use."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch

from gpu import block_kernels
from gpu.arithmetic import FEW_STATES, compulsory_bytes, exponentials, peak_exponentials, share, share_of_sfu
from gpu.limits import TURNS, copied_bytes_per_second, exponentials_per_second
from gpu.networks import NETWORKS
from gpu.numbers import STAGES, use_cache
from gpu.runner import Context
from gpu.timing import synchronize, time_call
from swin_umamba.ops.ss2d_scan import ss2d_scan

LEAST_FORWARD, LEAST_BOTH = 0.10, 0.05  # of the measured exponentials, 192 channels, 16 states, batch 8
LEAST_BUSY = 0.85
PROFILED_STEPS = 3


def scan_inputs(
    d_inner: int, height: int, width: int, d_state: int, batch: int, device: torch.device
) -> list[torch.Tensor]:
    """Return inputs as the networks have them at first: A = -1 .. -d_state, steps of 0.001 to 0.1."""
    from ss2d import make_inputs

    return [tensor.to(device) for tensor in make_inputs(d_inner, height, width, d_state, batch)]


def forward_call(inputs: list[torch.Tensor]) -> Callable[[], object]:
    """Return a call of the scan that keeps nothing for a backward."""

    def call() -> object:
        with torch.no_grad():
            return ss2d_scan(*inputs, backend="triton")

    return call


def both_call(inputs: list[torch.Tensor]) -> Callable[[], object]:
    """Return a call of the scan and of its gradients."""
    leaves = [tensor.detach().requires_grad_() for tensor in inputs]
    cotangent = torch.randn_like(inputs[0])
    return lambda: torch.autograd.grad(ss2d_scan(*leaves, backend="triton"), leaves, cotangent)


def speed(context: Context) -> None:
    """Step 10: limits, scans of the four stages, kernels beside them, a step of both networks."""
    use_cache(context)
    device, tiny = context.device, context.rehearse
    if not tiny:
        _settle_clocks(device)
    rate = exponentials_per_second(device)
    copy = copied_bytes_per_second(device, 2**10 if tiny else 2**28)
    context.speed("exponentials", rate / 1e12, "T/s")
    context.speed("copy", copy / 1e12, "TB/s")
    clock = context.environment.get("max_clock_mhz")
    if clock:
        possible = peak_exponentials(context.environment["multiprocessors"], clock * 1e6)
        measured = share(rate, possible)
        context.speed("exponentials, of what the highest clock allows", measured, "", 0.5)
        if not tiny:
            context.must(
                "the exponentials are timed right", measured < 1.1, measured, "", "more is impossible"
            )
    for batch in (1,) if tiny else (1, 8):
        for stage in ((6, 3, 5),) if tiny else STAGES:
            # Other ranks of dt would compile all kernels for one state once more.
            for d_state in (1,) if tiny else (16, 1) if stage == STAGES[0] else (16,):
                _time_scan(context, stage, d_state, batch, rate, copy)
    shapes = [block_kernels.TINY] if tiny else [(*stage, 8) for stage in (STAGES[0], STAGES[-1])]
    for candidate in block_kernels.CANDIDATES:
        if block_kernels.must_be_right(candidate, context):
            block_kernels.measure(candidate, context, shapes)
    for name in NETWORKS:
        for batch in (1,) if tiny else (1, 8):
            _time_network(context, name, batch)


def _settle_clocks(device: torch.device) -> None:
    """Work for half a second, so that the clocks are those of work."""
    matrix, end = torch.randn(2048, 2048, device=device), time.monotonic() + 0.5
    while time.monotonic() < end:
        matrix @ matrix
        synchronize(device)


def _time_scan(
    context: Context, stage: tuple[int, int, int], d_state: int, batch: int, rate: float, copy: float
) -> None:
    d_inner, height, width = stage
    inputs = scan_inputs(*stage, d_state, batch, context.device)
    dt_rank = inputs[2].shape[2]
    for mode, call, backward, least in (
        ("forward", forward_call(inputs), False, LEAST_FORWARD),
        ("forward+backward", both_call(inputs), True, LEAST_BOTH),
    ):
        call()
        seconds = time_call(call, context.device, 1 if context.rehearse else TURNS)
        name = f"scan {d_inner}x{height}x{width}, d_state {d_state}, batch {batch}, {mode}"
        context.speed(f"{name}: host", 1e3 * seconds.host, "ms")
        context.speed(f"{name}: device", None if seconds.device is None else 1e3 * seconds.device, "ms")
        if d_state > FEW_STATES:
            count = exponentials(batch, d_inner, height * width, d_state, backward=backward)
            gate = least if (d_inner, batch) == (STAGES[0][0], 8) else None
            used = share_of_sfu(count, seconds.best, rate)
            context.speed(f"{name}: of the exponentials", used, "", gate)
        else:
            count = compulsory_bytes(batch, d_inner, height * width, d_state, dt_rank, backward=backward)
            used = share(count / seconds.best, copy)
            context.speed(f"{name}: of a copy", used, "")
        if not context.rehearse:
            context.must(f"{name}: possible", used < 1.5, used, "", "a higher share means wrong timing")


def _time_network(context: Context, name: str, batch: int) -> None:
    device, tiny = context.device, context.rehearse
    torch.manual_seed(0)
    small: dict[str, Any] = (
        {"depths": (1,) * 4, "features_per_stage": (8, 8, 8, 8), "d_state": 1} if tiny else {}
    )
    model = NETWORKS[name](1, 3, **small).to(device)
    side = 32 if tiny else 512
    image = torch.randn(batch, 1, side, side, device=device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    scaler = torch.amp.GradScaler(device.type, enabled=device.type == "cuda")

    def step() -> None:
        with torch.autocast(device.type, dtype=torch.float16, enabled=device.type == "cuda"):
            loss = model(image).float().square().mean()
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()

    label = f"{name}, {side}x{side}, batch {batch}, float16"
    try:
        for _ in range(1 if tiny else 3):
            step()
        seconds = time_call(step, device, 1 if tiny else TURNS)
        context.speed(f"{label}: step", 1e3 * seconds.host, "ms")
        busy, launches = (None, None) if tiny else busy_share(step, device)
        context.speed(f"{label}: busy", busy, "", LEAST_BUSY if batch == 8 else None)
        context.speed(f"{label}: launches a step", launches, "")
    except torch.cuda.OutOfMemoryError:
        context.fact(label, None, "", "out of memory")


def busy_share(step: Callable[[], None], device: torch.device) -> tuple[float, float]:
    """Return the time of kernels as a share of wall time, and the kernels of one step.

    Kernels of one stream do not overlap, so their times add up. Wall time is taken without the profiler.
    """
    synchronize(device)
    start = time.perf_counter()
    for _ in range(PROFILED_STEPS):
        step()
    synchronize(device)
    wall = time.perf_counter() - start
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        for _ in range(PROFILED_STEPS):
            step()
        synchronize(device)
    kernels = [event for event in profile.events() if event.device_type == torch.autograd.DeviceType.CUDA]
    microseconds = sum(event.time_range.elapsed_us() for event in kernels)
    return microseconds / 1e6 / wall, len(kernels) / PROFILED_STEPS
