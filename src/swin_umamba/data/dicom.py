"""DICOM series: a folder of slices, through SimpleITK, checked to be one complete volume."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from swin_umamba.data.image import MAX_VOXELS, Image
from swin_umamba.errors import DataError

# A DICOM file has this word after 128 free bytes.
_MAGIC = b"DICM"
_MAGIC_OFFSET = 128
_SERIES, _POSITION, _ORIENTATION = "0020|000e", "0020|0032", "0020|0037"
_ROWS, _COLUMNS, _FRAMES, _BITS = "0028|0010", "0028|0011", "0028|0008", "0028|0100"
_SYNTAX = "0002|0010"
_UNCOMPRESSED = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2")
# Distances between slices may differ by this part of their median, for rounded positions.
DISTANCE_TOLERANCE = 0.02
_DAMAGED = "copy or export the series again"


@dataclass(frozen=True)
class _Slice:
    path: Path
    size: tuple[int, int]  # columns, rows
    position: tuple[float, ...]
    orientation: tuple[float, ...]


def is_dicom_folder(folder: Path) -> bool:
    """Return whether a folder holds DICOM files directly."""
    return folder.is_dir() and any(_is_dicom(path) for path in folder.iterdir())


def read_dicom_series(folder: Path) -> Image:
    """Read the one series that a folder holds.

    Returns
    -------
    Image
        ``(channels, z, y, x)``, slices along the normal of their plane; ``(channels, y, x)`` for one slice.
        Positions are NIfTI's, with x and y the other way round than in DICOM.

    Raises
    ------
    DataError
        There is no series or more than one, slices are missing, doubled, sheared or of several sizes, or a
        file is damaged.
    """
    paths = sorted(path for path in folder.iterdir() if _is_dicom(path))
    if not paths:
        raise DataError(
            "this is not a file, nor a folder of DICOM files", where=folder, cure="check the path"
        )
    try:
        slices = _sorted_slices(folder, paths)
        reader = sitk.ImageSeriesReader()
        reader.SetFileNames([str(each.path) for each in slices])
        volume = reader.Execute()
    except RuntimeError as error:  # all that SimpleITK raises
        reason = str(error).strip().splitlines()[-1]
        raise DataError(f"the DICOM series cannot be read: {reason}", where=folder, cure=_DAMAGED) from error
    return _as_image(folder, slices, volume)


def _is_dicom(path: Path) -> bool:
    if path.name.startswith(".") or not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(_MAGIC_OFFSET + len(_MAGIC))[_MAGIC_OFFSET:] == _MAGIC


def _sorted_slices(folder: Path, paths: Sequence[Path]) -> list[_Slice]:
    """Return the slices along the normal of their plane, or refuse them."""
    series: dict[str, list[_Slice]] = {}
    for path in paths:
        uid, each = _read_header(path)
        series.setdefault(uid, []).append(each)
    if len(series) > 1:
        counts = ", ".join(f"{uid} ({len(slices)} files)" for uid, slices in series.items())
        raise DataError(
            f"the folder holds {len(series)} series: {counts}",
            where=folder,
            cure="move each series into a folder of its own",
        )
    slices = next(iter(series.values()))
    sizes, orientations = {each.size for each in slices}, {each.orientation for each in slices}
    if len(sizes) > 1:
        raise DataError(f"the slices have several sizes: {sorted(sizes)}", where=folder, cure=_DAMAGED)
    if len(slices) * math.prod(slices[0].size) > MAX_VOXELS:
        raise DataError("the series is too large", where=folder, cure="crop it")
    if len(slices) == 1:
        return slices
    first = np.array(slices[0].orientation)
    if any(not np.allclose(first, orientation, atol=1e-3) for orientation in orientations):
        raise DataError("the slices have several orientations", where=folder, cure="export one series only")
    normal = np.cross(first[:3], first[3:])
    slices = sorted(slices, key=lambda each: float(np.dot(each.position, normal)))
    _check_distances(folder, slices, normal)
    return slices


def _read_header(path: Path) -> tuple[str, _Slice]:
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    reader.ReadImageInformation()

    def text(key: str, default: str) -> str:
        return reader.GetMetaData(key).strip(" \0") if reader.HasMetaDataKey(key) else default

    try:
        rows, columns, frames, bits = (
            int(text(key, default))
            for key, default in ((_ROWS, ""), (_COLUMNS, ""), (_FRAMES, "1"), (_BITS, ""))
        )
        position = tuple(float(each) for each in text(_POSITION, "0\\0\\0").split("\\"))
        orientation = tuple(float(each) for each in text(_ORIENTATION, "1\\0\\0\\0\\1\\0").split("\\"))
    except ValueError as error:
        raise DataError(f"the DICOM header is damaged: {error}", where=path, cure=_DAMAGED) from error
    if frames != 1:
        raise DataError(
            f"the file holds {frames} frames", where=path, cure="export it with a slice a file, or as NIfTI"
        )
    if len(position) != 3 or len(orientation) != 6 or not np.isfinite((*position, *orientation)).all():
        raise DataError("the DICOM header gives no valid position", where=path, cure=_DAMAGED)
    if text(_SYNTAX, "") in _UNCOMPRESSED and path.stat().st_size < rows * columns * (bits // 8):
        raise DataError("pixels are missing at the end of the file", where=path, cure=_DAMAGED)
    return text(_SERIES, ""), _Slice(path, (columns, rows), position, orientation)


def _check_distances(folder: Path, slices: Sequence[_Slice], normal: np.ndarray) -> None:
    steps = np.diff([each.position for each in slices], axis=0)
    distances = steps @ normal
    usual = float(np.median(distances))
    doubled = int(np.count_nonzero(distances < 1e-3))
    if doubled:
        raise DataError(
            f"{doubled} slices lie at the place of another one",
            where=folder,
            cure="export one time point or echo only; without positions in the files, export again",
        )
    uneven = np.flatnonzero(np.abs(distances - usual) > DISTANCE_TOLERANCE * usual)
    if len(uneven):
        after = slices[int(uneven[0])].path.name
        raise DataError(
            f"the slices are not evenly spaced: {distances[uneven[0]]:.4g} mm after {after}, "
            f"mostly {usual:.4g} mm",
            where=folder,
            cure="copy the missing slices, or resample the volume",
        )
    sideways = float(np.abs(steps - distances[:, None] * normal).max())
    if sideways > DISTANCE_TOLERANCE * usual:
        raise DataError(
            f"the slices are shifted against each other by {sideways:.4g} mm (a tilted gantry)",
            where=folder,
            cure="resample the volume to a straight grid",
        )


def _as_image(folder: Path, slices: Sequence[_Slice], volume: sitk.Image) -> Image:
    array = sitk.GetArrayFromImage(volume)
    channels = volume.GetNumberOfComponentsPerPixel()
    data = np.moveaxis(array, -1, 0) if channels > 1 else array[None]
    spacing = list(volume.GetSpacing())
    axes = np.array(volume.GetDirection()).reshape(3, 3).T * (-1.0, -1.0, 1.0)
    if len(slices) > 1:
        first, last = np.array(slices[0].position), np.array(slices[-1].position)
        spacing[2] = float(np.linalg.norm(last - first)) / (len(slices) - 1)
    origin = np.array(volume.GetOrigin()) * (-1.0, -1.0, 1.0)
    ndim = 3
    if len(slices) == 1:
        data, ndim = data[:, 0], 2
    return Image(
        data=np.ascontiguousarray(data),
        spacing=tuple(float(each) for each in spacing[:ndim][::-1]),
        origin=tuple(float(each) for each in origin),
        direction=tuple(tuple(float(each) for each in axis) for axis in axes[:ndim][::-1]),
        path=folder,
    )
