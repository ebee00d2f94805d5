"""The learning rate schedule of the paper."""

from __future__ import annotations

import math

from torch.optim import Optimizer

from swin_umamba.paper import FINAL_LEARNING_RATE, SCHEDULE_EPOCHS


class CosineSchedule:
    """Half a cosine from the initial learning rate of each parameter group to 1e-6, in closed form.

    lr(e) = 1e-6 + (lr(0) - 1e-6) / 2 * (1 + cos(pi * e / period)). The value depends on the epoch alone, so
    that a resumed run needs no state. torch's own scheduler gives the same values, but gives a warning when
    it is called with the epoch, as nnU-Net does.

    Parameters
    ----------
    optimizer
        Optimizer; each parameter group starts with its present learning rate.
    period
        Epoch at which the final rate is reached.
    """

    def __init__(self, optimizer: Optimizer, period: int = SCHEDULE_EPOCHS) -> None:
        self.optimizer = optimizer
        self.initial_learning_rates = [float(group["lr"]) for group in optimizer.param_groups]
        self.period = period
        self.step(0)

    def learning_rates(self, epoch: int) -> list[float]:
        """Return the rate of each group in an epoch, counted from 0; beyond the period, the final rate."""
        done = min(epoch / self.period, 1.0)
        return [
            FINAL_LEARNING_RATE + (initial - FINAL_LEARNING_RATE) / 2 * (1 + math.cos(math.pi * done))
            for initial in self.initial_learning_rates
        ]

    def step(self, epoch: int) -> None:
        """Set the learning rates of an epoch."""
        for group, rate in zip(self.optimizer.param_groups, self.learning_rates(epoch), strict=True):
            group["lr"] = rate
