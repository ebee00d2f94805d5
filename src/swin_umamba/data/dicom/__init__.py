"""DICOM: a file, or a folder with the files of a series, read into one image.

Only pydicom's parser and imagecodecs' decoders see the bytes. Modules: ``files`` (which files of a folder
count), ``elements`` (the encoding), ``storage`` and ``planes`` (what a header says about pixels and about one
image), ``copies`` (which files are there twice), ``series`` (which images belong together), ``volume`` (the
grid that they form), and ``pixels`` (the values), which relies on ``codestreams`` (compression) and
``colours``; ``segmentation`` reads what others have segmented.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from swin_umamba.data.dicom.copies import tell_copies, without_copies
from swin_umamba.data.dicom.files import holds_dicom, is_dicom, is_dicom_folder, may_be_dicom
from swin_umamba.data.dicom.pixels import read_values
from swin_umamba.data.dicom.planes import Plane
from swin_umamba.data.dicom.segmentation import find_segmentation, is_segmentation_folder, read_segmentation
from swin_umamba.data.dicom.series import (
    ChosenSeries,
    SeriesFiles,
    choice_of,
    planes_of_file,
    planes_of_folder,
    planes_of_series,
)
from swin_umamba.data.dicom.volume import Grid, arrange, choose_volume
from swin_umamba.data.image import MAX_VOXELS, Image
from swin_umamba.errors import DataError
from swin_umamba.pseudonyms import hide_below

logger = logging.getLogger(__name__)

__all__ = [
    "ChosenSeries",
    "SeriesFiles",
    "find_segmentation",
    "holds_dicom",
    "is_dicom",
    "is_dicom_folder",
    "is_segmentation_folder",
    "may_be_dicom",
    "read_dicom",
    "read_grid",
    "read_segmentation",
]


def read_dicom(
    path: Path, *, indexed: bool = False, max_voxels: int = MAX_VOXELS, series: ChosenSeries | None = None
) -> Image:
    """Read a DICOM file, or one series from a folder and its subfolders.

    Parameters
    ----------
    path
        A file with one image or, for enhanced objects, many; or a folder.
    indexed
        Whether to return the indices of palette pictures instead of their colours.
    max_voxels
        Largest number of voxels, all channels together; images with more are refused before memory is
        allocated.
    series
        UID or number of the series, required for folders with more than one; or its files. For a series
        with several volumes, ``UID:NAME=VALUE`` selects the images whose element NAME is VALUE, as listed by
        the error; the UID or number before the colon may be omitted.

    Returns
    -------
    Image
        ``(channels, z, y, x)`` with slices along the normal of their plane, or ``(channels, y, x)`` for a
        single image. Values are rescaled, slice by slice: Hounsfield units in CT, Bq/ml in PET whose
        ``Units`` are BQML. Positions are NIfTI's, with x and y reversed relative to DICOM.

    Raises
    ------
    DataError
        The images do not form a volume, a file is damaged, or something is not supported.
    """
    path = Path(path)
    hide_below(path)  # such folders and files are called after patients
    planes, copies = _chosen_planes(path, series)
    tell_copies(copies, path)
    first = planes[0].storage
    voxels = len(planes) * first.rows * first.columns * (1 if first.photometric.startswith("MONO") else 3)
    if voxels > max_voxels:
        raise DataError(
            f"the image has {voxels} voxels; the limit is {max_voxels}",
            where=path,
            hint="crop or resample the image; if it is not that large, a file is damaged",
        )
    grid = arrange(planes, path)
    units = planes[0].series.units
    if planes[0].series.modality == "PT" and units != "BQML":
        logger.warning("%s: the values of this PET are in %s, not in Bq/ml", path, units or "unknown units")
    data = read_values(grid.planes, indexed=indexed)
    data = data if len(planes) > 1 else data[:, 0]
    return grid.image(data, path, frame_of_reference=planes[0].frame_of_reference)


def read_grid(path: Path, series: ChosenSeries | None = None) -> Grid:
    """Return the images of a file or of one series in a folder as ``read_dicom`` orders them, without pixels.

    Parameters and errors are those of ``read_dicom``.
    """
    planes, _ = _chosen_planes(path, series)  # reading the pixels tells of copies
    return arrange(planes, path)


def _chosen_planes(path: Path, series: ChosenSeries | None) -> tuple[Sequence[Plane], int]:
    """Return the images, and the number of files that were left out as copies of others."""
    chosen, conditions = choice_of(series)
    if isinstance(chosen, SeriesFiles):
        found = planes_of_series(chosen, path)
    else:
        found = planes_of_folder(path, chosen) if path.is_dir() else planes_of_file(path.resolve())
    planes = without_copies(found, path)
    copies = len({plane.path for plane in found}) - len({plane.path for plane in planes})
    return choose_volume(planes, conditions, path), copies
