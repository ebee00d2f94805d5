"""Predict one image of any size: blocks, their processes, their record, and the label map."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from swin_umamba.data.tissue import tells_tissue
from swin_umamba.errors import DataError, SwinUMambaError
from swin_umamba.inference.blocks.division import Block, blocks_of
from swin_umamba.inference.blocks.finished_blocks import FinishedBlocks
from swin_umamba.inference.blocks.job import BlockJob, BlockResult, BlockWorker, block_work, check_divisible
from swin_umamba.inference.blocks.object_files import ObjectsInBlocks
from swin_umamba.inference.blocks.object_maps import ObjectMaps
from swin_umamba.inference.blocks.pixel_size import check_pixel_size, nearest_level
from swin_umamba.inference.blocks.statistics import (
    Basis,
    ImageStatistics,
    statistics_of,
    tells_background,
    warn_of_background,
)
from swin_umamba.inference.parts import Part, claim_of, not_predicted
from swin_umamba.inference.processes import MakeWork, run_in_processes
from swin_umamba.progress import passing_bar
from swin_umamba.pseudonyms import current, hidden
from swin_umamba.regions.label_files import create_labels, labels_exist, open_labels, remove_labels
from swin_umamba.regions.labels import LabelGrid, LabelWriter
from swin_umamba.regions.opening import open_region_source
from swin_umamba.regions.source import RegionSource
from swin_umamba.report.palette import class_colour
from swin_umamba.tiling.tiles import TileGrid

if TYPE_CHECKING:
    from swin_umamba.inference.options import FolderOptions
    from swin_umamba.inference.predictor import Predictor

logger = logging.getLogger(__name__)

_Outcome = tuple[Block, BlockResult | SwinUMambaError]
NAME = "segmentation"
"""Name of the labels in OME-Zarr."""
CHUNK = 512
"""Side of a chunk of the label map."""
BLOCKS_PER_WORKER = 4


def predict_large(
    predictor: Predictor,
    path: Path,
    labels: Path,
    options: FolderOptions,
    identity: str,
    part: Part | None = None,
    objects: ObjectsInBlocks | None = None,
) -> bool:
    """Predict an image in blocks and write its label map; continue what an earlier run has begun.

    Parameters
    ----------
    predictor
        The model.
    path
        The image; see ``open_region_source``.
    labels
        File or folder of the label map. The record of the blocks is beside it, in ``blocks``.
    options
        Options of the prediction. With ``merge`` nothing is predicted, but the label map of parts that have
        ended is finished.
    identity
        Fingerprint of image, model and options: what an earlier run with another one has begun is replaced.
    part
        Predict only the blocks of this part; the last part finishes the label map. Without it, the caller
        keeps others from the label map.
    objects
        What finds and writes the objects; None if they are not wanted.

    Returns
    -------
    bool
        Whether the label map is finished.

    Raises
    ------
    UsageError
        If model, image and options do not go together.
    DataError
        If the image is damaged, or a block could not be predicted; finished blocks are kept.
    OutputError
        If something cannot be written.
    """
    level = nearest_level(predictor, path, options.series) if options.rescale else options.level
    with open_region_source(path, level, options.series) as source:
        image = _LargeImage(predictor, source, labels, options, identity, part, objects)
        return image.merge() if options.merge else image.predict()


class _LargeImage:
    def __init__(
        self,
        predictor: Predictor,
        source: RegionSource,
        labels: Path,
        options: FolderOptions,
        identity: str,
        part: Part | None,
        objects: ObjectsInBlocks | None,
    ) -> None:
        self._predictor, self._source, self._path, self._part = predictor, source, labels, part
        self._options, self._identity, self._objects = options, identity, objects
        self._finished = FinishedBlocks(labels.parent / "blocks" / labels.name)
        if objects is not None:
            objects.check(source)
        check_divisible(predictor, source)
        check_pixel_size(predictor, source)
        self._region = options.region(source.shape[1:])
        self._size = tuple(part.stop - part.start for part in self._region)

    def merge(self) -> bool:
        """Finish the label map whose blocks parts have predicted."""
        blocks = self._finished.division(self._identity)
        writer = None if blocks is None else self._begun()
        if blocks is None or writer is None:
            raise not_predicted(self._source.path)
        maps = self._maps(blocks)
        if missing := self._finished.missing(blocks, writer, maps):
            raise not_predicted(self._source.path, f"{len(missing)} of {len(blocks)} blocks have")
        self._finish(writer, maps)
        return True

    def predict(self) -> bool:
        """Predict what is missing of all or of the part, and finish the label map if nothing else is."""
        basis = self._basis()
        with passing_bar("reading the image", total=100, unit="%") as bar:
            statistics = statistics_of(
                self._source,
                basis,
                find_tissue=self._options.tissue
                or tells_background(self._predictor.plans, self._source, basis),
                nonfinite=self._options.nonfinite,
                on_progress=lambda done: bar.update(100 * done - bar.n),
            )
        warn_of_background(self._predictor.plans, self._source, statistics)
        with self._alone():
            begun = self._begin(statistics)
        if begun is None:
            return True
        blocks, writer = begun
        z, y, x = self._region
        job = BlockJob(
            self._source,
            writer,
            statistics,
            (z.start, y.start, x.start),
            self._options.tissue,
            self._options.nonfinite,
            maps := self._maps(blocks),
        )
        own = blocks if self._part is None else self._part.of(blocks)
        missing = self._finished.missing(own, writer, maps)
        if len(missing) < len(own):
            logger.info("%d of %d blocks are finished already", len(own) - len(missing), len(own))
        self._run(job, missing, len(own))
        with self._alone():
            if self._part is not None:
                if not self._finished.have_records(blocks):
                    return False
                if self._begun() is None:
                    return True  # another part has just finished it
                if self._finished.missing(blocks, writer, maps):
                    return False
            self._finish(writer, maps)
        self._tell(blocks, statistics)
        return True

    def _maps(self, blocks: Sequence[Block]) -> ObjectMaps | None:
        if self._objects is None:
            return None
        return ObjectMaps.beside(self._finished.folder, blocks, self._predictor.knows_depth)

    def _finish(self, writer: LabelWriter, maps: ObjectMaps | None) -> None:
        """Write what depends on all blocks, the metadata of the labels last."""
        if self._objects is not None and maps is not None:
            self._objects.write(self._source, writer, maps, self._finished.folder)
        writer.finish()
        if maps is not None:
            maps.remove()

    def _alone(self) -> AbstractContextManager[None]:
        """Keep other parts from the label map as a whole; without parts, the caller does so."""
        return nullcontext() if self._part is None else claim_of(self._path).held_when_free()

    def _begin(self, statistics: ImageStatistics) -> tuple[list[Block], LabelWriter] | None:
        """Return all blocks and the label map, of an earlier run if it was the same.

        None if other parts have finished the label map.
        """
        blocks = self._finished.division(self._identity)
        writer = None if blocks is None else self._begun()
        if blocks is not None and writer is not None:
            return blocks, writer
        if self._part is not None and blocks is not None and labels_exist(self._path, name=NAME):
            return None
        blocks = self._division()
        remove_labels(self._path, name=NAME)
        image = self._source.path if current() is None else None  # a link to it would name it
        writer = create_labels(self._path, self._grid(), name=NAME, image=image)
        self._finished.begin(self._identity, blocks, self._about(statistics))
        return blocks, writer

    def _begun(self) -> LabelWriter | None:
        """Return the label map that an earlier run has begun; None if it is not there, or finished."""
        try:
            return open_labels(self._path, name=NAME)
        except SwinUMambaError:
            logger.debug("no label map to go on with", exc_info=True)
            return None

    def _run(self, job: BlockJob, missing: Sequence[Block], total: int) -> None:
        failed: dict[int, SwinUMambaError] = {}
        with passing_bar("predicting", total=total, unit="block") as bar:
            bar.update(total - len(missing))
            for block, result in self._results(job, missing, bar.update):
                if isinstance(result, SwinUMambaError):
                    failed[block.number] = result
                    logger.warning("block %d: %s", block.number, result)
                else:
                    self._finished.add(result)
        if failed:
            first = next(iter(failed.values()))
            raise DataError(
                f"{len(failed)} of {total} blocks could not be predicted; the first error: {first.what}",
                where=first.where,
                hint="mend the cause and repeat the command: finished blocks are kept",
            )

    def _results(
        self, job: BlockJob, missing: Sequence[Block], done: Callable[[float], object]
    ) -> Iterator[_Outcome]:
        elsewhere = self._elsewhere(job, missing)
        if elsewhere is not None:
            for each in elsewhere:
                done(1)
                yield each
            return
        worker = BlockWorker(self._predictor, job)
        for block in missing:
            shown = 0.0

            def show(part: float) -> None:
                nonlocal shown
                done(part - shown)
                shown = part

            try:
                result: BlockResult | SwinUMambaError = worker.run(block, show)
            except DataError as error:
                result = error
            done(1 - shown)
            yield block, result

    def _elsewhere(self, job: BlockJob, missing: Sequence[Block]) -> Iterator[_Outcome] | None:
        """Return the results of other processes; None if this one predicts the blocks itself."""
        address, where = self._options.scheduler, self._source.path
        workers = min(self._options.workers, len(missing))

        def make(number: int) -> MakeWork[Block, BlockResult]:
            return partial(block_work, self._predictor.in_another_process(number), job)

        if address is not None and missing:
            from swin_umamba.inference.cluster import run_on_cluster

            return run_on_cluster(make(0), missing, self._identity, address, workers, where)
        return run_in_processes(make, missing, workers, where) if workers > 1 else None

    def _basis(self) -> Basis:
        if self._options.statistics is not None:
            return self._options.statistics
        is_pyramid = len(self._source.levels) > 1
        return "tissue" if is_pyramid and tells_tissue(self._source.dtype) else "image"

    def _division(self) -> list[Block]:
        window = self._predictor.window
        unit = (1, CHUNK, CHUNK)
        workers = self._options.workers * (1 if self._part is None else self._part.count)
        return blocks_of(
            self._size,
            unit,
            window.patch_size,
            window.step_size,
            4 * (window.num_classes + (1 if self._objects is None else 4)),
            BLOCKS_PER_WORKER * workers if workers > 1 or self._options.scheduler else 1,
        )

    def _grid(self) -> LabelGrid:
        values = self._predictor.plans.label_values
        grid = LabelGrid.like(
            self._source,
            np.dtype(np.uint8 if max(values.values()) < 256 else np.uint16),
            (1, CHUNK, CHUNK),
            {value: name for name, value in values.items()},
            {value: class_colour(value) for value in values.values()},
        )
        return grid if self._options.roi is None else grid.part(*self._region)

    def _about(self, statistics: ImageStatistics) -> dict[str, Any]:
        return {
            "image": hidden(self._source.path.name) if self._source.path else "",
            "level": self._source.level,
            "region": [[part.start, part.stop] for part in self._region],
            "statistics": statistics.basis,
            "mean": [channel.mean for channel in statistics.channels],
            "deviation": [channel.deviation for channel in statistics.channels],
            "background": statistics.background,
            "threshold": statistics.threshold,
            "only_tissue": self._options.tissue,
        }

    def _tell(self, blocks: Sequence[Block], statistics: ImageStatistics) -> None:
        window = self._predictor.window
        box = tuple(part.stop - part.start for part in statistics.box)
        logger.info(
            "%d blocks, %d tiles (the image has %d), normalized by the statistics of the %s",
            len(blocks),
            sum(result.tiles for result in self._finished.results(blocks)),
            len(TileGrid(box, window.patch_size, window.step_size).tiles),
            statistics.basis,
        )
