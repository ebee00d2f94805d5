"""Training and validation crops of images of any size, and mixtures of two, with the classes of both."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from swin_umamba.errors import DataError

LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in a grey value (ITU-R BT.601)."""

NARROWEST, WIDEST = 3 / 4, 4 / 3
"""Aspect ratios (width / height) of a training crop."""

ATTEMPTS = 10
CENTRE_CROP = 0.875
STD_FLOOR = 1e-8


def to_input(data: np.ndarray, in_channels: int, path: object) -> Tensor:
    """Turn an image into network input: the wanted channels, each with mean 0 and standard deviation 1.

    This is nnU-Net's default normalisation of pictures and MRI, so the backbone sees the same range of values
    in pretraining and training, whatever the type of the pixels.

    Parameters
    ----------
    data
        Image (channels, height, width).
    in_channels
        Number of channels: 1 (colours become grey), 3 (grey is repeated), or as many as the image has.
    path
        The file, for messages.

    Returns
    -------
    Tensor
        Image (in_channels, height, width), float32.

    Raises
    ------
    DataError
        If the image is a volume or its channels cannot be converted to that number.
    """
    if data.ndim != 3:
        raise DataError(
            f"the image has {data.ndim - 1} dimensions; pretraining takes pictures",
            where=str(path),
            hint="save the slices of a volume as pictures",
        )
    image = torch.from_numpy(np.ascontiguousarray(data, dtype=np.float32))
    channels = len(image)
    if channels == 3 and in_channels == 1:
        image = torch.tensordot(torch.tensor(LUMA), image, dims=1)[None]
    elif channels == 1 and in_channels == 3:
        image = image.expand(3, -1, -1)
    elif channels != in_channels:
        raise DataError(
            f"the image has {channels} channels, the network {in_channels}",
            where=str(path),
            hint="convert the image, or give its number of channels with --in-channels",
        )
    mean = image.mean(dim=(1, 2), keepdim=True)
    deviation = image.std(dim=(1, 2), keepdim=True, correction=0)
    return (image - mean) / deviation.clamp(min=STD_FLOOR)


def training_crop(
    image: Tensor, size: int, rng: np.random.Generator, *, smallest_crop: float, colour_jitter: float
) -> Tensor:
    """Cut out a random part, scale it to a square, flip it at random, and change contrast and colour.

    Parameters
    ----------
    image
        Image (channels, height, width), normalised.
    size
        Edge of the result in pixels.
    rng
        Source of all randomness.
    smallest_crop
        Smallest fraction of the image's area, from 0 to 1.
    colour_jitter
        Strength, from 0 to 1: contrast and saturation change by up to this factor, brightness by up to this
        many standard deviations.
    """
    top, left, height, width = _random_box(image.shape[1], image.shape[2], rng, smallest_crop)
    image = _resize(image[:, top : top + height, left : left + width], size, size)
    if rng.random() < 0.5:
        image = image.flip(2)
    if colour_jitter == 0:
        return image
    contrast, saturation = rng.uniform(1 - colour_jitter, 1 + colour_jitter, 2)
    mean = image.mean()
    image = (image - mean) * contrast + mean + rng.uniform(-colour_jitter, colour_jitter)
    if len(image) > 1:
        grey = image.mean(dim=0, keepdim=True)
        image = grey + (image - grey) * saturation
    return image.float()


def validation_crop(image: Tensor, size: int) -> Tensor:
    """Scale an image so that its short side is size / 0.875 and cut out the centre, size x size pixels."""
    height, width = image.shape[1:]
    scale = size / CENTRE_CROP / min(height, width)
    height, width = max(round(height * scale), size), max(round(width * scale), size)
    image = _resize(image, height, width)
    top, left = (height - size) // 2, (width - size) // 2
    return image[:, top : top + size, left : left + size]


def _random_box(
    height: int, width: int, rng: np.random.Generator, smallest: float
) -> tuple[int, int, int, int]:
    """Return top, left, height and width of a box of random area and aspect ratio, or else of the image."""
    for _ in range(ATTEMPTS):
        area = height * width * rng.uniform(smallest, 1.0)
        ratio = math.exp(rng.uniform(math.log(NARROWEST), math.log(WIDEST)))
        box_height, box_width = round(math.sqrt(area / ratio)), round(math.sqrt(area * ratio))
        if 0 < box_height <= height and 0 < box_width <= width:
            top = int(rng.integers(height - box_height + 1))
            left = int(rng.integers(width - box_width + 1))
            return top, left, box_height, box_width
    return 0, 0, height, width


def _resize(image: Tensor, height: int, width: int) -> Tensor:
    return F.interpolate(image[None], (height, width), mode="bicubic", align_corners=False, antialias=True)[0]


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
