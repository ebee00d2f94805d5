"""One optimizer step that never lets NaN into the weights."""

from __future__ import annotations

import logging

import torch
from torch import Tensor, nn

from swin_umamba.errors import TrainingError

logger = logging.getLogger(__name__)

MAX_GRADIENT_NORM = 12

# Mixed precision starts with a loss scale of 2**16 and halves it at each overflow: the 16th in a row happens
# at a scale of 2, where it is no longer a matter of scaling.
MAX_SKIPPED_IN_A_ROW = 16


class StepGuard:
    """Takes optimizer steps, skips those whose loss or gradients are not finite, and counts them.

    Attributes
    ----------
    skipped
        Steps skipped so far in this run.
    skipped_in_a_row
        Steps skipped since the last one that was taken.
    """

    def __init__(self) -> None:
        self.skipped = 0
        self.skipped_in_a_row = 0

    def step(
        self,
        loss: Tensor,
        parameters: list[nn.Parameter],
        optimizer: torch.optim.Optimizer,
        scaler: torch.amp.GradScaler | None,
        *,
        distributed: bool,
    ) -> None:
        """Backpropagate, clip the gradients to norm 12, and update the parameters.

        Parameters
        ----------
        loss
            Scalar.
        parameters
            What the gradient norm is taken over.
        optimizer, scaler
            The scaler is None without mixed precision.
        distributed
            Whether other processes take the same step. All must decide alike, and they share the gradients
            but not the loss.

        Raises
        ------
        TrainingError
            After 16 skipped steps in a row.
        """
        (loss if scaler is None else scaler.scale(loss)).backward()
        if scaler is not None:
            scaler.unscale_(optimizer)
        norm = nn.utils.clip_grad_norm_(parameters, MAX_GRADIENT_NORM)
        if not torch.isfinite(norm) or not (distributed or torch.isfinite(loss)):
            self._count()
        else:
            self.skipped_in_a_row = 0
            if scaler is None:
                optimizer.step()
            else:
                scaler.step(optimizer)
        if scaler is not None:
            scaler.update()

    def _count(self) -> None:
        self.skipped += 1
        self.skipped_in_a_row += 1
        logger.warning("loss or gradient is not finite; step skipped (%d so far)", self.skipped)
        if self.skipped_in_a_row >= MAX_SKIPPED_IN_A_ROW:
            raise TrainingError(
                f"loss or gradients were not finite in {self.skipped_in_a_row} steps in a row",
                hint="look for NaN in the images, or lower --learning-rate; the last checkpoint is intact",
            )
