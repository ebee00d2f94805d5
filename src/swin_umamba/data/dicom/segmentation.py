"""DICOM segmentations, binary, fractional or label map, read into one label map."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from swin_umamba.data.dicom.copies import distinct, tell_copies
from swin_umamba.data.dicom.elements import Elements, read_data_set
from swin_umamba.data.dicom.files import dicom_files, is_dicom, is_dicom_folder
from swin_umamba.data.dicom.pixels import stored_numbers
from swin_umamba.data.dicom.planes import (
    PIXEL_MEASURES,
    PLANE_TAGS,
    SEGMENTATIONS,
    SOP_CLASS,
    Plane,
    first_items,
    groups_of,
    planes_in,
)
from swin_umamba.data.dicom.segmentation_grid import grid_of_frames
from swin_umamba.data.image import MAX_VOXELS, Image
from swin_umamba.errors import DataError, UsageError, in_short

_TYPE, _SEGMENTS, _MOST_FRACTION = 0x00620001, 0x00620002, 0x0062000E
_NUMBER, _LABEL = 0x00620004, 0x00620005
_IDENTIFICATION, _REFERENCED = 0x0062000A, 0x0062000B
_STEP, _PADDING = 0x00180088, 0x00280120
_TAGS = (*PLANE_TAGS, _TYPE, _SEGMENTS, _MOST_FRACTION, _PADDING)
_TYPES = ("BINARY", "FRACTIONAL", "LABELMAP")


def find_segmentation(path: Path) -> Path | None:
    """Return the one segmentation that a DICOM file or a folder is or holds; None if there is none.

    Raises
    ------
    DataError
        A folder holds several that are not copies of one.
    """
    if not path.is_dir():
        return path.resolve() if is_segmentation(path.resolve()) else None
    every = [file for file in dicom_files(path) if is_segmentation(file)]
    found = every if len(every) < 2 else distinct(every)
    if len(found) > 1:
        names = in_short([str(file.relative_to(path.resolve())) for file in found])
        raise DataError(
            f"the folder holds {len(found)} DICOM segmentations: {names}",
            where=path,
            hint="give the file of one of them",
        )
    tell_copies(len(every) - len(found), path)
    return found[0] if found else None


def is_segmentation(path: Path) -> bool:
    """Return whether a file is a DICOM segmentation."""
    if not is_dicom(path):
        return False
    return read_data_set(path, (SOP_CLASS,)).elements.text(SOP_CLASS) in SEGMENTATIONS


def is_segmentation_folder(folder: Path) -> bool:
    """Return whether a folder itself contains DICOM files, and all of them are segmentations."""
    if not is_dicom_folder(folder):
        return False
    files = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    return all(is_segmentation(path.resolve()) for path in files if is_dicom(path.resolve()))


@dataclass(frozen=True)
class _Frame:
    """A frame: its image, the number of its segment (0 in a label map), and its slice in the result."""

    plane: Plane
    segment: int
    slice: int


def read_segmentation(path: Path, *, fraction: float | None = None, max_voxels: int = MAX_VOXELS) -> Image:
    """Read a segmentation as a label map, whose values are the numbers of the segments.

    Parameters
    ----------
    path
        The file.
    fraction
        Probability or occupancy, above 0 and up to 1, from which a voxel belongs to a segment of a fractional
        segmentation; to the one with the largest where there are several. Needed only if the file has others
        than 0 and 1.
    max_voxels
        Largest number of voxels.

    Returns
    -------
    Image
        ``(1, z, y, x)`` of the slices from the first frame to the last, or ``(1, y, x)`` for one frame that
        does not say how far slices are apart. Slices that have no frame are empty; ``is_partial`` says that
        there may be more of them. ``label_names`` are the names of the segments.

    Raises
    ------
    UsageError
        The fraction is out of range.
    DataError
        The file is damaged, its segments overlap, its frames are not in even distances, or it needs a
        threshold.
    """
    if fraction is not None and not 0 < fraction <= 1:
        raise UsageError(f"a fraction of {fraction}", hint="give a number above 0 and up to 1")
    data_set = read_data_set(path, _TAGS)
    elements = data_set.elements
    kind = elements.text(_TYPE)
    if kind not in _TYPES or data_set.pixels is None:
        raise elements.damaged(f"a segmentation of type {kind!r}" if data_set.pixels else "it has no pixels")
    names = _names(elements)
    planes = planes_in(path, data_set, data_set.pixels)
    numbers = [0] * len(planes) if kind == "LABELMAP" else _segments_of(elements, len(planes), names)
    grid, slices = grid_of_frames(planes, _step(elements), path)
    shape = (max(slices) + 1, planes[0].storage.rows, planes[0].storage.columns)
    if (voxels := shape[0] * shape[1] * shape[2]) > max_voxels:
        raise DataError(
            f"the segmentation has {voxels} voxels; the limit is {max_voxels}",
            where=path,
            hint="crop it; if it is not that large, the file is damaged",
        )
    frames = [_Frame(*each) for each in zip(planes, numbers, slices, strict=True)]
    if len({(frame.segment, frame.slice) for frame in frames}) < len(frames):
        raise DataError(
            "the segmentation has several frames of one segment at one place",
            where=path,
            hint="export the segmentation of each point of time by itself",
        )
    dtype = np.dtype(np.uint8 if max(names, default=0) < 2**8 else np.uint16)
    labels = np.zeros(shape, dtype)
    if kind == "LABELMAP":
        _put_numbers(labels, frames, names, elements)
    else:
        most = elements.whole(_MOST_FRACTION) if kind == "FRACTIONAL" else None
        _put_fractions(labels, frames, names, most, fraction, path)
    return grid.image(
        labels[None] if len(grid.spacing) == 3 else labels,
        path,
        label_names=names,
        frame_of_reference=planes[0].frame_of_reference,
        is_partial=True,
    )


def _names(elements: Elements) -> dict[int, str]:
    names: dict[int, str] = {}
    for item in elements.items(_SEGMENTS):
        number = item.whole(_NUMBER)
        name = item.text(_LABEL)
        if number in names:
            raise elements.damaged(f"two segments have the number {number}")
        names[number] = name or f"segment {number}"
    background = elements.whole(_PADDING, 0) if _PADDING in elements else 0
    if background:
        raise DataError(
            f"a label map whose background is {background} is not supported",
            where=elements.path,
            hint="export the segmentation with 0 as background, or as binary segments",
        )
    names.pop(0, None)
    return names


def _segments_of(elements: Elements, count: int, names: Mapping[int, str]) -> list[int]:
    """Return the number of the segment of each frame."""
    numbers = []
    for number in range(count):
        item = next(first_items(groups_of(elements, number), _IDENTIFICATION), None)
        if item is None:
            raise elements.damaged(f"it does not say of which segment frame {number + 1} is")
        numbers.append(item.whole(_REFERENCED))
        if numbers[-1] not in names:
            raise elements.damaged(f"frame {number + 1} is of segment {numbers[-1]}, which there is not")
    return numbers


def _step(elements: Elements) -> float | None:
    """Return the distance of slices that the file gives."""
    for item in first_items(groups_of(elements, 0)[::-1], PIXEL_MEASURES):
        found = item.numbers(_STEP, 1)
        if found is not None and found[0] != 0:
            return abs(found[0])
    return None


def _put_numbers(
    labels: np.ndarray, frames: Sequence[_Frame], names: Mapping[int, str], elements: Elements
) -> None:
    known = np.array([0, *names])
    for index, stored in stored_numbers([frame.plane for frame in frames]):
        unknown = np.setdiff1d(stored, known)
        if unknown.size:
            raise elements.damaged(
                f"voxels have the values {unknown[:5].tolist()}, which belong to no segment"
            )
        labels[frames[index].slice] = stored


def _put_mask(
    labels: np.ndarray, frame: _Frame, mask: np.ndarray, names: Mapping[int, str], path: Path
) -> None:
    target = labels[frame.slice]
    taken = target[mask]
    if taken.any():
        other = int(taken[taken != 0][0])
        raise DataError(
            f"segments overlap (first {names[other]!r} and {names[frame.segment]!r}); a label map has one "
            "class a voxel",
            where=path,
            hint="export the segments so that none lies over another, or each by itself",
        )
    target[mask] = frame.segment


def _put_fractions(
    labels: np.ndarray,
    frames: Sequence[_Frame],
    names: Mapping[int, str],
    most: int | None,
    fraction: float | None,
    path: Path,
) -> None:
    """Put the frames into the labels; ``most`` stands for 1, and None for binary frames."""
    largest = np.zeros(labels.shape, np.uint16)
    least = max(1, int(np.ceil(fraction * most - 1e-9))) if fraction is not None and most is not None else 0
    for index, stored in stored_numbers([frame.plane for frame in frames]):
        frame = frames[index]
        if not least:
            if most is not None and ((stored != 0) & (stored != most)).any():
                raise DataError(
                    "the segmentation holds fractions, and a label map needs a threshold",
                    where=path,
                    hint="state it: with --fraction 0.5 (fraction= in Python) a voxel belongs to a segment "
                    "from one half on",
                )
            _put_mask(labels, frame, stored != 0, names, path)
            continue
        # Of equal ones the first counts, in the order of the numbers of the segments.
        before, target = largest[frame.slice], labels[frame.slice]
        wins = (stored >= least) & ((stored > before) | ((stored == before) & (target > frame.segment)))
        target[wins] = frame.segment
        before[wins] = stored[wins]
