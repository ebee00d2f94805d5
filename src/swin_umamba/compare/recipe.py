"""Optimizer and learning rate schedule of a training, as plain values for plans."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from swin_umamba.errors import UsageError
from swin_umamba.ops.fused_optimizer import fused_on
from swin_umamba.paper import (
    ADAM_EPS,
    FINAL_LEARNING_RATE,
    FROZEN_EPOCHS,
    LEARNING_RATE,
    SCHEDULE_EPOCHS,
    WEIGHT_DECAY,
)

OPTIMIZERS = ("adamw", "adam", "sgd")
SCHEDULES = ("cosine", "poly")
MOMENTUM = 0.99


@dataclass(frozen=True)
class Recipe:
    """How the weights are updated.

    Attributes
    ----------
    optimizer
        ``adamw``, ``adam`` (its decay is an L2 penalty) or ``sgd`` (Nesterov momentum 0.99).
    learning_rate, weight_decay
        Values at the start; the same for all parameters.
    schedule
        ``cosine``, down to 1e-6, or ``poly``, ``(1 - t) ** exponent`` down to zero, where t is the fraction
        of the training done.
    exponent
        Exponent of the ``poly`` schedule.
    eps
        Epsilon of the Adam optimizers.
    frozen_share
        Fraction of the training during which a pretrained encoder is frozen.
    """

    optimizer: str = "adamw"
    learning_rate: float = LEARNING_RATE
    weight_decay: float = WEIGHT_DECAY
    schedule: str = "cosine"
    exponent: float = 1.0
    eps: float = ADAM_EPS
    frozen_share: float = 0.0

    def __post_init__(self) -> None:
        if self.optimizer not in OPTIMIZERS or self.schedule not in SCHEDULES:
            raise UsageError(
                f"a recipe of {self.optimizer!r} with {self.schedule!r}",
                hint=f"optimizers: {', '.join(OPTIMIZERS)}; schedules: {', '.join(SCHEDULES)}",
            )
        if not 0 < self.learning_rate < 1:
            raise UsageError(f"learning rate {self.learning_rate}", hint="give a number between 0 and 1")

    def make_optimizer(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """Return the optimizer, at the initial learning rate; parameters on a GPU share its kernels."""
        parameters = list(parameters)
        common: dict[str, Any] = {"lr": self.learning_rate, "weight_decay": self.weight_decay}
        if self.optimizer == "sgd":
            return torch.optim.SGD(parameters, momentum=MOMENTUM, nesterov=True, **common)
        adam = torch.optim.AdamW if self.optimizer == "adamw" else torch.optim.Adam
        return adam(parameters, eps=self.eps, fused=fused_on(parameters[0].device), **common)

    def learning_rate_at(self, done: float) -> float:
        """Return the learning rate after the fraction ``done`` (0 to 1) of the training."""
        if self.schedule == "poly":
            rate: float = self.learning_rate * (1 - done) ** self.exponent
            return rate
        last = min(FINAL_LEARNING_RATE, self.learning_rate)
        return last + (self.learning_rate - last) / 2 * (1 + math.cos(math.pi * done))

    def describe(self) -> str:
        """Return the recipe in words, for the caption of a table."""
        name = {"adamw": "AdamW", "adam": "Adam", "sgd": "SGD with Nesterov momentum 0.99"}[self.optimizer]
        schedule = "cosine" if self.schedule == "cosine" else f"polynomial (exponent {self.exponent:g})"
        frozen = f", pretrained encoder frozen for {self.frozen_share:.0%}" if self.frozen_share else ""
        return (
            f"{name}, learning rate {self.learning_rate:g}, weight decay {self.weight_decay:g}, "
            f"{schedule} schedule over the whole budget{frozen}"
        )


# Published recipe of each network; schedules are stretched or compressed to the budget.
SWIN_UMAMBA = Recipe(frozen_share=FROZEN_EPOCHS / SCHEDULE_EPOCHS)
NNUNET = Recipe("sgd", 1e-2, 3e-5, "poly", 0.9)
SEGRESNET = Recipe("adam", 1e-4, 1e-5, "poly", 0.9)
UNETR_RECIPE = Recipe("adamw", 1e-4, 1e-2, "poly", 1.0)
SWIN_UNETR = Recipe("adamw", 8e-4, 1e-2, "cosine")
