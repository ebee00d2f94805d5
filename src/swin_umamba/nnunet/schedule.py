"""The learning rate schedule of the paper."""

from __future__ import annotations

import math

from torch.optim import Optimizer

PAPER_EPOCHS = 1000
FINAL_LEARNING_RATE = 1e-6


class CosineSchedule:
    """Half a cosine from the initial learning rate to 1e-6, in closed form.

    lr(e) = 1e-6 + (lr(0) - 1e-6) / 2 * (1 + cos(pi * e / period)). The value depends on the epoch alone, so
    that a resumed run needs no state. torch's own scheduler gives the same values, but warns when it is
    told the epoch, which is how nnU-Net calls a schedule.

    Parameters
    ----------
    optimizer
        Its parameter groups get the learning rate.
    initial_learning_rate
        The learning rate of epoch 0.
    period
        Epoch at which the end is reached.
    """

    def __init__(
        self, optimizer: Optimizer, initial_learning_rate: float, period: int = PAPER_EPOCHS
    ) -> None:
        self.optimizer = optimizer
        self.initial_learning_rate = initial_learning_rate
        self.period = period
        self.step(0)

    def learning_rate(self, epoch: int) -> float:
        """Return the learning rate of an epoch, counted from 0; beyond the period it stays at the end."""
        done = min(epoch / self.period, 1.0)
        amplitude = (self.initial_learning_rate - FINAL_LEARNING_RATE) / 2
        return FINAL_LEARNING_RATE + amplitude * (1 + math.cos(math.pi * done))

    def step(self, epoch: int) -> None:
        """Set the learning rate of an epoch."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate(epoch)
