"""What is said when the memory does not suffice for a training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from swin_umamba.errors import SwinUMambaError, TrainingError
from swin_umamba.memory import out_of_memory
from swin_umamba.ops.free_memory import memory_of_others

MUCH_MEMORY = 2 * 2**30
"""Bytes that other programs hold of a GPU, from which on they are worth mentioning."""


def training_out_of_memory(
    error: BaseException, device: torch.device, batch: int, patch: Sequence[int], folder: str | Path
) -> SwinUMambaError:
    """Return the error for the user.

    Parameters
    ----------
    error
        What was raised.
    device
        Device of the training.
    batch, patch
        Number of patches of a batch on it; height and width of a patch in pixels.
    folder
        Folder of the fold.
    """
    height, width = patch
    hint = "train again with a smaller --batch-size or --patch-size, or in half precision"
    if (others := memory_of_others(device)) >= MUCH_MEMORY:
        hint = (
            f"end the other programs that hold {others / 2**30:.1f} GiB of this GPU (nvidia-smi lists "
            f"them), use another one with --device cuda:N, or {hint}"
        )
    return out_of_memory(
        error,
        sizes=f"training on {device}: batches of {batch} patches of {height} x {width} pixels",
        where=folder,
        hint=hint,
        kind=TrainingError,
    )
