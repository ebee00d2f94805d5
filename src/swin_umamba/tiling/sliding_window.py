"""Sliding-window prediction: overlapping tiles, Gaussian weights, mirroring, sums in float32.

The geometry is nnU-Net's, see ``tiling.tiles``. nnU-Net sums logits in float16; here they are
summed in float32, so that small differences between classes survive large logits. The sums are those of one
band of rows at a time, see ``tiling.bands``.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from swin_umamba.confidence.members import MemberDecisions
from swin_umamba.ops.precision import autocast
from swin_umamba.tiling.bands import Band, BandPlan, BandSums, plan_bands
from swin_umamba.tiling.patches import ImagePatches, Patches, brought_to
from swin_umamba.tiling.tiles import Tile, TileGrid, gaussian_weights
from swin_umamba.tiling.views import mean_in_order, mirrored_logits

logger = logging.getLogger(__name__)

_SMALLEST = torch.finfo(torch.float32).tiny
"""Below all weights, and so only instead of none."""


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
    views_together
        Whether the mirrored images of a tile go through the network as one batch: fewer, larger calls.
    """

    patch_size: tuple[int, ...]
    num_classes: int
    step_size: float = 0.5
    mirror_axes: tuple[int, ...] = ()
    tiles_per_batch: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    precision: str = "float32"
    num_extra: int = 0
    views_together: bool = False

    @torch.inference_mode()
    def logits(
        self,
        network: nn.Module | Sequence[nn.Module],
        image: Tensor,
        *,
        members: MemberDecisions | None = None,
        on_progress: Callable[[float], None] | None = None,
        one_band: bool = False,
    ) -> Tensor:
        """Predict one image.

        Parameters are those of :meth:`bands`.

        Returns
        -------
        Tensor
            Logits ``(num_classes + num_extra, Z, Y, X)``, float32, on the CPU.
        """
        alone = isinstance(network, nn.Module) or len(network) == 1
        # Sums of a single network on the CPU are the result; a copy of each band would be a second one.
        one_band = one_band or (alone and self.device.type == "cpu")
        bands = self.bands(network, image, members=members, on_progress=on_progress, one_band=one_band)
        whole: Tensor | None = None
        for band in bands:
            if whole is None and band.logits[0].numel() == image[0].numel():
                whole = band.logits
                continue
            if whole is None:
                size = (self.num_classes + self.num_extra, band.num_rows, *band.logits.shape[2:])
                whole = torch.empty(size)
            whole[:, band.rows] = band.logits
        assert whole is not None
        return whole.reshape(len(whole), *image.shape[1:])

    def bands(
        self,
        network: nn.Module | Sequence[nn.Module],
        image: Tensor,
        *,
        members: MemberDecisions | None = None,
        on_progress: Callable[[float], None] | None = None,
        one_band: bool = False,
    ) -> Iterator[Band]:
        """Yield the logits of one band of rows of an image after the other.

        Parameters
        ----------
        network
            A network, or several whose logits are averaged. Each maps ``(batch, channels, *patch_size)`` to
            ``(batch, num_classes + num_extra, *patch_size)``; in eval mode.
        image
            ``(channels, Z, Y, X)``, float32.
        members
            Collector of the decisions of each network for each mirrored image.
        on_progress
            Called after each pass of a network with the fraction done, up to 1. Any exception it raises ends
            the prediction.
        one_band
            Whether to yield all rows at once, for which each network is taken only once.
        """
        networks = [network] if isinstance(network, nn.Module) else network
        patches = ImagePatches(brought_to(self.device, image))
        return self.bands_of_region(
            networks, patches, None, members=members, on_progress=on_progress, one_band=one_band
        )

    def bands_of_region(
        self,
        networks: Sequence[nn.Module],
        patches: Patches,
        region: tuple[slice, slice, slice] | None,
        *,
        wanted: Callable[[Tile], bool] | None = None,
        members: MemberDecisions | None = None,
        on_progress: Callable[[float], None] | None = None,
        one_band: bool = False,
    ) -> Iterator[Band]:
        """Yield the logits of one band of rows of a region after the other.

        On a CPU each pixel has the bits that it has in a prediction of the whole image, whatever the region.

        Parameters
        ----------
        networks, members, on_progress, one_band
            See :meth:`bands`.
        patches
            The patches of the whole image.
        region
            The part to predict, in (Z, Y, X); None for everything.
        wanted
            Which tiles to predict; None for all. Where there is none, logits are 0; if there is none at all,
            no band is yielded.
        """
        grid = TileGrid(patches.image_size, self.patch_size, self.step_size, region)
        grid.tiles = [tile for tile in grid.tiles if wanted is None or wanted(tile)]
        plans = plan_bands(grid, self.tiles_per_batch, self.patch_size[0], one_band)
        if members is not None:
            num_members = len(networks) * self._num_views
            members.start(num_members, self.num_classes, grid.size)
        passes = _Passes(len(grid.tiles) * len(networks) * self._num_views, on_progress)
        work = _BandWork(self, networks, patches, grid, members, passes, self.device)
        carried = _Carried.nothing(len(networks))
        for plan in plans:
            done = passes.done
            while (result := work.tried(plan, carried)) is None:
                # The exception is gone here, and with it what the attempt had taken.
                torch.cuda.empty_cache()
                passes.done = done
                work = work.with_less_memory()
                carried = carried.on(work.sums_device)
            logits, carried = result
            yield Band(slice(plan.first, plan.finished), logits, grid.slice_height, grid.num_rows)

    @property
    def _num_views(self) -> int:
        return 1 << len(self.mirror_axes)


class _Passes:
    """Counts the tiles that have gone through a network, and reports the fraction done, which never falls."""

    def __init__(self, total: int, report: Callable[[float], None] | None) -> None:
        self._total, self._report = total, report
        self.done = self._most = 0

    def add(self, tiles: int) -> None:
        self.done += tiles
        self._most = max(self._most, self.done)
        if self._report is not None:
            self._report(self._most / self._total)


@dataclass(frozen=True)
class _Carried:
    """Sums of the rows that a band touches without finishing them."""

    weights: Tensor | None
    of_networks: Sequence[tuple[Tensor | None, Tensor | None]]
    """For each network its mean over all views, and its views one after the other."""

    @classmethod
    def nothing(cls, num_networks: int) -> _Carried:
        return cls(None, [(None, None)] * num_networks)

    def on(self, device: torch.device) -> _Carried:
        def moved(sums: Tensor | None) -> Tensor | None:
            return None if sums is None else sums.to(device)

        return _Carried(moved(self.weights), [(moved(a), moved(b)) for a, b in self.of_networks])


@dataclass(frozen=True)
class _BandWork:
    """What is the same for all bands of an image, until a GPU runs out of memory."""

    window: SlidingWindow
    networks: Sequence[nn.Module]
    patches: Patches
    grid: TileGrid
    members: MemberDecisions | None
    passes: _Passes
    sums_device: torch.device
    is_last: bool = False

    def with_less_memory(self) -> _BandWork:
        """Return the next way to try.

        First batches of half the tiles, down to one; then each mirrored image by itself; then image and sums
        on the CPU.

        Raises
        ------
        torch.cuda.OutOfMemoryError
            There is none left.
        """
        tiles = self.window.tiles_per_batch
        if tiles > 1:
            logger.warning("the GPU is full: %d instead of %d tiles at a time", tiles // 2, tiles)
            return replace(self, window=replace(self.window, tiles_per_batch=tiles // 2))
        if self.window.views_together:
            logger.warning("the GPU is full: mirrored images one after the other")
            return replace(self, window=replace(self.window, views_together=False))
        if not self.is_last:
            logger.warning("the GPU is full: the image and the sums are on the CPU from here on")
            return replace(self, patches=self.patches.on_cpu(), sums_device=torch.device("cpu"), is_last=True)
        raise torch.cuda.OutOfMemoryError("out of memory with one tile at a time and the sums on the CPU")

    def tried(self, plan: BandPlan, carried: _Carried) -> tuple[Tensor, _Carried] | None:
        """Return the logits of the finished rows, and the sums of the others; None if the GPU is full.

        What an attempt has taken is free only when nothing refers to its exception any more: the exception
        knows the functions that were running, and they their tensors.
        """
        try:
            return self._predicted(plan, carried)
        except torch.cuda.OutOfMemoryError:
            return None

    @torch.inference_mode()
    def _predicted(self, plan: BandPlan, carried: _Carried) -> tuple[Tensor, _Carried]:
        self.patches.prepare(plan.tiles)
        weights = gaussian_weights(self.window.patch_size).to(self.sums_device)
        weight_sums = self._sums(1, plan, carried.weights)
        for tile in plan.tiles:
            weight_sums.add(tile, weights[None])
        total: Tensor | None = None
        rests = []
        for number, before in enumerate(carried.of_networks):
            sums, views = self._of_network(number, plan, before, weights)
            rests.append((sums.carried(), None if views is None else views.carried()))
            mean = sums.finished.div_(weight_sums.finished.clamp_min(_SMALLEST))
            total = mean if total is None else total.add_(mean)
        assert total is not None
        if len(rests) > 1:
            total.div_(len(rests))
        return total.cpu(), _Carried(weight_sums.carried(), rests)

    def _sums(self, channels: int, plan: BandPlan, carried: Tensor | None) -> BandSums:
        return BandSums(channels, plan, self.grid.row_shape, self.sums_device, carried)

    def _of_network(
        self, number: int, plan: BandPlan, before: tuple[Tensor | None, Tensor | None], weights: Tensor
    ) -> tuple[BandSums, BandSums | None]:
        """Return the sums of one network, and of its views one after the other if there are members."""
        window, num_views = self.window, self.window._num_views
        classes = window.num_classes
        network = self.networks[number]
        # Once for all batches, and not in inference mode: autocast keeps the weights that it has cast until
        # its end, and in inference mode it keeps none.
        with torch.inference_mode(False), torch.no_grad(), autocast(window.device, window.precision):
            sums = self._sums(classes + window.num_extra, plan, before[0])
            views = None if self.members is None else self._sums(num_views * classes, plan, before[1])
            for batch in plan.batches(window.tiles_per_batch):
                patches = self._patches(batch)
                passed = mirrored_logits(network, patches, window.mirror_axes, window.views_together)
                outputs: Iterable[Tensor] = self._counted(len(batch), passed)
                if views is not None:
                    outputs = list(outputs)
                    for view, output in enumerate(outputs):
                        self._add(views, batch, output[:, :classes], weights, view * classes)
                self._add(sums, batch, mean_in_order(outputs), weights)
        if self.members is not None and views is not None:
            rows = slice(plan.first, plan.finished)
            for view, logits in enumerate(views.finished.split(classes)):
                self.members.add(number * num_views + view, rows, logits)
        return sums, views

    def _patches(self, batch: Sequence[Tile]) -> Tensor:
        window = self.window
        patches = torch.stack([self.patches.patch(tile, window.patch_size) for tile in batch])
        if patches.device.type == "cpu" and window.device.type == "cuda":
            # From pinned memory the copy does not wait for what the GPU still has to do.
            return patches.pin_memory().to(window.device, non_blocking=True)
        return patches.to(window.device)

    def _add(
        self, sums: BandSums, batch: Sequence[Tile], logits: Tensor, weights: Tensor, first: int = 0
    ) -> None:
        for tile, of_tile in zip(batch, logits, strict=True):
            sums.add(tile, of_tile.to(self.sums_device, torch.float32) * weights, first)

    def _counted(self, tiles: int, outputs: Iterator[Tensor]) -> Iterator[Tensor]:
        for output in outputs:
            self.passes.add(tiles)
            yield output
