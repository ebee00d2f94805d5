"""A large image to predict in blocks: everything that a process needs to know, and what it did."""

from __future__ import annotations

import hashlib
import platform
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from swin_umamba.data.tissue import CELL
from swin_umamba.errors import UsageError
from swin_umamba.inference.blocks.division import Block
from swin_umamba.inference.blocks.object_maps import ObjectMaps
from swin_umamba.inference.blocks.patches import SourcePatches, normalizers_of
from swin_umamba.inference.blocks.statistics import ImageStatistics
from swin_umamba.inference.inputs import takes_colours, wrong_channels
from swin_umamba.inference.stages import labels_of_bands
from swin_umamba.ops.backend import current_device
from swin_umamba.regions.labels import LabelWriter
from swin_umamba.regions.source import RegionSource
from swin_umamba.tiling.bands import Band
from swin_umamba.tiling.tiles import Tile, TileGrid, moved

if TYPE_CHECKING:
    from swin_umamba.inference.predictor import Predictor


@dataclass(frozen=True)
class BlockJob:
    """An image to predict in blocks; pickles, so that other processes can work on it.

    Attributes
    ----------
    source, writer
        The image, and its label map.
    statistics
        Those of the image.
    origin
        Place of the label map's first pixel in the image, (Z, Y, X).
    only_tissue
        Whether pixels in cells without tissue are background, and tiles without tissue left out.
    nonfinite
        Whether to ``refuse`` NaN and infinity, or to take them for ``zero``.
    maps
        What is kept to find objects; None if none are wanted.
    """

    source: RegionSource
    writer: LabelWriter
    statistics: ImageStatistics
    origin: tuple[int, int, int] = (0, 0, 0)
    only_tissue: bool = False
    nonfinite: str = "refuse"
    maps: ObjectMaps | None = None


@dataclass(frozen=True)
class BlockResult:
    """What a process did.

    Attributes
    ----------
    number
        The block's.
    digest
        SHA-256 of its labels, and of what is kept to find objects.
    tiles
        Tiles predicted for it.
    seconds
        Time taken.
    hardware
        What predicted it: labels are compared bit for bit only between equal ones.
    """

    number: int
    digest: str
    tiles: int
    seconds: float
    hardware: str


class BlockWorker:
    """Predicts blocks of one image with one model.

    Parameters
    ----------
    predictor
        The model.
    job
        The image.

    Raises
    ------
    UsageError
        If the model cannot predict an image in parts.
    DataError
        If it takes other channels.
    """

    def __init__(self, predictor: Predictor, job: BlockJob) -> None:
        self._predictor, self._job = predictor, job
        check_divisible(predictor, job.source)
        self._patches = SourcePatches(
            job.source,
            job.statistics.box,
            normalizers_of(predictor.plans, job.statistics),
            field_of(predictor) if job.statistics.basis == "field" else None,
            job.nonfinite,
        )

    def run(self, block: Block, on_progress: Callable[[float], None] | None = None) -> BlockResult:
        """Predict a block, and write it."""
        start = time.perf_counter()
        found, tiles = self._predicted(block, on_progress)
        self._job.writer.write(*block.region, found[0])
        if self._job.maps is not None:
            self._job.maps.write(block.number, found[1], found[2] if len(found) > 2 else None)
        seconds = round(time.perf_counter() - start, 3)
        return BlockResult(block.number, digest_of(*found), tiles, seconds, hardware(self._predictor.device))

    def _predicted(
        self, block: Block, on_progress: Callable[[float], None] | None
    ) -> tuple[list[np.ndarray], int]:
        """Return labels ``(z, y, x)`` of a block and what is kept beside them, and the number of tiles."""
        job, predictor, window = self._job, self._predictor, self._predictor.window
        size = tuple(part.stop - part.start for part in block.region)
        out = [np.zeros(size, job.writer.grid.dtype)]
        if job.maps is not None:
            out += [np.zeros(size, np.float32) for _ in range(1 if job.maps.depth is None else 2)]
        in_image = [moved(part, by) for part, by in zip(block.region, job.origin, strict=True)]
        kept = [_common(part, whole) for part, whole in zip(in_image, job.statistics.box, strict=True)]
        if any(part.start >= part.stop for part in kept):
            return out, 0
        z, y, x = (moved(part, -whole.start) for part, whole in zip(kept, job.statistics.box, strict=True))
        wanted = self._has_tissue if job.only_tissue else None
        tiles = TileGrid(self._patches.image_size, window.patch_size, window.step_size, (z, y, x)).tiles
        count = len(tiles) if wanted is None else sum(map(wanted, tiles))
        inside = tuple(moved(part, -first.start) for part, first in zip(kept, in_image, strict=True))
        with current_device(predictor.device), predictor.networks.returning_depth(len(out) > 2) as num_extra:
            bands = replace(window, num_extra=num_extra).bands_of_region(
                predictor.networks,
                self._patches,
                (z, y, x),
                wanted=wanted,
                on_progress=on_progress,
                one_band=not predictor.networks.all_at_hand,
            )
            self._decide(bands, [each[inside] for each in out])
        if job.only_tissue:
            tissue = self._tissue_in(kept)
            for each in out:
                each[inside] *= tissue
        return out, count

    def _decide(self, bands: Iterable[Band], out: list[np.ndarray]) -> None:
        plans, path = self._predictor.plans, self._predictor.model.path
        labels, *maps = out
        size = labels.shape
        whole = {"shape_before_cropping": size, "bbox_used_for_cropping": [(0, length) for length in size]}
        labels[:] = labels_of_bands(bands, plans.label_map(whole), path, *maps)

    def _has_tissue(self, tile: Tile) -> bool:
        assert self._job.statistics.tissue is not None
        z, y, x = (
            moved(part, whole.start) for part, whole in zip(tile.box, self._job.statistics.box, strict=True)
        )
        return bool(self._job.statistics.tissue[z, _cells(y), _cells(x)].any())

    def _tissue_in(self, region: list[slice]) -> np.ndarray:
        """Return whether each pixel of a part of the image lies in a cell of tissue."""
        assert self._job.statistics.tissue is not None
        z, y, x = region
        rows, columns = (np.arange(part.start, part.stop) // CELL for part in (y, x))
        return self._job.statistics.tissue[z][:, rows][:, :, columns]


def block_work(make: Callable[[], Predictor], job: BlockJob) -> Callable[[Block], BlockResult]:
    """Return what predicts a block, in another process, where its predictor is made."""
    return BlockWorker(make(), job).run


def check_divisible(predictor: Predictor, source: RegionSource) -> None:
    """Refuse models and images whose prediction needs the whole image."""
    plans = predictor.plans
    if predictor.postprocessing:
        raise UsageError(
            "the model's postprocessing needs the whole image",
            where=source.path,
            hint="leave it out with --no-postprocessing",
        )
    if not plans.keeps_axes:
        raise UsageError(
            "the model takes the axes of images in another order; such images are not predicted in blocks",
            where=source.path,
            hint="predict images that fit into memory, without --blocks",
        )
    channels, names = source.shape[0], plans.channel_names
    if channels != len(names) and not (channels == 1 and takes_colours(names)):
        raise wrong_channels(channels, names, source.path)


def field_of(predictor: Predictor) -> tuple[int, int]:
    """Return height and width of the model's typical training image, in pixels: the field that it knows."""
    size = predictor.plans.configuration.median_image_size_in_voxels
    height, width = (max(int(each), 1) for each in size[-2:])
    return height, width


def digest_of(*arrays: np.ndarray) -> str:
    """Return the SHA-256 of the values of arrays."""
    digest = hashlib.sha256()
    for each in arrays:
        digest.update(np.ascontiguousarray(each).data)
    return digest.hexdigest()


def hardware(device: torch.device) -> str:
    """Return what computes, and with which PyTorch."""
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
    else:
        name = f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}"
    return f"{name}, PyTorch {torch.__version__}"


def _cells(part: slice) -> slice:
    return slice(part.start // CELL, -(-part.stop // CELL))


def _common(part: slice, whole: slice) -> slice:
    return slice(max(part.start, whole.start), min(part.stop, whole.stop))
