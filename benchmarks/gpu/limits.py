"""What a device can do, measured: exponentials in registers, and a copy."""

from __future__ import annotations

import torch

from gpu.timing import time_call

TURNS = 7


def exponentials_per_second(device: torch.device) -> float:
    """Measure a kernel that does nothing but exponentials in registers."""
    if device.type != "cuda":
        return 1.0
    from gpu.exponential_kernel import ELEMENTS, launch

    programs, rounds = 8 * torch.cuda.get_device_properties(device).multi_processor_count, 4096
    out = torch.empty(programs * ELEMENTS, device=device)
    launch(out, programs, rounds)
    return programs * ELEMENTS * rounds / time_call(lambda: launch(out, programs, rounds), device, TURNS).best


def copied_bytes_per_second(device: torch.device, elements: int) -> float:
    """Measure bytes read and written by a copy within the device."""
    source = torch.zeros(elements, device=device)
    target = torch.empty_like(source)
    target.copy_(source)
    return 2 * 4 * elements / time_call(lambda: target.copy_(source), device, TURNS).best
