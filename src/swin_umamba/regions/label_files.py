"""Begin a label map that is written by region, or go on with one."""

from __future__ import annotations

import shutil
from pathlib import Path

from swin_umamba.errors import UsageError
from swin_umamba.regions.labels import LabelGrid, LabelWriter
from swin_umamba.regions.ome_zarr_labels import OmeZarrLabelWriter, label_folder
from swin_umamba.regions.tiff_labels import TiffLabelWriter, remove_tiff


def create_labels(
    path: str | Path, grid: LabelGrid, *, name: str = "segmentation", image: str | Path | None = None
) -> LabelWriter:
    """Begin a label map.

    Parameters
    ----------
    path
        A file ``.tif`` or ``.tiff``, or a folder ``.zarr``: an image in OME-Zarr, which gets the labels in
        its own format, or a new one.
    grid
        What is written.
    name
        Name of the labels in the folder: they lie in ``labels/NAME``.
    image
        The image that they were made of, for a new folder; its path is written relative to them.

    Raises
    ------
    OutputError
        There are labels of this name already, or nothing can be written there.
    UsageError
        The path is neither, or a library is missing.
    """
    path = Path(path)
    if is_label_tiff(path):
        return TiffLabelWriter.create(path, grid, Path(image) if image is not None else None)
    return OmeZarrLabelWriter.create(_folder(path), name, grid, Path(image) if image is not None else None)


def open_labels(path: str | Path, *, name: str = "segmentation") -> LabelWriter:
    """Go on with a label map that ``create_labels`` began and that is not finished.

    Raises
    ------
    OutputError
        There is none.
    """
    path = Path(path)
    return TiffLabelWriter(path) if is_label_tiff(path) else OmeZarrLabelWriter(_folder(path), name)


def remove_labels(path: str | Path, *, name: str = "segmentation") -> None:
    """Remove a label map, finished or not, of which there may be none."""
    path = Path(path)
    if is_label_tiff(path):
        remove_tiff(path)
    else:
        shutil.rmtree(label_folder(path, name), ignore_errors=True)


def labels_exist(path: str | Path, *, name: str = "segmentation") -> bool:
    """Return whether there is a label map, finished or not."""
    path = Path(path)
    return path.exists() if is_label_tiff(path) else label_folder(path, name).exists()


def is_label_tiff(path: Path) -> bool:
    """Return whether labels of this path become a TIFF file."""
    return path.name.lower().endswith((".tif", ".tiff"))


def _folder(path: Path) -> Path:
    if not path.name.lower().endswith(".zarr") and not path.is_dir():
        raise UsageError(
            "labels that are written by region are OME-Zarr or TIFF",
            where=path,
            hint="name the output .zarr or .tif",
        )
    return path
