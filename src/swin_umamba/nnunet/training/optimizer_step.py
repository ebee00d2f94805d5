"""An optimizer step that never writes NaN into the weights."""

from __future__ import annotations

import logging
from typing import Any

import torch
from torch import Tensor, nn

from swin_umamba.errors import TrainingError
from swin_umamba.ops.fused_optimizer import skips_on_device

logger = logging.getLogger(__name__)

MAX_GRADIENT_NORM = 12

# Mixed precision starts with a loss scale of 2**16 and halves it at each overflow: the 16th overflow in a row
# happens at a scale of 2, where scaling is no longer the cause.
MAX_SKIPPED_IN_A_ROW = 16
STEPS_BETWEEN_READS = 20


class StepGuard:
    """Takes optimizer steps, and skips and counts those whose loss or gradients are not finite.

    A fused optimizer skips a step on its device, which so need not wait for the host. Then the steps are
    counted later: every 20 steps, in `check`, and when the number is asked for.

    Parameters
    ----------
    steps_between_reads
        After so many steps they are counted; 1 where that costs no wait, on a CPU.
    """

    def __init__(self, steps_between_reads: int = STEPS_BETWEEN_READS) -> None:
        self._steps_between_reads = steps_between_reads
        self._skipped = 0
        self._in_a_row = 0
        self._most_in_a_row = 0
        self._unread: list[Tensor] = []  # for each step since the last reading, one if it was skipped

    @property
    def skipped(self) -> int:
        """Number of steps skipped so far in this run."""
        self._read()
        return self._skipped

    @skipped.setter
    def skipped(self, number: int) -> None:
        self._read()
        self._skipped = number

    @property
    def skipped_in_a_row(self) -> int:
        """Number of steps skipped since the last one that was taken."""
        self._read()
        return self._in_a_row

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
            After 16 skipped steps in a row; with a fused optimizer at the next reading.
        """
        (loss if scaler is None else scaler.scale(loss)).backward()
        if scaler is not None:
            scaler.unscale_(optimizer)
        norm = nn.utils.clip_grad_norm_(parameters, MAX_GRADIENT_NORM)
        if skips_on_device(optimizer):
            self._step_on_device(norm if distributed else norm + loss.detach(), optimizer, scaler)
        elif not torch.isfinite(norm) or not (distributed or torch.isfinite(loss)):
            self._count(skipped=True)
            self.check()
        else:
            self._count(skipped=False)
            if scaler is None:
                optimizer.step()
            else:
                scaler.step(optimizer)
        if scaler is not None:
            scaler.update()
        if len(self._unread) >= self._steps_between_reads:
            self.check()

    def check(self) -> None:
        """Count the steps that were not counted yet; call it at the end of each epoch.

        Raises
        ------
        TrainingError
            If 16 steps in a row were skipped.
        """
        self._read()
        if self._most_in_a_row >= MAX_SKIPPED_IN_A_ROW:
            raise TrainingError(
                f"loss or gradients were not finite in {self._most_in_a_row} steps in a row",
                hint="look for NaN in the images, or lower --learning-rate; the last checkpoint is intact",
            )

    def _step_on_device(
        self, number: Tensor, optimizer: torch.optim.Optimizer, scaler: torch.amp.GradScaler | None
    ) -> None:
        """Let the optimizer skip the step if a number, or a gradient that the scaler saw, is not finite."""
        skip = torch.isfinite(number).logical_not().float()
        if scaler is not None:
            for found in scaler._found_inf_per_device(optimizer).values():
                skip = torch.maximum(skip, found.to(skip.device, non_blocking=True))
        # What the scaler does for such optimizers; the gradients are unscaled already.
        optimizer.found_inf = skip  # type: ignore[attr-defined]
        try:
            optimizer.step()
        finally:
            del optimizer.found_inf  # type: ignore[attr-defined]
        self._unread.append(skip)

    def _read(self) -> None:
        if self._unread:
            outcomes = torch.stack(self._unread).tolist()
            self._unread.clear()
            for skip in outcomes:
                self._count(skipped=skip > 0)

    def _count(self, *, skipped: bool) -> None:
        if not skipped:
            self._in_a_row = 0
            return
        self._skipped += 1
        self._in_a_row += 1
        self._most_in_a_row = max(self._most_in_a_row, self._in_a_row)
        logger.warning("loss or gradient is not finite; step skipped (%d so far)", self._skipped)


class UnreadLosses:
    """Results of steps whose losses are still on a device, which is asked for them once in 20 steps."""

    def __init__(self) -> None:
        self._outputs: list[dict[str, Any]] = []

    def add(self, output: dict[str, Any]) -> list[float]:
        """Take the result of a step, with its ``loss``; return the losses that are read now, if any."""
        self._outputs.append(output)
        loss = output["loss"]
        is_here = not isinstance(loss, Tensor) or loss.device.type == "cpu"
        return self.read() if is_here or len(self._outputs) >= STEPS_BETWEEN_READS else []

    def read(self) -> list[float]:
        """Return the losses not read yet; from now on they are arrays in the results of their steps."""
        losses = [output["loss"] for output in self._outputs if isinstance(output["loss"], Tensor)]
        numbers = iter(torch.stack(losses).cpu() if losses else ())
        for output in self._outputs:
            if isinstance(output["loss"], Tensor):
                output["loss"] = next(numbers).numpy()
        values = [float(output["loss"]) for output in self._outputs]
        self._outputs.clear()
        return values
