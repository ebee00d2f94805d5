"""Which of several measured candidates to take: pure numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

CLEARLY = 0.98  # of the time so far: less of a gain is noise
NEARLY = 1.03  # times the best time per pixel: what it takes to be as good with less memory


def mean_ratio(seconds: Sequence[float], before: Sequence[float]) -> float:
    """Return the geometric mean of times as a share of those before, so that no shape outweighs another."""
    return math.exp(sum(math.log(new / old) for new, old in zip(seconds, before, strict=True)) / len(seconds))


def winner(ratios: Mapping[object, float], so_far: object) -> object:
    """Return the fastest candidate, or the one so far if none is clearly faster."""
    best = min(ratios, key=lambda candidate: ratios[candidate], default=so_far)
    return best if ratios.get(best, math.inf) < CLEARLY * ratios.get(so_far, 1.0) else so_far


def enough_for(work: int, steps: int) -> int:
    """Return the number of warps that counts as enough for chunks of so many steps.

    ``work`` is warps of a chunk times length, as the rule takes it.
    """
    return max(1, work // steps)


def best_enough(
    measured: Sequence[tuple[int, Mapping[int, float]]],
    candidates: Sequence[int],
    so_far: int,
    steps_of: Callable[[int, int], int],
) -> int:
    """Return the number of warps that is enough, from the works and their seconds for each length of chunks.

    ``steps_of`` is the rule: the steps for work and for what is enough. A candidate whose chunks were not
    measured for some work is left out.
    """
    total: dict[object, float] = {}
    for enough in dict.fromkeys((so_far, *candidates)):
        seconds = [times.get(steps_of(work, enough)) for work, times in measured]
        least = [min(times.values()) for _, times in measured]
        if measured and all(each is not None for each in seconds):
            total[enough] = mean_ratio([each for each in seconds if each is not None], least)
    best = winner(total, so_far)
    assert isinstance(best, int)
    return best


def threshold(faster_from: Mapping[int, bool], never: int) -> int:
    """Return the least rank from which on the product is faster at every measured rank, else ``never``."""
    found = never
    for rank in sorted(faster_from, reverse=True):
        if not faster_from[rank]:
            break
        found = rank
    return found


def smallest_as_good(seconds_per_pixel: Mapping[int, float]) -> int:
    """Return the smallest size that is nearly as fast for each pixel as the best."""
    least = min(seconds_per_pixel.values())
    return min(size for size, seconds in seconds_per_pixel.items() if seconds <= NEARLY * least)
