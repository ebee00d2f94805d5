"""An optimizer step that never writes NaN into the weights."""

from __future__ import annotations

import logging

import torch
from torch import Tensor, nn

from swin_umamba.errors import TrainingError

logger = logging.getLogger(__name__)

MAX_GRADIENT_NORM = 12

# Mixed precision starts with a loss scale of 2**16 and halves it at each overflow: the 16th overflow in a row
# happens at a scale of 2, where scaling is no longer the cause.
MAX_SKIPPED_IN_A_ROW = 16


class StepGuard:
    """Takes optimizer steps, and skips and counts those whose loss or gradients are not finite.

    Attributes
    ----------
    skipped
        Number of steps skipped so far in this run.
    skipped_in_a_row
        Number of steps skipped since the last one that was taken.
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
            Scalar loss.
        parameters
            Parameters whose gradient norm is clipped.
        optimizer, scaler
            Optimizer, and gradient scaler (None without mixed precision).
        distributed
            Whether other processes take the same step. All must make the same decision; they share the
            gradients, but not the loss.

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
