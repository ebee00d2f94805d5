"""What a network costs on this machine: seconds of a forward pass and of a training step, and memory."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import torch
from torch import Tensor

from swin_umamba.child import run_apart
from swin_umamba.compare.networks import find_network
from swin_umamba.compare.trainer import peak_memory_bytes
from swin_umamba.ops.backend import resolve_device
from swin_umamba.ops.precision import rounding_of_float32

REPEATS = 5


@dataclass(frozen=True)
class Cost:
    """Cost of one image in float32.

    Attributes
    ----------
    inference_seconds
        Median time of a forward pass without gradients.
    step_seconds
        Median time of forward and backward pass with all heads, without the optimizer.
    memory_bytes
        Largest memory of the process that did both or, on CUDA, of the device; None if the system does not
        report it.
    """

    inference_seconds: float
    step_seconds: float
    memory_bytes: int | None


def measure_cost(
    name: str, in_channels: int, num_classes: int, size: Sequence[int], device: str = "cpu"
) -> Cost:
    """Run a network of the comparison in a process of its own, so that its peak memory is its own.

    Parameters
    ----------
    name
        One of ``compare.networks.NETWORKS``.
    in_channels, num_classes
        Channels of the image and of the logits.
    size
        (height, width) of the image.
    device
        Device, as for training.

    Raises
    ------
    UsageError
        If there is no such network.
    SwinUMambaError
        If the network cannot be built or run, or memory runs out.
    """
    find_network(name)
    threads = torch.get_num_threads()
    return run_apart(name, _measure, name, in_channels, num_classes, tuple(size), device, threads)


def _measure(
    name: str, in_channels: int, num_classes: int, size: tuple[int, int], device: str, threads: int
) -> Cost:
    torch.set_num_threads(threads)
    place = resolve_device(device)
    network = find_network(name).build(in_channels, num_classes, size).to(place)
    image = torch.randn(1, in_channels, *size, device=place)

    def infer() -> None:
        with torch.no_grad():
            network(image)

    def step() -> None:
        heads: Any = network(image)
        heads = [heads] if isinstance(heads, Tensor) else heads
        torch.stack([head.square().mean() for head in heads]).sum().backward()
        network.zero_grad()

    with rounding_of_float32(place, "float32"):
        inference = _median_seconds(infer, place)
        training = _median_seconds(step, place)
    return Cost(inference, training, peak_memory_bytes(place))


def _median_seconds(function: Callable[[], None], device: torch.device) -> float:
    seconds = []
    for _ in range(REPEATS + 1):  # the first call compiles kernels and fills caches
        start = perf_counter()
        function()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds.append(perf_counter() - start)
    return statistics.median(seconds[1:])
