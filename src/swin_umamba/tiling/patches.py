"""Where the patches of a sliding window come from: an image in memory, or one read part by part."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from swin_umamba.ops.free_memory import free_memory
from swin_umamba.tiling.tiles import Tile

PART_FOR_IMAGE = 1 / 4
"""The most of a device's free memory that the image itself may take."""


class Patches(Protocol):
    """The patches of an image."""

    @property
    def image_size(self) -> tuple[int, int, int]:
        """``(Z, Y, X)``."""
        ...

    def prepare(self, tiles: Sequence[Tile]) -> None:
        """Have the pixels at hand that these tiles need, and no others."""
        ...

    def patch(self, tile: Tile, patch_size: Sequence[int]) -> Tensor:
        """Return the patch ``(channels, *patch_size)``, float32, of a tile that has been prepared."""
        ...

    def on_cpu(self) -> Patches:
        """Return the same patches without any memory on a device."""
        ...


class ImagePatches:
    """The patches of an image in memory.

    Parameters
    ----------
    image
        ``(channels, Z, Y, X)``, float32.
    """

    def __init__(self, image: Tensor) -> None:
        self._image = image

    @property
    def image_size(self) -> tuple[int, int, int]:
        """``(Z, Y, X)``."""
        _, z, y, x = self._image.shape
        return z, y, x

    def prepare(self, tiles: Sequence[Tile]) -> None:
        """Do nothing: all pixels are at hand."""

    def patch(self, tile: Tile, patch_size: Sequence[int]) -> Tensor:
        """Return the patch ``(channels, *patch_size)`` of a tile."""
        return tile.patch_of(self._image, patch_size)

    def on_cpu(self) -> ImagePatches:
        """Return the patches of the image on the CPU."""
        return ImagePatches(self._image.cpu())


def brought_to(device: torch.device, image: Tensor) -> Tensor:
    """Return the image on a device if it takes little of the free memory there, else as it is."""
    if device.type == "cpu":
        return image
    free = free_memory(device)
    fits = free is not None and image.nbytes <= PART_FOR_IMAGE * free
    return image.to(device) if fits else image
