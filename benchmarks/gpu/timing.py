"""Seconds on the device and seconds with the host, apart."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

SLEEP_CYCLES = 5_000_000  # about 3 ms: longer than the host needs to queue a scan
MOST_DOUBLINGS = 5
CACHE_ELEMENTS = 2**27  # 512 MB of float32, more than the last cache of any GPU


@dataclass(frozen=True)
class Seconds:
    """Medians of one call.

    Attributes
    ----------
    device
        From its first kernel to its last, everything queued beforehand; None if the host could not queue it
        in time, as when the call waits for the device.
    host
        Wall time until the device is done, from an idle device.
    """

    device: float | None
    host: float

    @property
    def best(self) -> float:
        """The device's time, else the host's, which is an upper bound."""
        return self.host if self.device is None else self.device


def time_call(function: Callable[[], object], device: torch.device, turns: int) -> Seconds:
    """Time a call, which must have run before: kernels compile and memory is allocated the first time."""
    host = statistics.median(_host_seconds(function, device) for _ in range(turns))
    if device.type != "cuda":
        return Seconds(None, host)
    with torch.cuda.device(device):
        cache = torch.empty(CACHE_ELEMENTS, device=device)
        cycles, measured = SLEEP_CYCLES, list[float]()
        for _ in range(turns):
            while (seconds := _queued_seconds(function, cache, cycles)) is None:
                cycles *= 2
                if cycles > SLEEP_CYCLES << MOST_DOUBLINGS:
                    return Seconds(None, host)
            measured.append(seconds)
    return Seconds(statistics.median(measured), host)


def _host_seconds(function: Callable[[], object], device: torch.device) -> float:
    synchronize(device)
    start = time.perf_counter()
    function()
    synchronize(device)
    return time.perf_counter() - start


def _queued_seconds(function: Callable[[], object], cache: torch.Tensor, cycles: int) -> float | None:
    """Queue a call behind a wait of the device; None if the device began before all was queued."""
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    torch.cuda.synchronize()
    cache.zero_()
    torch.cuda._sleep(cycles)
    start.record()
    function()
    end.record()
    late = start.query()  # the wait was over while the host still queued kernels
    torch.cuda.synchronize()
    return None if late else start.elapsed_time(end) / 1e3


def synchronize(device: torch.device) -> None:
    """Wait for the device; a CPU needs none."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
