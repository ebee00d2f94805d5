"""Time the four-direction scan: native, chunked and reference backends, and mambapy where it is installed.

    python benchmarks/ss2d.py                    # the four stages of a 512x512 image, about five minutes
    python benchmarks/ss2d.py --quick            # the two small stages, d_state 16 only, under two minutes
    python benchmarks/ss2d.py --full             # the reference even where it takes minutes and 8 GB
    python benchmarks/ss2d.py --json > ss2d.json # the tables go to stderr in any case
    python benchmarks/ss2d.py --encoders         # the native kernels against the machine (ss2d_encoders.py)
    python benchmarks/ss2d.py --device cuda      # the GPU kernels (ss2d_cuda.py), batch 1 and 8

A correctness gate comes first: every implementation against the float64 reference, output and gradients;
nothing is timed if one is off. Then the implementations take turns in one process (A B C, A B C, ...), so
that a machine whose speed drifts drifts for all, and medians and their ratios are printed. A turn is a call
to warm up and a call that counts. The reference is slow: it gets one turn per shape, and none where its turn
would take more than a minute, unless ``--full`` asks for it. The machine's limits are measured in the same
run, and the native kernels are set against the multiply-add limit.
"""

from __future__ import annotations

import argparse
import ctypes
import functools
import importlib.util
import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from swin_umamba.torch_settings import apply_settings

apply_settings()  # before torch, as in every process of the command line

import torch
from torch import Tensor

from frame import forget_peak_of_memory, memory_status, say
from swin_umamba.ops.reference import from_sequence, ss2d_scan_reference, to_sequence
from swin_umamba.ops.ss2d_scan import ss2d_scan

STAGES = [(192, 128, 128), (384, 64, 64), (768, 32, 32), (1536, 16, 16)]  # d_inner, height, width
D_STATES = (16, 1)
GATE_TOLERANCE = 1e-5  # float32 against float64, relative to the largest number of each tensor
# The reference takes about 0.3 ms per time step and direction forward, and four times that with its backward.
REFERENCE_STEPS_PER_MINUTE = {"forward": 200_000, "forward+backward": 40_000}
MODES = ("forward", "forward+backward")
SLOW_SECONDS, SLOW_TURNS = 2.0, 3  # what takes longer than the first gets no more turns than the second

Scan = Callable[..., Tensor]


@dataclass(frozen=True)
class Timing:
    """Median seconds of one implementation at one shape."""

    implementation: str
    mode: str
    d_inner: int
    height: int
    width: int
    d_state: int
    turns: int
    seconds: float
    peak_extra_megabytes: float | None
    share_of_fma_limit: float | None


@dataclass(frozen=True)
class Limits:
    """What the machine can do with the threads that PyTorch uses."""

    threads: int
    fma_per_second: float
    exp2_per_second: float
    copy_bytes_per_second: float


def necessary_operations(
    mode: str, d_inner: int, height: int, width: int, d_state: int, dt_rank: int | None = None
) -> float:
    """Multiplications and fused multiply-adds that the scan cannot do without.

    Of one state of one channel in a step, forward: exponent 1, polynomial 5, input 1, state 1, output 1.
    Backward: the first 8 again, and 8 for the adjoint. Of one channel, for each rank of dt: 1 forward, and 3
    backward (again, and for the gradients of the two factors).
    """
    states, ranks = (9, 1) if mode == "forward" else (9 + 16, 1 + 3)
    dt_rank = dt_rank or dt_rank_of(d_inner)
    return 4.0 * height * width * d_inner * (states * d_state + ranks * dt_rank)


def dt_rank_of(d_inner: int) -> int:
    """Rank of the step sizes in the networks."""
    return max(1, d_inner // 32)


def make_inputs(
    d_inner: int, height: int, width: int, d_state: int, batch: int = 1, dt_rank: int | None = None
) -> list[Tensor]:
    """Make inputs as the networks have them at first: A = -1 .. -d_state, step sizes 0.001 to 0.1."""
    dt_rank = dt_rank or dt_rank_of(d_inner)
    return [
        torch.randn(batch, height, width, d_inner),
        torch.randn(batch, height, width, 4, dt_rank + 2 * d_state),
        (2 * torch.rand(4, d_inner, dt_rank) - 1) * dt_rank**-0.5,
        torch.empty(4, d_inner).uniform_(-6.9, -2.3),
        -torch.arange(1.0, d_state + 1).repeat(4, d_inner, 1),
        torch.ones(4, d_inner),
    ]


def mambapy_scan(
    x: Tensor, x_dbl: Tensor, dt_projs_weight: Tensor, dt_projs_bias: Tensor, A: Tensor, D: Tensor
) -> Tensor:
    """Run the same scan with the parallel scan of mambapy, one direction after the other."""
    from mambapy.pscan import pscan

    height, width = x.shape[1:3]
    dt_rank, d_state = dt_projs_weight.shape[2], A.shape[2]
    outputs = []
    for k in range(4):
        u = to_sequence(x, k)
        dt_low, B, C = to_sequence(x_dbl[:, :, :, k], k).split([dt_rank, d_state, d_state], dim=-1)
        delta = torch.nn.functional.softplus(dt_low @ dt_projs_weight[k].mT + dt_projs_bias[k])[..., None]
        h = pscan(torch.exp(delta * A[k]), delta * B[:, :, None] * u[..., None])
        y = (h @ C[..., None]).squeeze(-1) + D[k] * u
        outputs.append(from_sequence(y, k, height, width))
    return outputs[0] + outputs[2] + outputs[1] + outputs[3]


def implementations(device: torch.device) -> dict[str, Scan]:
    """Return what can be compared on this machine, fastest first."""
    scans: dict[str, Scan] = {}
    if device.type == "cpu":
        scans["native"] = lambda *inputs: ss2d_scan(*inputs, backend="native")
    scans["chunked"] = lambda *inputs: ss2d_scan(*inputs, backend="chunked")
    if importlib.util.find_spec("mambapy"):
        scans["mambapy"] = mambapy_scan
    scans["reference"] = lambda *inputs: ss2d_scan(*inputs, backend="reference")
    return scans


def forward_and_backward(scan: Scan, inputs: list[Tensor], grad_y: Tensor) -> list[Tensor]:
    """Output and gradients."""
    leaves = [tensor.detach().requires_grad_() for tensor in inputs]
    y = scan(*leaves)
    return [y.detach(), *torch.autograd.grad(y, leaves, grad_y)]


def check_correctness(scans: dict[str, Scan], device: torch.device) -> None:
    """Stop if an implementation disagrees with the float64 reference."""
    for d_state in D_STATES:
        inputs = make_inputs(72, 9, 23, d_state, batch=2)
        grad_y = torch.randn_like(inputs[0])
        wide = [tensor.double() for tensor in inputs]
        expected = forward_and_backward(ss2d_scan_reference, wide, grad_y.double())
        for name, scan in scans.items():
            here = [tensor.to(device) for tensor in inputs]
            results = forward_and_backward(scan, here, grad_y.to(device))
            errors = [
                float((result.cpu() - truth).abs().max() / truth.abs().max())
                for result, truth in zip(results, expected, strict=True)
            ]
            if not max(errors) < GATE_TOLERANCE:
                sys.exit(f"{name}: off by {max(errors):.1e} from the float64 reference; nothing was timed")
            say(f"correctness gate, d_state {d_state}: {name} within {max(errors):.1e} of float64")


@functools.cache
def multiply_adds_kernel() -> Callable[[int, Any], None]:
    """Return a function of a number of repeats, each eight vectors of multiply-adds, and of two vectors."""
    from numba import njit

    from swin_umamba.ops.native.vector import LANES, fma, load, store

    @njit(nogil=True)
    def multiply_adds(repeats: int, x: Any) -> None:
        a, b = load(x, 0), load(x, LANES)
        s0 = s1 = s2 = s3 = s4 = s5 = s6 = s7 = a  # eight chains hide the latency of one
        for _ in range(repeats):
            s0, s1, s2, s3 = fma(s0, a, b), fma(s1, a, b), fma(s2, a, b), fma(s3, a, b)
            s4, s5, s6, s7 = fma(s4, a, b), fma(s5, a, b), fma(s6, a, b), fma(s7, a, b)
        store(x, 0, s0 + s1 + s2 + s3 + s4 + s5 + s6 + s7)

    kernel: Callable[[int, Any], None] = multiply_adds
    return kernel


def measure_limits() -> Limits:
    """Multiply-adds, exponentials and copied bytes per second."""
    import numpy as np
    from numba import njit

    from swin_umamba.ops.native.math import exp2
    from swin_umamba.ops.native.threads import run_items
    from swin_umamba.ops.native.vector import LANES, load, store

    multiply_adds = multiply_adds_kernel()

    @njit(nogil=True)
    def exponentials(repeats: int, x: np.ndarray, y: np.ndarray) -> None:
        for _ in range(repeats):
            for i in range(0, x.size, LANES):
                store(y, i, exp2(load(x, i)))

    def rate(count: float, function: Callable[[], object]) -> float:
        function()
        return count / min(seconds_of(function) for _ in range(5))

    threads = torch.get_num_threads()
    pairs = [np.full(2 * LANES, 0.5, dtype=np.float32) for _ in range(threads)]
    tiles = [np.full((2, 1024), -0.5, dtype=np.float32) for _ in range(threads)]
    source, target = torch.zeros(2**26), torch.zeros(2**26)
    return Limits(
        threads,
        rate(
            threads * 40_000_000 * 8 * LANES,
            lambda: run_items(lambda i: multiply_adds(40_000_000, pairs[i]), threads),
        ),
        rate(
            threads * 200_000 * 1024,
            lambda: run_items(lambda i: exponentials(200_000, tiles[i][0], tiles[i][1]), threads),
        ),
        rate(2 * source.numel() * 4, lambda: target.copy_(source)),
    )


def seconds_of(function: Callable[[], object]) -> float:
    """Wall seconds of one call, the device's queue included."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    start = time.perf_counter()
    function()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start


def peak_extra_bytes(function: Callable[[], object], device: torch.device) -> float | None:
    """Most memory in use during a call beyond what was in use before; None where it cannot be measured."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        function()
        return torch.cuda.max_memory_allocated() - before
    if sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "malloc_trim"):
        return None
    ctypes.CDLL(None).malloc_trim(0)  # memory that is kept for reuse would hide what the call needs
    before = forget_peak_of_memory()
    function()
    return memory_status("VmHWM") - before


def time_shape(
    scans: dict[str, Scan],
    shape: tuple[int, int, int],
    d_state: int,
    mode: str,
    turns: int,
    device: torch.device,
    limits: Limits | None,
    full: bool,
) -> list[Timing]:
    """Time all implementations in turns at one shape."""
    inputs = [tensor.to(device) for tensor in make_inputs(*shape, d_state)]
    grad_y = torch.randn_like(inputs[0])

    def step(scan: Scan) -> object:
        if mode == "forward":
            with torch.inference_mode():
                return scan(*inputs)
        return forward_and_backward(scan, inputs, grad_y)

    fast = {name: scan for name, scan in scans.items() if name != "reference"}
    memory: dict[str, float | None] = {}
    seconds: dict[str, list[float]] = {name: [] for name in scans}
    turns_of = {}
    for name, scan in fast.items():
        step(scan)  # warm-up: kernels compile or load
        start = time.perf_counter()
        memory[name] = peak_extra_bytes(lambda s=scan: step(s), device)
        turns_of[name] = min(turns, SLOW_TURNS) if time.perf_counter() - start > SLOW_SECONDS else turns
    for turn in range(turns):
        for name, scan in fast.items():
            if turn < turns_of[name]:
                if turns_of[name] == turns:
                    step(scan)  # after the others' turns, the caches hold nothing of this one
                seconds[name].append(seconds_of(lambda s=scan: step(s)))
    if full or 4 * shape[1] * shape[2] <= REFERENCE_STEPS_PER_MINUTE[mode]:
        start = time.perf_counter()
        memory["reference"] = peak_extra_bytes(lambda: step(scans["reference"]), device)
        seconds["reference"].append(time.perf_counter() - start)

    operations = necessary_operations(mode, *shape, d_state)
    timings = []
    for name, measured in seconds.items():
        if not measured:
            continue
        median = statistics.median(measured)
        extra = memory[name]
        share = operations / median / limits.fma_per_second if limits and name == "native" else None
        megabytes = None if extra is None else extra / 1e6
        timings.append(Timing(name, mode, *shape, d_state, len(measured), median, megabytes, share))
    return timings


def print_timings(timings: list[Timing]) -> None:
    """Print one shape and mode: ratios are to the first implementation."""
    first = timings[0]
    activation = first.d_inner * first.height * first.width * 4 / 1e6
    say(
        f"\nD={first.d_inner} L={first.height}x{first.width} N={first.d_state}, {first.mode} "
        f"(one activation: {activation:.1f} MB)"
    )
    for timing in timings:
        extra = timing.peak_extra_megabytes
        memory = "n/a" if extra is None else f"{extra:8.0f} MB = {extra / activation:5.1f} activations"
        share = timing.share_of_fma_limit
        limit = "" if share is None else f"   {share:.0%} of the multiply-add limit"
        ratio = timing.seconds / first.seconds
        say(
            f"  {timing.implementation:10}{timing.seconds * 1e3:10.1f} ms{ratio:8.1f} x   {memory}"
            f"   ({timing.turns} turns){limit}"
        )


def print_summary(timings: list[Timing]) -> None:
    """One line per shape and mode: milliseconds of each implementation, and how many times slower it is."""
    names = list(dict.fromkeys(timing.implementation for timing in timings))
    titles = [f"{names[0]} ms"] + [f"{name} ms (/{names[0]})" for name in names[1:]]
    say("\n" + f"{'D':>5}{'L':>7}{'N':>4}  {'mode':17}" + "".join(f"{title:>24}" for title in titles))
    rows: dict[tuple[int, int, int, str], dict[str, float]] = {}
    for timing in timings:
        shape = (timing.d_inner, timing.height * timing.width, timing.d_state, timing.mode)
        rows.setdefault(shape, {})[timing.implementation] = timing.seconds
    for (d_inner, length, d_state, mode), seconds in rows.items():
        cells = [f"{1e3 * seconds[names[0]]:.1f}"]
        for name in names[1:]:
            taken = seconds.get(name)
            cells.append(f"{1e3 * taken:.0f} ({taken / seconds[names[0]]:.0f} x)" if taken else "not timed")
        say(f"{d_inner:5}{length:7}{d_state:4}  {mode:17}" + "".join(f"{cell:>24}" for cell in cells))


def main() -> None:
    """Check, time and print."""
    parser = argparse.ArgumentParser(description="Time the implementations of the four-direction scan.")
    parser.add_argument("--device", default="cpu")
    extent = parser.add_mutually_exclusive_group()
    extent.add_argument("--quick", action="store_true", help="the two small stages, d_state 16, three turns")
    extent.add_argument("--full", action="store_true", help="time the reference at every shape")
    parser.add_argument("--turns", type=int, default=7, help="turns per implementation (default 7)")
    parser.add_argument("--json", action="store_true", help="print all figures as JSON on stdout")
    extent.add_argument("--encoders", action="store_true", help="the native kernels at 320x320, one thread")
    args = parser.parse_args()
    if args.encoders:
        import ss2d_encoders

        ss2d_encoders.run(args.turns)
        return
    if args.device.startswith("cuda"):
        import ss2d_cuda

        ss2d_cuda.run(args.device, quick=args.quick, turns=args.turns, as_json=args.json)
        return

    torch.manual_seed(0)
    device = torch.device(args.device)
    scans = implementations(device)
    check_correctness(scans, device)
    limits = measure_limits() if device.type == "cpu" else None
    if limits:
        say(
            f"{limits.threads} threads: {limits.fma_per_second / 1e9:.0f} G multiply-adds/s, "
            f"{limits.exp2_per_second / 1e9:.1f} G exponentials/s, "
            f"copy {limits.copy_bytes_per_second / 1e9:.1f} GB/s"
        )
    timings = []
    for shape in STAGES[2:] if args.quick else STAGES:
        for d_state in D_STATES[:1] if args.quick else D_STATES:
            for mode in MODES:
                turns = 3 if args.quick else args.turns
                measured = time_shape(scans, shape, d_state, mode, turns, device, limits, args.full)
                print_timings(measured)
                timings += measured
    print_summary(timings)
    if args.json:
        figures = [asdict(timing) for timing in timings]
        print(json.dumps({"limits": asdict(limits) if limits else None, "timings": figures}, indent=2))


if __name__ == "__main__":
    main()
