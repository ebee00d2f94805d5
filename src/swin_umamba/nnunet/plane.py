"""The plane of a volume that a 2D network sees."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from swin_umamba.errors import DataError

AXES = ("z", "y", "x")


def check_plane(shape: Sequence[int], transpose: Sequence[int], where: str | Path | None) -> None:
    """Refuse a volume whose slices would be lines for a 2D network.

    Parameters
    ----------
    shape
        Shape along z, y and x.
    transpose
        Axes in the network's order: first the one across the slices, then those of the plane.
    where
        The file or case, for the error.

    Raises
    ------
    DataError
        If there are several slices, and they are one voxel wide along an axis of the plane.
    """
    across, *plane = transpose
    thin = [AXES[axis] for axis in plane if shape[axis] == 1]
    if thin and shape[across] > 1:
        raise DataError(
            f"the image, of shape {tuple(map(int, shape))}, is one voxel thick along {' and '.join(thin)}: "
            f"the network, which sees slices across {AXES[across]}, would see lines",
            where=where,
            hint=f"reorder its axes so that the thin one is {AXES[across]}, or give it as a picture",
        )
