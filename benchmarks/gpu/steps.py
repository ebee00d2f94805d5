"""The steps, in the order of what their failure costs, with their seconds; the last one needs much time."""

from __future__ import annotations

from gpu import networks, numbers, speed, tuning
from gpu.runner import Step

STEPS = {
    1: Step("Card, driver, memory, cache", numbers.environment, 15),
    2: Step("Every kernel compiles", numbers.compile_all, 100, ("triton",)),
    3: Step("Both scans against float64", numbers.scans, 60, ("triton",)),
    4: Step("Large offsets", numbers.large_offsets, 40, ("triton",)),
    5: Step("Equal bits", numbers.repeats, 30, ("triton",)),
    6: Step("Whole networks", networks.whole_networks, 40),
    7: Step("Training, and resumed", networks.training, 50),
    8: Step("Two ranks", networks.two_ranks, 90),
    9: Step("Prediction in little memory", networks.prediction, 40),
    10: Step("Speed", speed.speed, 75, ("triton",), only_speed=True),
    11: Step("Tuning of launches", tuning.tune, 2400, ("triton",), only_speed=True),
}
TUNING = 11
TUNING_MINUTES = 30.0  # a shorter check leaves it out
