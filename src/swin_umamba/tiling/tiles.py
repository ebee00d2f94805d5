"""Where the tiles of a sliding window lie, and how each pixel of a tile is weighted.

The geometry is nnU-Net's (Isensee et al. 2021, Nature Methods 18, 203-211): tiles of the patch size, evenly
spaced at most ``step_size * patch_size`` apart, each weighted by a Gaussian of sigma ``patch_size / 8``;
images below the patch size are zero-padded on both sides. The padding is added to each tile by itself, so
that there is no padded copy of the image.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor, nn

from swin_umamba.ops.launch_settings import launch_settings

SIGMA_IN_PATCHES = 1 / 8
# Largest number of pixels in a batch of tiles: as much memory as one tile of 512x512, the paper's largest
# patch. With smaller batches, calls cost more than the work itself; for a GPU those of a single such tile are
# still too small, and a batch may have many times as many pixels, those of mirrored images among them.
PIXELS_PER_BATCH = 512 * 512


@dataclass(frozen=True, slots=True)
class Tile:
    """A tile of an image ``(Z, Y, X)``.

    Attributes
    ----------
    pixels
        The part of the image under the tile, as an index into ``(Z, Y, X)``; for a 2D patch it begins with
        the number of the slice.
    inside
        The same part as an index into the patch; the rest of the patch is padding.
    place
        The part of it that lies in the region to predict, as an index into sums, whose first axis is the rows
        of the region: see ``TileGrid``.
    part
        That part as an index into the patch.
    """

    pixels: tuple[slice | int, ...]
    inside: tuple[slice, ...]
    place: tuple[slice, ...]
    part: tuple[slice, ...]

    @property
    def rows(self) -> slice:
        """The rows under the tile."""
        return self.place[0]

    @property
    def box(self) -> tuple[slice, slice, slice]:
        """The part of the image under the tile, in (Z, Y, X)."""
        z, y, x = (each if isinstance(each, slice) else slice(each, each + 1) for each in self.pixels)
        return z, y, x

    def patch_of(self, image: Tensor, patch_size: Sequence[int]) -> Tensor:
        """Return the patch ``(channels, *patch_size)`` of an image ``(channels, Z, Y, X)``."""
        index = (slice(None), *self.pixels)
        return self.padded(image[index], patch_size)

    def padded(self, part: Tensor, patch_size: Sequence[int]) -> Tensor:
        """Return the patch ``(channels, *patch_size)`` whose part inside the image this is."""
        if part.shape[1:] == tuple(patch_size):
            return part
        padding: list[int] = []
        for inside, size in zip(self.inside, patch_size, strict=True):
            padding = [inside.start, size - inside.stop, *padding]
        return nn.functional.pad(part, padding)


class TileGrid:
    """The tiles of an image, in the order in which they are predicted.

    The image counts as a stack of rows: with a 3D patch the slices, with a 2D patch the lines of all slices,
    one slice after the other. A tile never begins above one that precedes it, so that rows are finished from
    the first to the last. A region of the image has rows likewise, and those of all tiles that touch it.

    Parameters
    ----------
    image_size
        ``(Z, Y, X)``.
    patch_size
        Two or three sizes in pixels. With two, each slice is tiled by itself.
    step_size
        Distance between neighbouring tiles as a fraction of the patch size, in (0, 1].
    region
        The part to predict, in (Z, Y, X); None for everything.

    Attributes
    ----------
    tiles
        All tiles that touch the region.
    size
        ``(Z, Y, X)`` of the region.
    num_rows
        ``Z * Y`` with a 2D patch, ``Z`` with a 3D one.
    row_shape
        Shape of a row: ``(X,)`` or ``(Y, X)``.
    slice_height
        Rows of a slice; None with a 3D patch.
    """

    def __init__(
        self,
        image_size: Sequence[int],
        patch_size: Sequence[int],
        step_size: float,
        region: tuple[slice, slice, slice] | None = None,
    ) -> None:
        planar = len(patch_size) == len(image_size) - 1
        wanted = [slice(0, size) for size in image_size] if region is None else list(region)
        self.size = tuple(each.stop - each.start for each in wanted)
        sizes, parts = (image_size[1:], wanted[1:]) if planar else (image_size, wanted)
        self.num_rows = self.size[0] * (self.size[1] if planar else 1)
        self.row_shape = self.size[2:] if planar else self.size[1:]
        self.slice_height = self.size[1] if planar else None
        of_axes = [
            list(_along(size, patch, step_size, part))
            for size, patch, part in zip(sizes, patch_size, parts, strict=True)
        ]
        self.tiles: list[Tile] = []
        for number in range(wanted[0].start, wanted[0].stop) if planar else (None,):
            for corner in itertools.product(*of_axes):
                pixels, inside, place, part = zip(*corner, strict=True)
                index: tuple[slice | int, ...] = pixels if number is None else (number, *pixels)
                first = 0 if number is None else (number - wanted[0].start) * self.size[1]
                rows = slice(first + place[0].start, first + place[0].stop)
                self.tiles.append(Tile(index, inside, (rows, *place[1:]), part))


def _along(
    size: int, patch: int, step_size: float, region: slice
) -> Iterator[tuple[slice, slice, slice, slice]]:
    """Yield the four parts of a ``Tile`` along an axis, for each tile that touches a region."""
    before = max(patch - size, 0) // 2
    for start in tile_starts(max(size, patch), patch, step_size):
        start -= before
        pixels = slice(max(start, 0), min(start + patch, size))
        wanted = slice(max(pixels.start, region.start), min(pixels.stop, region.stop))
        if wanted.start < wanted.stop:
            yield pixels, moved(pixels, -start), moved(wanted, -region.start), moved(wanted, -start)


def moved(part: slice, by: int) -> slice:
    """Return a slice with both ends ``by`` further on."""
    return slice(part.start + by, part.stop + by)


def tiles_per_batch(patch_size: Sequence[int], num_mirror_axes: int, device: torch.device) -> int:
    """Return how many tiles go through a network together; see ``views_together`` for mirrored images."""
    times = launch_settings(device).tiles_times if device.type == "cuda" else 1
    views = 2**num_mirror_axes if views_together(patch_size, num_mirror_axes, device) else 1
    return max(1, int(times * PIXELS_PER_BATCH / (views * math.prod(patch_size))))


def views_together(patch_size: Sequence[int], num_mirror_axes: int, device: torch.device) -> bool:
    """Return whether all mirrored images of a tile go through a network as one batch.

    On a CPU only small ones do, for which reading the weights takes as long as the work itself. What is in a
    batch may change the last bits of a convolution, so a batch never holds tiles of two images there.
    """
    return device.type == "cuda" or 2**num_mirror_axes * math.prod(patch_size) <= PIXELS_PER_BATCH


def tile_starts(size: int, patch: int, step_size: float) -> list[int]:
    """Return where tiles start along one axis: evenly spaced, at most ``step_size * patch`` apart."""
    last = size - patch
    steps = math.ceil(last / (patch * step_size))
    # round() takes halves to the even neighbour, as NumPy does in nnU-Net, so the tiles are the same.
    return [round(last / steps * i) for i in range(steps + 1)] if steps else [0]


@lru_cache(maxsize=4)
def gaussian_weights(patch_size: tuple[int, ...]) -> Tensor:
    """Return the weights of a tile: a Gaussian of sigma ``patch_size / 8``, 1 in the middle, float32."""
    weights = torch.ones((), dtype=torch.float64)
    for size in patch_size:
        distance = torch.arange(size, dtype=torch.float64) - size // 2
        weights = weights[..., None] * torch.exp(-0.5 * (distance / (size * SIGMA_IN_PATCHES)) ** 2)
    return weights.float()
