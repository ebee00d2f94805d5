"""Mixup and CutMix: training images that are mixtures of two, with the classes of both."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F


def mix(
    images: Tensor, labels: Tensor, num_classes: int, *, mixup: float, cutmix: float, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Mix each image of a batch with another one, by mixup or CutMix with equal probability.

    Parameters
    ----------
    images
        Images (batch, channels, height, width).
    labels
        Class numbers (batch,).
    num_classes
        Number of classes.
    mixup, cutmix
        Parameter of the symmetric beta distribution from which the share of the first image is drawn once per
        batch. 0 switches a method off; with both off, nothing is mixed.
    rng
        Source of all randomness.

    Returns
    -------
    Tensor
        Mixed images.
    Tensor
        Share of each class (batch, num_classes), float32.

    References
    ----------
    Zhang et al., "mixup", arXiv 1710.09412; Yun et al., "CutMix", arXiv 1905.04899, section 3.1.
    """
    targets = F.one_hot(labels, num_classes).float()
    if mixup == 0 and cutmix == 0:
        return images, targets
    partner = torch.from_numpy(rng.permutation(len(images))).to(images.device)
    cuts = cutmix > 0 and (mixup == 0 or rng.random() < 0.5)
    share = float(rng.beta(cutmix, cutmix) if cuts else rng.beta(mixup, mixup))
    if cuts:
        images, share = _cut(images, images[partner], share, rng)
    else:
        images = share * images + (1 - share) * images[partner]
    return images, share * targets + (1 - share) * targets[partner]


def _cut(images: Tensor, others: Tensor, share: float, rng: np.random.Generator) -> tuple[Tensor, float]:
    """Replace a box of 1 - share of the area; return the share that remains after clipping at the border."""
    height, width = images.shape[-2:]
    edge = (1 - share) ** 0.5
    rows = _interval(height, edge, rng)
    columns = _interval(width, edge, rng)
    mixed = images.clone()
    mixed[..., rows, columns] = others[..., rows, columns]
    area = (rows.stop - rows.start) * (columns.stop - columns.start)
    return mixed, 1 - area / (height * width)


def _interval(length: int, fraction: float, rng: np.random.Generator) -> slice:
    """Return an interval of a fraction of the length around a random centre, clipped at the borders."""
    centre, half = int(rng.integers(length)), round(length * fraction / 2)
    return slice(max(centre - half, 0), min(centre + half, length))
