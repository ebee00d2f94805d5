"""The ensemble members of a prediction: what each view of the image would decide alone, for each fold.

A view is the image mirrored along some axes (test-time augmentation); each fold sees every view, and each
pair of a fold and a view is an ensemble member. Where members disagree, the prediction is uncertain. To save
memory, their decisions (labels) are kept rather than their logits.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

# Votes are counted in pieces of this many pixels, so that copies stay small.
PIXELS_AT_ONCE = 2**20


def decide(logits: Tensor, *, independent: bool) -> Tensor:
    """Turn logits ``(classes, ...)`` into decisions: uint8 ``(1, ...)``, or for regions ``(regions, ...)``.

    Positive factors of the logits make no difference, so weighted sums do as well as means.
    """
    if independent:
        return (logits > 0).to(torch.uint8)
    dtype = torch.uint8 if len(logits) < 256 else torch.int16
    return logits.argmax(dim=0, keepdim=True).to(dtype)


class MemberDecisions:
    """Collects the decisions of the ensemble members while an image is predicted band by band.

    Parameters
    ----------
    independent
        Whether the classes are regions, which may overlap.
    """

    def __init__(self, *, independent: bool) -> None:
        self.independent = independent

    def start(self, num_members: int, num_classes: int, size: Sequence[int]) -> None:
        """Begin an image of ``size`` (Z, Y, X), dropping anything collected so far."""
        classes = num_classes if self.independent else 1
        dtype = torch.uint8 if num_classes < 256 else torch.int16
        self._decisions = torch.zeros((num_members, classes, *size), dtype=dtype)

    def add(self, member: int, rows: slice, logits: Tensor) -> None:
        """Keep what a member decides in some rows of the image.

        Parameters
        ----------
        member
            Number of the member.
        rows, logits
            The rows and their weighted logits: ``(classes, rows, X)``, counted through all slices, or
            ``(classes, slices, Y, X)``.
        """
        decisions = self._decisions[member]
        of_rows = decisions.flatten(1, 2) if logits.ndim == 3 else decisions
        of_rows[:, rows] = decide(logits, independent=self.independent).cpu()

    def stacked(self) -> Tensor:
        """Return all decisions: ``(ensemble members, 1 or regions, Z, Y, X)``."""
        return self._decisions


def agreement(decisions: Tensor, num_classes: int) -> list[float | None]:
    """Return the agreement of the ensemble members on each class, 0 to 1; None if no member finds the class.

    This is the Dice between two members, pooled over all pairs. If ``v`` of ``K`` members assign a pixel to
    the class, it is ``sum(v (v - 1)) / ((K - 1) sum(v))``: the probability that a pixel assigned to the class
    by one member is also assigned to it by another. The agreement of sampled segmentations correlates with
    the true Dice of a case (Roy et al. 2019, "Bayesian QuickNAT", NeuroImage 195).

    Parameters
    ----------
    decisions
        ``(members, 1, ...)`` with 0 (background) to ``num_classes - 1``; for regions ``(members, regions,
        ...)`` with 0 and 1.
    num_classes
        Number of logits.

    Returns
    -------
    list
        One value for each class except the background, or for each region.
    """
    members = len(decisions)
    if members < 2:
        raise ValueError("a single ensemble member has nothing to agree with")
    regions = decisions.shape[1] > 1 or num_classes == 1
    flat = decisions.flatten(2)
    result: list[float | None] = []
    for number in range(num_classes) if regions else range(1, num_classes):
        votes = torch.zeros(members + 1, dtype=torch.float64)
        for piece in flat.split(PIXELS_AT_ONCE, dim=2):
            mask = piece[:, number] if regions else piece[:, 0] == number
            votes += torch.bincount(mask.sum(dim=0), minlength=members + 1)
        v = torch.arange(members + 1, dtype=torch.float64)
        total = float((votes * v).sum())
        result.append(float((votes * v * (v - 1)).sum()) / ((members - 1) * total) if total else None)
    return result
