"""The passes of a network for the mirrored images of a tile, and their mean."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor, nn


def mirrored_logits(
    network: nn.Module, patches: Tensor, mirror_axes: Sequence[int], together: bool = False
) -> Iterator[Tensor]:
    """Yield the logits for every combination of mirrored axes, mirrored back; the unmirrored ones come first.

    Parameters
    ----------
    network
        Maps ``(batch, channels, *patch_size)`` to ``(batch, num_classes, *patch_size)``.
    patches
        ``(batch, channels, *patch_size)``.
    mirror_axes
        Spatial axes to mirror, 0 for the first after the channels.
    together
        Whether all mirrored images go through the network as one batch.
    """
    axes = [axis + 2 for axis in mirror_axes]
    sizes = range(1, len(axes) + 1)
    combinations = [each for size in sizes for each in itertools.combinations(axes, size)]
    if together and combinations:
        views = torch.cat([patches, *(torch.flip(patches, each) for each in combinations)])
        own, *others = network(views).split(len(patches))
        yield own.float()
        for output, combination in zip(others, combinations, strict=True):
            yield torch.flip(output, combination).float()
        return
    yield network(patches).float()
    for combination in combinations:
        yield torch.flip(network(torch.flip(patches, combination)), combination).float()


def mean_in_order(tensors: Iterable[Tensor]) -> Tensor:
    """Return the mean of tensors of one shape, summed in order: equal inputs give equal bits."""
    count, total = 0, torch.zeros(())
    for count, tensor in enumerate(tensors, start=1):
        total = tensor if count == 1 else total + tensor
    return total if count == 1 else total / count
