"""The images of a DICOM series as the objects that are derived from them refer to them."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from swin_umamba.data.dicom import ChosenSeries, holds_dicom, is_dicom, read_grid
from swin_umamba.data.dicom.elements import damage_reported, read_data_set
from swin_umamba.data.dicom.planes import Plane
from swin_umamba.data.dicom.volume import Grid
from swin_umamba.errors import DataError, UsageError
from swin_umamba.exchange.identity import hide_identity
from swin_umamba.exchange.values import PATIENT, REQUIRED, STUDY, quiet, remove, several_values, tidy
from swin_umamba.pseudonyms import alias

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

logger = logging.getLogger(__name__)

_IMAGE = (
    "SpecificCharacterSet",
    "SOPClassUID",
    "SOPInstanceUID",
    "SeriesInstanceUID",
    "SeriesNumber",
    "Modality",
    "FrameOfReferenceUID",
    "PositionReferenceIndicator",
    "Rows",
    "Columns",
    "LossyImageCompression",
    "LossyImageCompressionRatio",
    "LossyImageCompressionMethod",
)
_PLACE = ("ImagePositionPatient", "ImageOrientationPatient", "SliceThickness")
_GROUPS = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")
_IDENTITY = ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID")


@dataclass(frozen=True)
class SourceImages:
    """The images that were segmented.

    Attributes
    ----------
    images
        Headers of the first channel, and nothing in them but what an object derived from them needs: one for
        each slice in the order of the image that ``read_dicom`` returns, or one for all frames of a
        multi-frame object, its frames in that order.
    frames
        Number, from 1, of each of those frames in its file; empty for files of one slice.
    further
        Headers of the other channels.
    num_planes
        Number of slices.
    where
        File or folder, for messages.
    """

    images: tuple[Dataset, ...]
    frames: tuple[int, ...]
    further: tuple[Dataset, ...]
    num_planes: int
    where: Path

    @property
    def first(self) -> Dataset:
        """The header that stands for what all have in common."""
        return self.images[0]

    @property
    def uids(self) -> list[str]:
        """UIDs of the images, in their order, with the numbers of frames."""
        found = [str(each.SOPInstanceUID) for each in (*self.images, *self.further)]
        return [*found, *map(str, self.frames)]


def is_dicom_input(path: Path) -> bool:
    """Return whether an image is a DICOM file or a folder of them."""
    return holds_dicom(path) if path.is_dir() else path.is_file() and is_dicom(path)


def read_source(files: Sequence[Path], series: ChosenSeries | None = None) -> SourceImages:
    """Read the headers of the images of a case.

    Parameters
    ----------
    files
        A file or folder for each channel.
    series
        As for ``read_dicom``.

    Raises
    ------
    UsageError
        The images are not DICOM.
    DataError
        Their headers lack what an object that refers to them must have.
    """
    for path in files:
        if not is_dicom_input(path):
            raise UsageError(
                "a DICOM segmentation refers to the images of a DICOM series, and this is none",
                where=path,
                hint="give the folder of a DICOM series, or leave out --format",
            )
    grid = read_grid(files[0], series)
    images, frames = _images_of(grid, files[0])
    study = str(images[0].StudyInstanceUID)
    further = [header for path in files[1:] for header in _further(path, series, study)]
    return SourceImages(images, frames, tuple(further), len(grid.planes), files[0])


def _images_of(grid: Grid, where: Path) -> tuple[tuple[Dataset, ...], tuple[int, ...]]:
    paths = list(dict.fromkeys(plane.path for plane in grid.planes))
    first = grid.planes[0]
    if len(paths) < len(grid.planes) and len(paths) > 1:
        raise DataError(
            f"the volume is in {len(paths)} files of several frames each; a segmentation of such a volume "
            "is not supported",
            where=where,
            hint="export the series with a file for each slice, or as one multi-frame file",
        )
    if first.position is not None and not first.frame_of_reference:
        raise DataError(
            "the series has positions and no frame of reference, which a segmentation has to name",
            where=where,
            hint="export the series again with FrameOfReferenceUID, or leave out --format",
        )
    if grid.has_orientation and not grid.has_spacing:
        raise DataError(
            "the series does not say how large its pixels are",
            where=where,
            hint="export the series with PixelSpacing, or leave out --format",
        )
    headers = [_header(path, (*PATIENT, *STUDY, *_IMAGE, *_PLACE, *_GROUPS)) for path in paths]
    emptied = dict.fromkeys(
        name for header, path in zip(headers, paths, strict=True) for name in _complete(header, path)
    )
    if emptied:
        logger.warning("%s: %s left empty, as the value is none that DICOM has", where, ", ".join(emptied))
    _check_uids(headers, paths, where)
    with damage_reported(where):
        if _is_multiframe(headers[0], where):
            return (_as_multiframe(headers[0], grid),), tuple(plane.frame + 1 for plane in grid.planes)
        for header, plane in zip(headers, grid.planes, strict=True):
            _as_slice(header, headers[0], plane, grid)
    return tuple(headers), ()


def _header(path: Path, keywords: Iterable[str]) -> Dataset:
    """Return some elements of a file as pydicom's data set, read within the limits of our reader."""
    from pydicom.datadict import tag_for_keyword
    from pydicom.dataset import Dataset

    tags = [tag for keyword in keywords if (tag := tag_for_keyword(keyword)) is not None]
    with damage_reported(path), quiet():
        raw: Any = read_data_set(path, tags).elements.raw
        found = Dataset(dict(raw))
        for element in found:  # decode all now, while the character set is known
            _ = element.value
    return found


def _check_uids(headers: Sequence[Dataset], paths: Sequence[Path], where: Path) -> None:
    """Refuse images of several studies, and those that share a UID: a frame would refer to any of them."""
    if len({str(header.StudyInstanceUID) for header in headers}) > 1:
        raise DataError(
            "the images of the series are of several studies, and a segmentation belongs to one",
            where=where,
            hint="export the series again from the archive, or leave out --format",
        )
    first: dict[str, Path] = {}
    for header, path in zip(headers, paths, strict=True):
        if (other := first.setdefault(str(header.SOPInstanceUID), path)) is not path:
            names = " and ".join(alias("file", each.name) for each in (other, path))
            raise DataError(
                f"images have the same SOPInstanceUID ({names}), and a segmentation has to tell them apart",
                where=where,
                hint="export the series again from the archive, or leave out --format",
            )


def _complete(header: Dataset, path: Path) -> list[str]:
    """Add what must not be missing, and refuse a header without what nobody can make up.

    Returns the names of elements that were emptied, because their values are none of DICOM's.
    """
    missing = [name for name in _IDENTITY if not header.get(name)]
    if missing:
        raise DataError(
            f"the DICOM header lacks {', '.join(missing)}, which a segmentation has to refer to",
            where=path,
            hint="export the series again from the archive",
        )
    for name in ("PatientName", "PatientID", *REQUIRED):  # exports leave them out
        if header.get(name) is None:
            setattr(header, name, "")
    if not header.get("Modality"):
        header.Modality = "OT"
    hide_identity(header)
    if several := several_values(header, (*PATIENT, *STUDY)):
        raise DataError(
            f"the DICOM header has several values of {' and of '.join(several)}, which has one",
            where=path,
            hint="correct it in the archive and export the series again, or leave out --format",
        )
    with quiet():
        return tidy(header)


def _is_multiframe(header: Dataset, where: Path) -> bool:
    from highdicom import spatial

    try:
        # Whatever highdicom takes for one: objects that could have several frames, even with one.
        return bool(spatial.is_multiframe_image(header))  # type: ignore[attr-defined]
    except (ValueError, KeyError) as error:
        raise DataError(
            f"images of the kind {header.SOPClassUID} are not known",
            where=where,
            hint="export the series as CT, MR or another kind of the standard, or leave out --format",
        ) from error


def _as_slice(header: Dataset, first: Dataset, plane: Plane, grid: Grid) -> None:
    """Put the place of a slice where highdicom looks for it."""
    remove(header, _GROUPS)
    if plane.orientation is None or plane.position is None:
        remove(header, ("FrameOfReferenceUID", *_PLACE))
    else:
        # They differ by rounding at most, and highdicom wants them equal.
        header.ImageOrientationPatient = first.ImageOrientationPatient
    measures = _measures(header, grid)
    for name in ("PixelSpacing", "SliceThickness", "SpacingBetweenSlices"):
        setattr(header, name, measures.get(name))
        if name != "SliceThickness" and name not in measures:
            delattr(header, name)


def _measures(known: Dataset, grid: Grid) -> Dataset:
    """Return the size of a voxel, with the thickness of a slice if it is known."""
    from pydicom.dataset import Dataset
    from pydicom.valuerep import DSfloat

    measures = Dataset()
    if grid.has_spacing:
        measures.PixelSpacing = [DSfloat(each, auto_format=True) for each in grid.spacing[-2:]]
    step = grid.spacing[0] if len(grid.planes) > 1 else None
    thickness = known.get("SliceThickness") or step
    if thickness:
        measures.SliceThickness = DSfloat(float(thickness), auto_format=True)
    if step is not None:
        measures.SpacingBetweenSlices = DSfloat(step, auto_format=True)
    return measures


def _as_multiframe(header: Dataset, grid: Grid) -> Dataset:
    """Return a header of the frames of a grid, in its order."""
    from pydicom.dataset import Dataset

    shared = (header.get("SharedFunctionalGroupsSequence") or [Dataset()])[0]
    own = header.get("PerFrameFunctionalGroupsSequence") or [Dataset()] * len(grid.planes)
    group, frames = Dataset(), []
    for plane in grid.planes:
        frame = Dataset()
        position = _macro("PlanePositionSequence", own[plane.frame], shared, header)
        if plane.position is not None:
            frame.PlanePositionSequence = [_only(position, "ImagePositionPatient")]
        frames.append(frame)
    first = own[grid.planes[0].frame]
    group.PixelMeasuresSequence = [_measures(_macro("PixelMeasuresSequence", first, shared, header), grid)]
    if grid.has_orientation:
        orientation = _macro("PlaneOrientationSequence", first, shared, header)
        group.PlaneOrientationSequence = [_only(orientation, "ImageOrientationPatient")]
    else:
        remove(header, ("FrameOfReferenceUID",))
    remove(header, _PLACE)
    header.SharedFunctionalGroupsSequence = [group]
    header.PerFrameFunctionalGroupsSequence = frames
    header.NumberOfFrames = len(frames)
    return header


def _macro(name: str, own: Dataset, shared: Dataset, header: Dataset) -> Dataset:
    """Return what describes a frame: its own group, that of all frames, or the top level."""
    for group in (own, shared):
        if group.get(name):
            item: Dataset = group[name].value[0]
            return item
    return header


def _only(source: Dataset, name: str) -> Dataset:
    from pydicom.dataset import Dataset

    item = Dataset()
    setattr(item, name, source.get(name))
    return item


def _further(path: Path, series: ChosenSeries | None, study: str) -> list[Dataset]:
    """Return the headers of the images of another channel."""
    paths = dict.fromkeys(plane.path for plane in read_grid(path, series).planes)
    headers = [_header(each, ("SpecificCharacterSet", *_IDENTITY)) for each in paths]
    for header, each in zip(headers, paths, strict=True):
        _complete(header, each)
        # Without it, highdicom does not compare their positions: each frame has its image already.
        header.FrameOfReferenceUID = ""
        if str(header.StudyInstanceUID) != study:
            raise DataError(
                "the channels are of several studies, and a segmentation belongs to one",
                where=each,
                hint="give channels of one study, or leave out --format",
            )
    return headers
