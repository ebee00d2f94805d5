"""The ensemble members of a prediction: what each view of the image would decide alone, for each fold.

A view is the image mirrored along some axes (test-time augmentation); each fold sees every view, and each
pair of a fold and a view is an ensemble member. Where members disagree, the prediction is uncertain. To save
memory, their decisions (labels) are kept rather than their logits, and the logits of a slice are freed after
its last tile.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

Tile = tuple[slice | int, ...]


def decide(logits: Tensor, *, independent: bool) -> Tensor:
    """Turn logits ``(classes, ...)`` into decisions: uint8 ``(1, ...)``, or for regions ``(regions, ...)``.

    Positive factors of the logits make no difference, so weighted sums do as well as means.
    """
    if independent:
        return (logits > 0).to(torch.uint8)
    dtype = torch.uint8 if len(logits) < 256 else torch.int16
    return logits.argmax(dim=0, keepdim=True).to(dtype)


class MemberDecisions:
    """Collects the decisions of the ensemble members while an image is predicted tile by tile.

    Parameters
    ----------
    independent
        Whether the classes are regions, which may overlap.
    """

    def __init__(self, *, independent: bool) -> None:
        self.independent = independent
        self._finished: list[Tensor] = []
        self._open: dict[int | None, Tensor] = {}

    def start(self, num_views: int, num_classes: int, size: Sequence[int]) -> None:
        """Begin an image of ``size`` (Z, Y, X) for one fold, dropping anything collected for it so far."""
        self._size = tuple(size)
        self._shape = (num_views, num_classes)
        self._open = {}
        classes = num_classes if self.independent else 1
        dtype = torch.uint8 if num_classes < 256 else torch.int16
        self._decisions = torch.zeros((num_views, classes, *size), dtype=dtype)

    def add(self, view: int, tile: Tile, logits: Tensor) -> None:
        """Add the weighted logits ``(classes, *patch_size)`` of a view at a tile.

        Tiles come slice by slice; a 2D tile begins with the number of its slice.
        """
        key, window = (tile[0], tile[1:]) if isinstance(tile[0], int) else (None, tile)
        if key not in self._open:
            self._close()
            size = self._size if key is None else self._size[1:]
            self._open[key] = torch.zeros((*self._shape, *size), device=logits.device)
        where = (view, slice(None), *window)
        self._open[key][where] += logits

    def finish(self, inside: tuple[slice, ...]) -> None:
        """End the image; all of its ``(classes, Z, Y, X)`` that is not ``inside`` is padding."""
        self._close()
        wanted = (slice(None), *inside)
        self._finished.append(self._decisions[wanted])

    def stacked(self) -> Tensor:
        """Return the decisions of all finished images: ``(ensemble members, 1 or regions, Z, Y, X)``."""
        return torch.cat(self._finished)

    def _close(self) -> None:
        for key, logits in self._open.items():
            decided = torch.stack([decide(each, independent=self.independent) for each in logits]).cpu()
            if key is None:
                self._decisions[:] = decided
            else:
                self._decisions[:, :, key] = decided
        self._open = {}


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
    masks = (
        (decisions[:, region] for region in range(num_classes))
        if regions
        else (decisions[:, 0] == value for value in range(1, num_classes))
    )
    result: list[float | None] = []
    for mask in masks:
        votes = torch.bincount(mask.sum(dim=0).flatten(), minlength=members + 1).double()
        v = torch.arange(members + 1, dtype=torch.float64)
        total = float((votes * v).sum())
        result.append(float((votes * v * (v - 1)).sum()) / ((members - 1) * total) if total else None)
    return result
