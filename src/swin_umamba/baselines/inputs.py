"""The check of input shapes that the networks of this folder share."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from swin_umamba.errors import DataError


def check_input(x: Tensor, name: str, in_channels: int, multiples: Sequence[int]) -> None:
    """Refuse a batch that a network cannot segment.

    Parameters
    ----------
    x
        Batch to check; it should be (batch, in_channels, height, width).
    name
        Name of the network, for the message.
    in_channels
        Channels that the network was built for.
    multiples
        Numbers that height and width must be multiples of.

    Raises
    ------
    DataError
        If the number of axes or channels is wrong, or a side is not a multiple.
    """
    if x.ndim != 4 or x.shape[1] != in_channels:
        raise DataError(
            f"{name} takes images of shape (batch, {in_channels}, height, width), but got {tuple(x.shape)}",
            hint="give the number of channels that the network was built for, and 2D images",
        )
    sides = tuple(x.shape[-2:])
    if any(side % multiple or not side for side, multiple in zip(sides, multiples, strict=True)):
        raise DataError(
            f"{name} cannot segment images of {sides[0]}x{sides[1]} pixels",
            hint=f"pad the image to a height that is a multiple of {multiples[0]} "
            f"and a width that is a multiple of {multiples[1]}",
        )
