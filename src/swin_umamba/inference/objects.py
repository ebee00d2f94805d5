"""The objects of a prediction, and the files that hold them in a folder of predictions.

::

    instances/CASE.tif      the object number of each pixel (.nii.gz if there is geometry; for label maps
                            in OME-Zarr, labels/instances in their group)
    objects/CASE.csv        a line for each object
    objects/CASE.geojson    their outlines for QuPath, if wanted
    objects/CASE.zip        and for ImageJ
    objects.csv             the lines of all cases
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from swin_umamba.data.formats import number_suffix
from swin_umamba.data.image_io import Image, image_stem
from swin_umamba.errors import UsageError
from swin_umamba.instances.decoding import Decoding, ObjectClasses
from swin_umamba.instances.geojson import write_geojson
from swin_umamba.instances.outlines import outlines_of
from swin_umamba.instances.rois import write_rois
from swin_umamba.instances.table import ObjectTable, objects_of
from swin_umamba.instances.write import join_objects, write_instances, write_objects
from swin_umamba.regions.opening import stem_by_region

if TYPE_CHECKING:
    from swin_umamba.inference.options import FolderOptions, ObjectOptions
    from swin_umamba.inference.prediction import Prediction
    from swin_umamba.trained.volume import Volume

INSTANCES, OBJECTS = "instances", "objects"
OBJECTS_FILE = "objects.csv"
_TABLE = ".csv"
_SUFFIXES = {"geojson": ".geojson", "rois": ".zip"}


def true_instances(references: Path) -> Path | None:
    """Return the folder of true instance maps beside one of label maps (``instancesTr`` beside ``labelsTr``).

    None if there is no such folder.
    """
    beside = references.resolve()
    folder = beside.with_name(beside.name.replace("labels", INSTANCES))
    return folder if folder != beside and folder.is_dir() else None


def chosen_decoding(found: Decoding, options: ObjectOptions) -> Decoding:
    """Return how to turn classes into objects: as calibrated, or as the options say."""
    if options.split_distance is None:
        return found
    return replace(found, split_distance=options.split_distance or None)


def measure_objects(
    labels: np.ndarray,
    foreground: np.ndarray,
    volume: Volume,
    classes: ObjectClasses,
    decoding: Decoding,
    options: ObjectOptions,
    depth: np.ndarray | None = None,
) -> tuple[np.ndarray, ObjectTable]:
    """Return the instance map of a label map, and the table of its objects.

    Parameters
    ----------
    labels
        ``(y, x)`` or ``(z, y, x)``.
    foreground
        Probability of not being background, in the same shape.
    volume
        The volume that was segmented.
    classes, decoding, options
        See ``instances.decoding`` and ``inference.options``.
    depth
        Depth within objects, if the model predicts it.
    """
    instances, class_of_each = classes.decode(labels, decoding, min_size=options.min_size, depth=depth)
    image = volume.data[:, 0] if volume.flat else volume.data
    table = objects_of(
        instances,
        classes=class_of_each,
        class_names=classes.names,
        image=image,
        probability=foreground,
        spacing=_spacing(volume),
        solidity=options.solidity,
    )
    return instances, table


def _spacing(volume: Volume) -> tuple[float, ...] | None:
    """Return the size of a pixel in mm, if a file states it."""
    if volume.source is not None:
        return volume.source.spacing if volume.source.has_spacing else None
    if volume.spacing is None:
        return None
    return volume.spacing[1:] if volume.flat else volume.spacing


def object_files(labels: Path, options: FolderOptions) -> list[Path]:
    """Return the object files of the prediction with this label map; none if not wanted."""
    if not options.with_objects:
        return []
    instances = instances_path(labels)
    return [
        *([] if instances == labels else [instances]),
        table_path(labels),
        *outlines_path(labels, options).values(),
    ]


def table_path(labels: Path) -> Path:
    """Return the table of objects of the prediction with this label map."""
    return _path_of(labels, _TABLE)


def outlines_path(labels: Path, options: FolderOptions) -> dict[str, Path]:
    """Return the file of each kind of outlines that is wanted."""
    return {kind: _path_of(labels, _SUFFIXES[kind]) for kind in options.objects or ()}


def _path_of(labels: Path, suffix: str) -> Path:
    stem = stem_by_region(labels) if _is_zarr(labels) else image_stem(labels)
    return labels.parent / OBJECTS / f"{stem}{suffix}"


def _is_zarr(labels: Path) -> bool:
    return labels.name.lower().endswith(".zarr")


def instances_path(labels: Path) -> Path:
    """Return the file of the instance map of the prediction with this label map.

    In OME-Zarr it is the group of the label map itself, which holds both.
    """
    if _is_zarr(labels):
        return labels
    return labels.parent / INSTANCES / f"{image_stem(labels)}{number_suffix(labels)}"


def check_outlines(options: FolderOptions, flat: bool, where: Path | None) -> None:
    """Raise ``UsageError`` if outlines of a volume are requested."""
    if options.objects and not flat:
        raise UsageError(
            "QuPath and ImageJ take outlines of pictures, this is a volume",
            where=where,
            hint="leave out --objects",
        )


def write_case_objects(
    prediction: Prediction, image: Image, labels: Path, case: str, options: FolderOptions
) -> None:
    """Write the object files of a case.

    Raises
    ------
    UsageError
        If outlines of a volume are requested.
    DataError, OutputError
        If a file cannot be written.
    """
    assert prediction.instances is not None
    assert prediction.objects is not None
    table = replace(prediction.objects, case=case)
    check_outlines(options, prediction.instances.ndim == 2, image.path)
    if options.objects:
        outlines = outlines_of(prediction.instances)
        for kind, path in outlines_path(labels, options).items():
            write = write_geojson if kind == "geojson" else write_rois
            write(path, table, outlines)
    write_objects(table_path(labels), [table])
    write_instances(instances_path(labels), prediction.instances, image)


def write_all_objects(folder: Path, labels: Sequence[Path]) -> None:
    """Write ``objects.csv`` with the lines of those of these cases that have been predicted."""
    files = [path for path in map(table_path, labels) if path.exists()]
    if files:
        join_objects(folder / OBJECTS_FILE, files)
