"""The number of stages that nnU-Net gives a 2D U-Net, and where it halves which axis."""

from __future__ import annotations

from collections.abc import Sequence

MIN_SIDE = 4
"""No axis is halved below this."""

MIN_SIDE_ALONE = 3 * MIN_SIDE
"""An axis to be halved alone must be at least this long."""

BASE_FEATURES, MAX_FEATURES = 32, 512


def unet_strides(patch_size: Sequence[int], spacing: Sequence[float] = (1.0, 1.0)) -> list[list[int]]:
    """Return the stride of each stage along (height, width); the first is 1.

    An axis is halved as long as at least 4 pixels remain and its pixels are not at least twice as large as
    those of the other axis. Unlike in nnU-Net, which would enlarge the patch, an odd axis is not halved: in a
    comparison the patch is the same for all networks.

    Parameters
    ----------
    patch_size
        (height, width) in pixels.
    spacing
        Size of a pixel along both, in any unit.

    References
    ----------
    Isensee et al., "nnU-Net: a self-configuring method for deep learning-based biomedical image
    segmentation", Nature Methods 18 (2021), supplementary note 2.
    """
    sides, sizes = list(patch_size), list(spacing)
    strides = [[1, 1]]
    while True:
        axes = [axis for axis in range(2) if sides[axis] >= 2 * MIN_SIDE]
        axes = [axis for axis in axes if sizes[axis] < 2 * min(sizes[other] for other in axes)]
        if len(axes) == 1 and sides[axes[0]] < MIN_SIDE_ALONE:
            break
        axes = [axis for axis in axes if sides[axis] % 2 == 0]
        if not axes:
            break
        strides.append([2 if axis in axes else 1 for axis in range(2)])
        for axis in axes:
            sides[axis] //= 2
            sizes[axis] *= 2
    return strides


def unet_features(num_stages: int) -> list[int]:
    """Return the channels of each stage: 32, doubling up to 512."""
    return [min(BASE_FEATURES * 2**stage, MAX_FEATURES) for stage in range(num_stages)]
