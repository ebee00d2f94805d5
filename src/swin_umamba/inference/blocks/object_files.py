"""The objects of an image in blocks, and their files: those of the whole image."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from swin_umamba.inference.blocks.object_maps import ObjectMaps
from swin_umamba.inference.blocks.statistics import finite
from swin_umamba.inference.objects import (
    INSTANCES,
    check_outlines,
    chosen_decoding,
    instances_path,
    outlines_path,
    table_path,
)
from swin_umamba.instances.decoding import ObjectClasses
from swin_umamba.instances.geojson import Add, geojson_file
from swin_umamba.instances.outlines import Polygon
from swin_umamba.instances.rois import rois_file
from swin_umamba.instances.table import ObjectTable
from swin_umamba.instances.tiles.decode import decode_over
from swin_umamba.instances.tiles.measure import MeasuredMap, Outlines, tables_over
from swin_umamba.instances.tiles.stored import Read, Region, StoredTiles, Workspace
from swin_umamba.instances.write import write_objects
from swin_umamba.pseudonyms import current
from swin_umamba.regions.label_files import create_labels, remove_labels
from swin_umamba.regions.labels import LabelGrid, LabelWriter
from swin_umamba.regions.source import RegionSource
from swin_umamba.tiling.tiles import moved

if TYPE_CHECKING:
    from swin_umamba.inference.options import FolderOptions
    from swin_umamba.inference.predictor import Predictor

logger = logging.getLogger(__name__)

_WORK = "objects"
Box = tuple[slice, slice, slice]


@dataclass(frozen=True)
class ObjectsInBlocks:
    """Finds the objects of an image whose blocks have been predicted, and writes their files.

    Attributes
    ----------
    predictor
        The model.
    labels
        The image's label map.
    case
        Name in the table.
    options
        Which files to write.
    """

    predictor: Predictor
    labels: Path
    case: str
    options: FolderOptions

    def check(self, source: RegionSource) -> None:
        """Refuse what cannot be written of an image, before it is predicted.

        Raises
        ------
        UsageError
            Outlines of a volume are wanted.
        """
        check_outlines(self.options, source.flat, source.path)

    def write(self, source: RegionSource, writer: LabelWriter, maps: ObjectMaps, folder: Path) -> None:
        """Write the files.

        Parameters
        ----------
        source, writer, maps
            The image, and what has been predicted of it.
        folder
            Folder for temporary files, of some 15 bytes a pixel, most of which background does not take.

        Raises
        ------
        DataError
            An object that has to be in memory as a whole is too large for that.
        OutputError
            Something cannot be written.
        """
        folder = folder / _WORK
        shutil.rmtree(folder, ignore_errors=True)
        classes = ObjectClasses.of(self.predictor.labels)
        decoding = chosen_decoding(self.predictor.model.decoding, self.options)
        flat = source.flat
        work = Workspace(folder, writer.grid.shape[1:] if flat else writer.grid.shape)
        labels = work.filled(writer.grid.dtype, _reads(lambda box: writer.read(*box), flat))
        depth = None if maps.depth is None else _reads(maps.depth.read, flat)
        instances, count = decode_over(
            work, labels.read, classes, decoding, min_size=self.options.min_size, depth=depth
        )
        logger.info("%d objects", count)
        self._write_map(source, writer.grid, work, instances, count)
        measured = MeasuredMap(
            work.shape,
            instances.read,
            labels.read,
            _reads(lambda box: self._pixels(source, box), flat),
            _reads(maps.foreground.read, flat),
            len(self.predictor.channel_names) * source.dtype.itemsize,
            _spacing(source),
        )
        with ExitStack() as stack:
            adders = []
            for kind, path in outlines_path(self.labels, self.options).items():
                add = stack.enter_context((geojson_file if kind == "geojson" else rois_file)(path))
                adders.append(self._on_whole_image(add, source) if kind == "geojson" else add)
            tables = tables_over(
                measured, classes, self.case, solidity=self.options.solidity, outlines=bool(adders)
            )
            write_objects(table_path(self.labels), _shown(tables, adders))
        shutil.rmtree(folder, ignore_errors=True)

    def _on_whole_image(self, add: Add, source: RegionSource) -> Add:
        """Return what adds outlines in pixels of the largest level of the whole image, as QuPath shows it."""
        _, y, x = self.options.region(source.shape[1:])
        _, *steps = source.levels[source.level].downsample
        corner, scale = np.array([x.start, y.start]), np.array(steps[::-1])
        if not corner.any() and (scale == 1).all():
            return add

        def moved_outlines(table: ObjectTable, outlines: Mapping[int, tuple[Polygon, ...]]) -> None:
            add(
                table,
                {
                    number: tuple(tuple((ring + corner) * scale for ring in polygon) for polygon in polygons)
                    for number, polygons in outlines.items()
                },
            )

        return moved_outlines

    def _write_map(
        self, source: RegionSource, labels: LabelGrid, work: Workspace, instances: StoredTiles, count: int
    ) -> None:
        dtype = np.dtype(np.uint16 if count <= np.iinfo(np.uint16).max else np.uint32)
        grid = replace(labels, dtype=dtype, names={}, colours={})
        path = instances_path(self.labels)
        remove_labels(path, name=INSTANCES)
        image = source.path if current() is None else None  # a link to it would name it
        writer = create_labels(path, grid, name=INSTANCES, image=image)
        for tile in work.tiles:
            values = instances.read(tile)
            writer.write(*_box(tile), values[None] if values.ndim == 2 else values)
        writer.finish()

    def _pixels(self, source: RegionSource, box: Box) -> np.ndarray:
        region = self.options.region(source.shape[1:])
        z, y, x = (moved(part, whole.start) for part, whole in zip(box, region, strict=True))
        pixels = finite(source.read(z, y, x), source, self.options.nonfinite)
        channels = len(self.predictor.channel_names)
        return pixels if len(pixels) == channels else np.repeat(pixels, channels, axis=0)


def _shown(tables: Iterator[tuple[ObjectTable, Outlines]], adders: Sequence[Add]) -> Iterator[ObjectTable]:
    for table, outlines in tables:
        for add in adders:
            add(table, outlines)
        yield table


def _reads(read: Callable[[Box], np.ndarray], flat: bool) -> Read:
    """Return what reads a flat image without its z axis, given what reads one with it."""
    if not flat:
        return lambda region: read(_box(region))
    return lambda region: read(_box(region))[..., 0, :, :]


def _box(region: Region) -> Box:
    z, y, x = (slice(0, 1), *region) if len(region) == 2 else region
    return z, y, x


def _spacing(source: RegionSource) -> tuple[float, ...] | None:
    """Return the size of a pixel in mm, if the file states it."""
    if source.spacing is None:
        return None
    return source.spacing[1:] if source.flat else source.spacing
