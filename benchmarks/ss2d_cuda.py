"""Time the four-direction scan on a CUDA device; run it as ``python benchmarks/ss2d.py --device cuda``.

Compared are the Triton kernels, the portable chunked backend, and where they are installed the scans of
mamba_ssm and of VMamba with four permuted copies around them. Each must agree with the float64 reference
first. Then they are timed in one process, the caches of the device emptied before every call: on the device
alone, everything queued beforehand, and with the host, from an idle device. Achieved bytes per second count
the traffic that no implementation can avoid: every input read once and every output written once, for a
backward its inputs and gradients once more. They are set against the device's own copy, measured in the same
run. The exponentials are those that the recurrence cannot avoid, one per state and step; with more than four
states they and not the memory set the pace, and their share of the exponentials that the device computes in
registers is printed instead.

No figures of a GPU have been taken yet. The way to VMamba's extension is written from its interface and has
not been run.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from gpu.arithmetic import FEW_STATES, exponentials, share_of_sfu
from gpu.limits import copied_bytes_per_second, exponentials_per_second
from gpu.timing import time_call
from ss2d import D_STATES, STAGES, check_correctness, forward_and_backward, make_inputs, peak_extra_bytes, say
from swin_umamba.errors import SwinUMambaError
from swin_umamba.ops.backend import backend_status, resolve_device
from swin_umamba.ops.mamba_ssm import as_image, as_sequences
from swin_umamba.ops.ss2d_scan import ss2d_scan

BATCHES = (1, 8)
MODES = ("forward", "forward+backward")
COPY_ELEMENTS = 2**28  # 1 GiB of float32
WARM_UP_TURNS = 2

Scan = Callable[..., Tensor]


@dataclass(frozen=True)
class CudaTiming:
    """Median seconds of one implementation at one shape, and what follows from them.

    The rates follow from the seconds on the device; where those could not be measured, from the host's.
    """

    implementation: str
    mode: str
    batch: int
    d_inner: int
    height: int
    width: int
    d_state: int
    device_seconds: float | None
    host_seconds: float
    gigabytes_per_second: float
    share_of_copy: float
    share_of_sfu: float
    peak_extra_megabytes: float | None


class _VMambaScan(torch.autograd.Function):
    """The CUDA extension of VMamba, ``selective_scan_cuda_oflex``, with its own backward."""

    @staticmethod
    def forward(ctx: Any, *inputs: Tensor) -> Tensor:
        extension = importlib.import_module("selective_scan_cuda_oflex")
        y, states, *_ = extension.fwd(*inputs, True, 1, True)
        ctx.save_for_backward(*inputs, states)
        return y

    @staticmethod
    def backward(ctx: Any, grad_y: Tensor) -> tuple[Tensor, ...]:
        extension = importlib.import_module("selective_scan_cuda_oflex")
        *inputs, states = ctx.saved_tensors
        return tuple(extension.bwd(*inputs, grad_y.contiguous(), states, True, 1)[:7])


def vmamba_scan(
    x: Tensor, x_dbl: Tensor, dt_projs_weight: Tensor, dt_projs_bias: Tensor, A: Tensor, D: Tensor
) -> Tensor:
    """Scan an image by VMamba's extension."""
    u, delta, B, C = as_sequences(x, x_dbl, dt_projs_weight)
    y = _VMambaScan.apply(u, delta, A.flatten(0, 1), B, C, D.flatten(), dt_projs_bias.flatten())
    return as_image(y, x.shape[1], x.shape[2])


def implementations() -> dict[str, Scan]:
    """Return what can be compared here; the first is the one that ratios refer to."""
    scans: dict[str, Scan] = {}
    for backend in ("triton", "chunked", "mamba_ssm"):
        status = backend_status(backend)
        if status.available:
            scans[backend] = lambda *inputs, name=backend: ss2d_scan(*inputs, backend=name)
        else:
            say(f"{backend} is not compared: {status.reason}")
    if importlib.util.find_spec("selective_scan_cuda_oflex"):
        scans["vmamba"] = vmamba_scan
    else:
        say("vmamba is not compared: its extension selective_scan_cuda_oflex is not installed")
    return scans


def compulsory_bytes(inputs: list[Tensor], mode: str) -> int:
    """Bytes that must be moved: inputs once and the output once; backward, the same and the gradients."""
    given = sum(tensor.numel() * tensor.element_size() for tensor in inputs)
    output = inputs[0].numel() * inputs[0].element_size()
    forward = given + output
    return forward if mode == "forward" else forward + (output + given) + given


def time_shape(
    scans: dict[str, Scan], shape: tuple[int, int, int], d_state: int, batch: int, mode: str, turns: int,
    device: torch.device, copy: float, exponential_rate: float,
) -> list[CudaTiming]:  # fmt: skip
    """Time all implementations in turns at one shape."""
    d_inner, height, width = shape
    inputs = [tensor.to(device) for tensor in make_inputs(d_inner, height, width, d_state, batch)]
    grad_y = torch.randn_like(inputs[0])

    def call(scan: Scan) -> None:
        if mode == "forward":
            with torch.no_grad():
                scan(*inputs)
        else:
            forward_and_backward(scan, inputs, grad_y)

    memory = {}
    for name, scan in scans.items():
        for _ in range(WARM_UP_TURNS):  # kernels compile, memory is allocated
            call(scan)
        memory[name] = peak_extra_bytes(lambda scan=scan: call(scan), device)
    count = exponentials(batch, d_inner, height * width, d_state, backward=mode != "forward")
    timings = []
    for name, scan in scans.items():
        seconds = time_call(lambda scan=scan: call(scan), device, turns)
        rate, extra = compulsory_bytes(inputs, mode) / seconds.best, memory[name]
        timings.append(
            CudaTiming(
                name, mode, batch, *shape, d_state, seconds.device, seconds.host, rate / 1e9, rate / copy,
                share_of_sfu(count, seconds.best, exponential_rate), None if extra is None else extra / 1e6,
            )
        )  # fmt: skip
    return timings


def print_timings(timings: list[CudaTiming]) -> None:
    """Print one shape and mode; ratios are to the first implementation."""
    first = timings[0]
    say(
        f"\nbatch {first.batch}, D={first.d_inner} L={first.height}x{first.width} N={first.d_state}, "
        f"{first.mode}"
    )
    for timing in timings:
        extra, seconds = timing.peak_extra_megabytes, timing.device_seconds
        share = (
            f"{timing.share_of_copy:4.0%} of a copy"
            if timing.d_state <= FEW_STATES
            else f"{timing.share_of_sfu:4.0%} of the exponentials"
        )
        alone = "  not timed" if seconds is None else f"{seconds * 1e3:8.3f} ms"
        say(
            f"  {timing.implementation:10}{alone} on the device"
            f"{timing.host_seconds * 1e3:9.3f} ms with the host"
            f"{timing.host_seconds / first.host_seconds:7.2f} x   {share}"
            f"   peak {'n/a' if extra is None else f'{extra:.0f} MB'}"
        )


def run(device_name: str, *, quick: bool, turns: int, as_json: bool) -> None:
    """Check, time and print everything; exit with one sentence where there is no CUDA device."""
    try:
        device = resolve_device(device_name)
    except SwinUMambaError as error:
        sys.exit(str(error))
    measure(device, STAGES[2:] if quick else STAGES, BATCHES[:1] if quick else BATCHES, turns, as_json)


def measure(
    device: torch.device,
    stages: list[tuple[int, int, int]],
    batches: tuple[int, ...],
    turns: int,
    as_json: bool,
) -> None:
    """Check, time and print these shapes."""
    torch.manual_seed(0)
    scans = implementations()
    check_correctness(scans, device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    copy = copied_bytes_per_second(device, COPY_ELEMENTS if device.type == "cuda" else 2**20)
    rate = exponentials_per_second(device)
    say(f"{name}, PyTorch {torch.__version__}: copy {copy / 1e9:.0f} GB/s, {rate / 1e9:.0f} G exponentials/s")
    timings = []
    for shape in stages:
        for batch in batches:
            for d_state in D_STATES:
                for mode in MODES:
                    measured = time_shape(scans, shape, d_state, batch, mode, turns, device, copy, rate)
                    print_timings(measured)
                    timings += measured
    if as_json:
        figures = {
            "device": name,
            "copy_bytes_per_second": copy,
            "exponentials_per_second": rate,
            "timings": [asdict(timing) for timing in timings],
        }
        print(json.dumps(figures, indent=2))
