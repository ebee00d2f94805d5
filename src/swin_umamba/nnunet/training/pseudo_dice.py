"""Counts for the pseudo-Dice, which nnU-Net estimates each epoch from random patches of validation cases."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

COUNTS = ("tp_hard", "fp_hard", "fn_hard")
"""Names of the true positives, false positives and false negatives in nnU-Net's results of a step."""


def counts_of(
    logits: Tensor, target: Tensor, *, has_regions: bool, ignore_label: int | None
) -> dict[str, np.ndarray]:
    """Return how many pixels of a batch are true positives, false positives and false negatives.

    Parameters
    ----------
    logits
        (batch, classes or regions, height, width), in any precision.
    target
        Labels (batch, 1, height, width); or regions (batch, regions, height, width), 0 or 1, followed by a
        channel of the pixels to ignore if there is an ``ignore_label``.
    has_regions
        Whether classes may overlap.
    ignore_label
        Label of unannotated pixels; None if there is none.

    Returns
    -------
    dict
        ``COUNTS``, each for every class but the background, or every region; exact, as float64.
    """
    if has_regions:
        predicted = torch.sigmoid(logits.float()) > 0.5
        truth = target[:, : logits.shape[1]].bool()
        known = torch.ones_like(truth[:, :1]) if ignore_label is None else ~target[:, -1:].bool()
    else:
        classes = torch.arange(1, logits.shape[1], device=logits.device).view(-1, 1, 1)
        predicted = logits.argmax(1, keepdim=True) == classes
        truth = target == classes
        known = torch.ones_like(truth[:, :1]) if ignore_label is None else target != ignore_label
    pairs = (predicted & truth, predicted & ~truth, ~predicted & truth)
    counts = torch.stack([(pair & known).sum((0, 2, 3)) for pair in pairs])
    return dict(zip(COUNTS, counts.cpu().numpy().astype(np.float64), strict=True))
