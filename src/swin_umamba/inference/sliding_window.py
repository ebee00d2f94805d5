"""Sliding-window prediction: overlapping tiles, Gaussian weights, mirroring, sums in float32.

The geometry is nnU-Net's (Isensee et al. 2021, Nature Methods 18, 203-211): tiles of the patch size, evenly
spaced at most ``step_size * patch_size`` apart, each weighted by a Gaussian of sigma ``patch_size / 8``;
images below the patch size are zero-padded on both sides. nnU-Net sums logits in float16; here they are
summed in float32, so that small differences between classes survive large logits.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache

import torch
from torch import Tensor, nn

from swin_umamba.confidence.members import MemberDecisions
from swin_umamba.ops.precision import autocast

SIGMA_IN_PATCHES = 1 / 8


@dataclass(frozen=True)
class SlidingWindow:
    """How a network that sees one patch at a time predicts an image of any size.

    Parameters
    ----------
    patch_size
        Two or three sizes in pixels. With two, each Z slice is predicted on its own.
    num_classes
        Number of logits per pixel.
    num_extra
        Number of further values per pixel that follow the logits; members ignore them in their decisions.
    step_size
        Distance between neighbouring tiles as a fraction of the patch size, in (0, 1].
    mirror_axes
        Spatial axes of the patch (0 is its first) to mirror along; all combinations are averaged.
    tiles_per_batch
        Tiles that go through the network together.
    device
        Device of the network, and of the sums if they fit.
    precision
        Precision of matrix products and convolutions, see ``swin_umamba.ops.precision``; the sums are
        always float32.
    """

    patch_size: tuple[int, ...]
    num_classes: int
    step_size: float = 0.5
    mirror_axes: tuple[int, ...] = ()
    tiles_per_batch: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    precision: str = "float32"
    num_extra: int = 0

    @torch.inference_mode()
    def logits(
        self,
        network: nn.Module,
        image: Tensor,
        *,
        members: MemberDecisions | None = None,
        on_progress: Callable[[float], None] | None = None,
    ) -> Tensor:
        """Predict one image.

        Parameters
        ----------
        network
            Maps ``(batch, channels, *patch_size)`` to ``(batch, num_classes + num_extra, *patch_size)``; in
            eval mode.
        image
            ``(channels, Z, Y, X)``, float32.
        members
            Collector of the decisions of each mirrored image.
        on_progress
            Called after each pass of the network with the fraction done, up to 1. Any exception it raises
            ends the prediction.

        Returns
        -------
        Tensor
            Logits ``(num_classes + num_extra, Z, Y, X)``, float32, on the CPU.
        """
        padding, inside = _padding(image.shape[1:], self.patch_size)
        image = nn.functional.pad(image, padding)
        try:
            logits = self._weighted_mean(network, image, self.device, members, on_progress)
        except torch.cuda.OutOfMemoryError:
            # The sums of a large volume can exceed a GPU that easily holds the network and a tile.
            torch.cuda.empty_cache()
            smaller = replace(self, tiles_per_batch=1)
            logits = smaller._weighted_mean(network, image, torch.device("cpu"), members, on_progress)
        if members is not None:
            members.finish(inside)
        return logits[inside].cpu()

    def _weighted_mean(
        self,
        network: nn.Module,
        image: Tensor,
        sums_device: torch.device,
        members: MemberDecisions | None,
        on_progress: Callable[[float], None] | None,
    ) -> Tensor:
        tiles = list(tile_slices(image.shape[1:], self.patch_size, self.step_size))
        weights = gaussian_weights(self.patch_size).to(sums_device)
        channels = self.num_classes + self.num_extra
        sums = torch.zeros((channels, *image.shape[1:]), dtype=torch.float32, device=sums_device)
        if members is not None:
            members.start(2 ** len(self.mirror_axes), self.num_classes, image.shape[1:])
        for start in range(0, len(tiles), self.tiles_per_batch):
            batch = [(slice(None), *tile) for tile in tiles[start : start + self.tiles_per_batch]]
            patches = torch.stack([image[window] for window in batch]).to(self.device)
            with autocast(self.device, self.precision):
                done, part = start / len(tiles), len(batch) / len(tiles)
                outputs: Iterable[Tensor] = self._reported(
                    mirrored_logits(network, patches, self.mirror_axes), done, part, on_progress
                )
                if members is not None:
                    outputs = list(outputs)
                means = mean_in_order(outputs)
            for window, logits in zip(batch, means, strict=True):
                sums[window] += logits.to(sums_device, torch.float32) * weights
            if members is not None:
                for place, tile in enumerate(tiles[start : start + self.tiles_per_batch]):
                    for member, output in enumerate(outputs):
                        members.add(
                            member,
                            tile,
                            output[place, : self.num_classes].to(sums_device, torch.float32) * weights,
                        )
        if len(self.patch_size) == 2:  # all slices are tiled alike, so one sum serves all
            tiles = [tile[1:] for tile in tiles if tile[0] == 0]
        weight_sums = torch.zeros(image.shape[-len(self.patch_size) :], device=sums_device)
        for tile in tiles:
            weight_sums[tile] += weights
        return sums.div_(weight_sums)

    def _reported(
        self,
        outputs: Iterator[Tensor],
        done: float,
        part: float,
        on_progress: Callable[[float], None] | None,
    ) -> Iterator[Tensor]:
        """Yield the network's output for each batch, and report the fraction of the image done after each."""
        passes = 2 ** len(self.mirror_axes)
        for number, output in enumerate(outputs, start=1):
            if on_progress is not None:
                on_progress(min(1.0, done + part * number / passes))
            yield output


def mirrored_logits(network: nn.Module, patches: Tensor, mirror_axes: Sequence[int]) -> Iterator[Tensor]:
    """Yield the logits for every combination of mirrored axes, mirrored back; the unmirrored ones come first.

    Parameters
    ----------
    network
        Maps ``(batch, channels, *patch_size)`` to ``(batch, num_classes, *patch_size)``.
    patches
        ``(batch, channels, *patch_size)``.
    mirror_axes
        Spatial axes to mirror, 0 for the first after the channels.
    """
    yield network(patches).float()
    axes = [axis + 2 for axis in mirror_axes]
    for size in range(1, len(axes) + 1):
        for combination in itertools.combinations(axes, size):
            yield torch.flip(network(torch.flip(patches, combination)), combination).float()


def mean_in_order(tensors: Iterable[Tensor]) -> Tensor:
    """Return the mean of tensors of one shape, summed in order: equal inputs give equal bits."""
    count, total = 0, torch.zeros(())
    for count, tensor in enumerate(tensors, start=1):
        total = tensor if count == 1 else total + tensor
    return total / count


def tile_slices(
    image_size: Sequence[int], patch_size: Sequence[int], step_size: float
) -> Iterator[tuple[slice | int, ...]]:
    """Yield each tile as an index into ``(Z, Y, X)``; that of a 2D patch begins with the slice number."""
    planar = len(patch_size) == len(image_size) - 1
    sizes = image_size[1:] if planar else image_size
    starts = [tile_starts(size, patch, step_size) for size, patch in zip(sizes, patch_size, strict=True)]
    for number in range(image_size[0]) if planar else (None,):
        for corner in itertools.product(*starts):
            window = tuple(slice(s, s + p) for s, p in zip(corner, patch_size, strict=True))
            yield window if number is None else (number, *window)


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


def _padding(image_size: Sequence[int], patch_size: Sequence[int]) -> tuple[list[int], tuple[slice, ...]]:
    """Return the padding for ``torch.nn.functional.pad`` and the index into ``(C, Z, Y, X)`` undoing it."""
    padding: list[int] = []
    inside = [slice(None)]
    patch = [1] * (len(image_size) - len(patch_size)) + list(patch_size)
    for size, wanted in zip(image_size, patch, strict=True):
        missing = max(wanted - size, 0)
        padding = [missing // 2, missing - missing // 2, *padding]
        inside.append(slice(missing // 2, missing // 2 + size))
    return padding, tuple(inside)
