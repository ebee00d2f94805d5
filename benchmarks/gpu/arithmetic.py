"""Shares of what the hardware can do: pure numbers."""

from __future__ import annotations

UNITS_PER_CLOCK = 16
"""Exponentials per clock and multiprocessor, compute capability 7.5 to 9.0 (CUDA C++ Programming Guide,
table of arithmetic instructions)."""
FEW_STATES = 4
"""Up to so many states the memory and not the exponentials set the pace."""


def exponentials(batch: int, d_inner: int, length: int, d_state: int, *, backward: bool = False) -> int:
    """Return the exponentials that the scan of images cannot do without: one per state and step.

    ``length`` is the number of pixels; with its backward a scan needs every one again.
    """
    return (2 if backward else 1) * 4 * batch * d_inner * length * d_state


def peak_exponentials(multiprocessors: int, hertz: float) -> float:
    """Return the exponentials per second that the special-function units could do at a clock."""
    return multiprocessors * UNITS_PER_CLOCK * hertz


def share_of_sfu(count: int, seconds: float, per_second: float) -> float:
    """Return the useful exponentials per second as a share of the ``per_second`` measured or possible."""
    if not (seconds > 0 and per_second > 0):
        raise ValueError(f"neither {seconds} seconds nor {per_second} per second can be measured values")
    return count / seconds / per_second


def compulsory_bytes(
    batch: int,
    d_inner: int,
    length: int,
    d_state: int,
    dt_rank: int,
    *,
    size: int = 4,
    backward: bool = False,
) -> int:
    """Return the bytes of images that must be moved: inputs once and the output once.

    With the backward, the inputs and the gradient of the output again, and the gradients of the inputs.
    Parameters are left out: they are the same for all pixels. ``size`` is that of a number.
    """
    given, output = d_inner + 4 * (dt_rank + 2 * d_state), d_inner
    values = 3 * given + 2 * output if backward else given + output
    return batch * length * values * size


def share(part: float, whole: float) -> float:
    """Return a part of a whole, both positive."""
    if not (part > 0 and whole > 0):
        raise ValueError(f"{part} of {whole} is no share")
    return part / whole
