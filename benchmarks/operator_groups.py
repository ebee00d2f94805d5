"""Where the time of a network's step goes, by groups of operators, and how fast its products are."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from torch import Tensor
from torch.profiler import ProfilerActivity, profile, record_function

from swin_umamba.modules import ss2d

STEPS = 3
SCAN = "selective scan of an image"
GROUPS: dict[str, tuple[str, ...]] = {
    "products": ("mm", "addmm", "bmm", "linear", "mkldnn::_linear_pointwise", "_Linear", "_LinearBackward"),
    "convolutions": (
        "conv2d",
        "mkldnn_convolution",
        "convolution_backward",
        "_convolution",
        "convolution",
        "_slow_conv2d_forward",
        "_slow_conv2d_backward",
        "slow_conv_transpose2d",
    ),
    "scan": (SCAN, "_SS2DScan", "_SS2DScanBackward"),
    "norms": (
        "native_layer_norm",
        "native_layer_norm_backward",
        "native_batch_norm",
        "native_batch_norm_backward",
        "native_group_norm",
        "native_group_norm_backward",
    ),
    "activations": (
        "silu",
        "silu_backward",
        "gelu",
        "gelu_backward",
        "leaky_relu",
        "leaky_relu_",
        "leaky_relu_backward",
    ),
    "copies": ("copy_", "cat", "clone", "contiguous", "fill_", "zero_", "repeat"),
    "sums, factors": ("add", "add_", "mul", "mul_", "sum", "div", "div_", "pow", "exp", "neg", "mean"),
    "optimizer": ("_fused_adamw_", "Optimizer.step#AdamW.step"),
}
_GROUP_OF = {operator: group for group, operators in GROUPS.items() for operator in operators}


@dataclass
class Parts:
    """Seconds of each group of operators and of each operator, and multiply-accumulates of two groups."""

    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    operators: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    macs: dict[str, float] = field(default_factory=lambda: defaultdict(float))


@contextmanager
def _scans_named() -> Iterator[None]:
    """Let the profiler see the scans, which are no operators of PyTorch in inference."""
    scan = ss2d.ss2d_scan

    def named(*tensors: Tensor, **options: object) -> Tensor:
        with record_function(SCAN):
            return scan(*tensors, **options)

    ss2d.ss2d_scan = named
    try:
        yield
    finally:
        ss2d.ss2d_scan = scan


def _parts_of_one_step(step: Callable[[], object], *, training: bool) -> Parts:
    parts = Parts()
    with profile(activities=[ProfilerActivity.CPU], record_shapes=True, with_flops=True) as profiled:
        step()
    for event in profiled.key_averages(group_by_input_shape=True):
        name = event.key.removeprefix("aten::")
        group = _GROUP_OF.get(name, "rest")
        parts.seconds[group] += event.self_cpu_time_total / 1e6
        parts.operators[name] += event.self_cpu_time_total / 1e6
        if name == "mkldnn::_linear_pointwise":
            left, right = event.input_shapes[:2]
            parts.macs[group] += event.count * math.prod(left) * right[0]
        elif name in ("mm", "addmm"):
            parts.macs[group] += event.flops / 2
        elif name == "conv2d":  # the gradients of image and weight take as many each
            parts.macs[group] += event.flops / 2 * (3 if training else 1)
    return parts


def print_parts(title: str, step: Callable[[], object], rate: float, *, training: bool) -> None:
    """Print where a step's time goes: of each group the least of several steps, since load only adds to it.

    Parameters
    ----------
    title
        Name of network and mode.
    step
        The step, warmed up.
    rate
        Multiply-accumulates per second that the machine can do.
    training
        Whether there are gradients.
    """
    with _scans_named():
        runs = [_parts_of_one_step(step, training=training) for _ in range(STEPS)]
    groups = {group: min(run.seconds[group] for run in runs) for group in (*GROUPS, "rest")}
    total = sum(groups.values())
    print(f"\n{title}: {1e3 * total:.0f} ms")
    print(f"  {'group':15}{'ms':>8}{'share':>8}{'GMAC/s':>9}{'of limit':>10}  largest operators, ms")
    for group, seconds in sorted(groups.items(), key=lambda item: -item[1]):
        macs = runs[0].macs[group]
        speed = f"{macs / seconds / 1e9:9.0f}{macs / seconds / rate:10.0%}" if macs else " " * 19
        least = {
            name: min(run.operators[name] for run in runs)
            for name in runs[0].operators
            if _GROUP_OF.get(name, "rest") == group
        }
        largest = sorted(least.items(), key=lambda item: -item[1])[:3]
        words = ", ".join(f"{name} {1e3 * value:.1f}" for name, value in largest)
        print(f"  {group:15}{1e3 * seconds:8.1f}{seconds / total:8.0%}{speed}  {words}")
