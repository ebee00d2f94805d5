"""Bands of rows: how the tiles of an image are grouped, and the sums over those rows alone.

Neighbouring tiles overlap, so a band of tiles finishes the rows that no later tile touches; the sums of its
other rows are carried over to the next band. Each pixel's sum has the terms of a sum over the whole image in
the same order, and so the same bits.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from swin_umamba.tiling.tiles import Tile, TileGrid

# Below this many patches in height, the sums of bands and what is carried over take as much as all sums.
SMALLEST_IN_PATCHES = 3


@dataclass(frozen=True)
class BandPlan:
    """Tiles that are predicted before the rows that they finish are given out.

    Attributes
    ----------
    tiles
        The tiles; their batches begin with the first.
    first, finished, last
        The rows from ``first`` to ``finished`` are complete after these tiles; they touch none beyond
        ``last``.
    """

    tiles: Sequence[Tile]
    first: int
    finished: int
    last: int

    def batches(self, tiles_per_batch: int) -> list[Sequence[Tile]]:
        """Return the tiles that go through the network together."""
        starts = range(0, len(self.tiles), tiles_per_batch)
        return [self.tiles[start : start + tiles_per_batch] for start in starts]


@dataclass(frozen=True)
class Band:
    """Finished rows of an image.

    Attributes
    ----------
    rows
        Which rows; see ``TileGrid``.
    logits
        ``(channels, rows, *row_shape)``, float32, on the CPU.
    slice_height
        Rows of a slice; None if a row is a slice.
    num_rows
        Rows of the image.
    """

    rows: slice
    logits: Tensor
    slice_height: int | None
    num_rows: int

    def parts(self) -> Iterator[tuple[tuple[slice, slice], Tensor]]:
        """Yield the logits ``(channels, z, y, x)`` of each slice, or of all, and their place in (Z, Y)."""
        height = self.slice_height
        if height is None:
            yield (self.rows, slice(None)), self.logits
            return
        start = self.rows.start
        while start < self.rows.stop:
            number = start // height
            stop = min(self.rows.stop, (number + 1) * height)
            lines = slice(start - number * height, stop - number * height)
            part = self.logits[:, start - self.rows.start : stop - self.rows.start]
            yield (slice(number, number + 1), lines), part[:, None]
            start = stop


def plan_bands(grid: TileGrid, tiles_per_batch: int, patch_rows: int, one_band: bool) -> list[BandPlan]:
    """Group the tiles of an image into bands, each as small as whole batches of tiles allow.

    Parameters
    ----------
    grid
        The tiles.
    tiles_per_batch
        Tiles that go through the network together; neighbours, whatever bands they are in.
    patch_rows
        Height of a patch.
    one_band
        Whether to have a single band of everything.
    """
    everything = BandPlan(grid.tiles, 0, grid.num_rows, grid.num_rows)
    if one_band or grid.num_rows <= SMALLEST_IN_PATCHES * patch_rows:
        return [everything]
    batches = everything.batches(tiles_per_batch)
    plans: list[BandPlan] = []
    begun: list[Tile] = []
    first = 0
    for batch, following in zip(batches, [*batches[1:], None], strict=True):
        begun.extend(batch)
        finished = grid.num_rows if following is None else following[0].rows.start
        if finished > first:
            plans.append(BandPlan(begun, first, finished, batch[-1].rows.stop))
            first, begun = finished, []
    return plans


class BandSums:
    """Sums over the rows of a band.

    Parameters
    ----------
    channels
        Numbers per pixel.
    plan, row_shape
        The rows and their shape.
    device
        Where to sum.
    carried
        Sums ``(channels, rows, *row_shape)`` of the first rows so far; None if they are new.
    """

    def __init__(
        self,
        channels: int,
        plan: BandPlan,
        row_shape: Sequence[int],
        device: torch.device,
        carried: Tensor | None,
    ) -> None:
        self._plan = plan
        size = (channels, plan.last - plan.first, *row_shape)
        self._sums = torch.zeros(size, dtype=torch.float32, device=device)
        if carried is not None:
            self._sums[:, : carried.shape[1]] = carried

    def add(self, tile: Tile, values: Tensor, first: int = 0) -> None:
        """Add numbers ``(channels, *patch_size)`` from channel ``first`` on, where they are wanted."""
        rows = slice(tile.rows.start - self._plan.first, tile.rows.stop - self._plan.first)
        channels = slice(first, first + len(values))
        place, inside = (channels, rows, *tile.place[1:]), (slice(None), *tile.part)
        self._sums[place] += values[inside]

    @property
    def finished(self) -> Tensor:
        """The sums of the finished rows; a view."""
        return self._sums[:, : self._plan.finished - self._plan.first]

    def carried(self) -> Tensor | None:
        """Return a copy of the sums of the other rows; None if there are none."""
        rest = self._sums[:, self._plan.finished - self._plan.first :]
        return rest.clone() if rest.shape[1] else None


def all_finite(logits: Tensor) -> bool:
    """Return whether no number is NaN or infinite, without a mask of their size."""
    # NaN is the least and the largest of all numbers.
    return all(bool(torch.isfinite(each)) for each in torch.aminmax(logits))
