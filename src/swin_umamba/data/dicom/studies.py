"""The series in a tree of DICOM studies, as from a disc or an archive; only headers are read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from os.path import commonpath
from pathlib import Path, PurePosixPath
from typing import TypeVar

import numpy as np

from swin_umamba.data.dicom.copies import tell_copies, without_copies
from swin_umamba.data.dicom.elements import read_data_set
from swin_umamba.data.dicom.files import FilesFound, look_through, unreadable
from swin_umamba.data.dicom.planes import Plane, Series, read_planes, read_series
from swin_umamba.data.dicom.series import check_patient
from swin_umamba.data.dicom.volume import arrange, choose_volume
from swin_umamba.errors import DataError
from swin_umamba.progress import progress

PLANE_NAMES = ("sagittal", "coronal", "axial")
OBLIQUE, SEVERAL, UNKNOWN = "oblique", "several", "unknown"
# A plane is named after the axis of the body that its normal is nearest to, if the cosine between them is at
# least this: angles up to 37 degrees. Gantries and heads are tilted by less, and viewers draw the line there.
LEAST_COSINE = 0.8
_DIRECTORY = "DICOMDIR"
_RECORDS, _FILE_ID = 0x00041220, 0x00041500

_Value = TypeVar("_Value")


@dataclass
class FoundSeries:
    """A series of a tree.

    Attributes
    ----------
    series
        What the header of its first readable file says.
    files
        Its files, sorted by path, among them those whose header is damaged, and each only once if there are
        copies.
    planes
        Images in the files that can be read.
    problem
        Why a file cannot be read, if one cannot.
    """

    series: Series
    files: list[Path] = field(default_factory=list)
    planes: list[Plane] = field(default_factory=list)
    problem: DataError | None = None

    @property
    def num_images(self) -> int:
        """Number of images; a damaged file counts as one."""
        return len(self.planes) + len(self.files) - len({plane.path for plane in self.planes})

    @property
    def folder(self) -> Path:
        """The smallest folder with all files."""
        return Path(commonpath([path.parent for path in self.files]))

    @cached_property
    def plane(self) -> str:
        """How the images lie in the body: axial, coronal, sagittal or oblique; several, or unknown."""
        names = {plane_name(plane.orientation) for plane in self.planes}
        return names.pop() if len(names) == 1 else SEVERAL if names else UNKNOWN

    def why_no_volume(self, conditions: Sequence[str] = ()) -> DataError | None:
        """Return why the images that satisfy some conditions form no volume, as far as their headers tell."""
        if self.problem is not None:
            return self.problem
        try:
            check_patient(self.planes, self.folder)
            arrange(choose_volume(self.planes, conditions, self.folder), self.folder)
        except DataError as error:
            return error
        return None


@dataclass
class Tree:
    """What is in a folder and its subfolders.

    Attributes
    ----------
    root
        The folder.
    series
        Its series, in the order of their first files.
    num_patients, num_studies
        Numbers of patients and studies with images.
    others
        How often there are other things: kinds of DICOM objects, and files that are not DICOM.
    problems
        Errors of links and files that belong to no series.
    """

    root: Path
    series: list[FoundSeries]
    others: Counter[str]
    problems: list[DataError]

    @cached_property
    def patients(self) -> dict[tuple[str, ...], int]:
        """Number of each patient, from 1."""
        return _numbered([each.series.patient for each in self.series])

    @cached_property
    def studies(self) -> dict[str, int]:
        """Number of each study, from 1."""
        return _numbered([each.series.study for each in self.series])


def find_series(folder: Path) -> Tree:
    """Return the series in a folder and its subfolders.

    Damaged files, links that lead out of the folder and the like are problems of the result, not errors.
    References of a DICOMDIR are compared with the files, and never followed.

    Raises
    ------
    DataError
        There is no such folder, or it has too many files.
    """
    if not folder.is_dir():
        raise DataError("there is no such folder", where=folder, hint="give the folder with the studies")
    root = folder.resolve()
    files = look_through(root)
    found: dict[str, FoundSeries] = {}
    others: Counter[str] = Counter({"not DICOM": len(files.others)} if files.others else {})
    problems = list(files.problems)
    for path in progress(files.dicom, "reading headers", total=len(files.dicom), unit="file"):
        try:
            planes = _read(path)
        except DataError as error:
            _note_damage(path, error, found, problems)
            continue
        if isinstance(planes, str):
            others[planes] += 1
            if path.name.upper() == _DIRECTORY:
                problems += _check_directory(path, files)
            continue
        series = planes[0].series  # one without a UID is told from others by its folder
        one = found.setdefault(series.uid or f"{path.parent}/", FoundSeries(series))
        one.files.append(path)
        one.planes += planes
    tell_copies(sum(map(_leave_out_copies, found.values())), root)
    return Tree(root, list(found.values()), others, problems)


def _leave_out_copies(one: FoundSeries) -> int:
    """Leave out the files of a series that are copies of others, and return their number."""
    try:
        planes = without_copies(one.planes, one.folder)
    except (DataError, OSError) as error:
        one.problem = one.problem or _as_problem(error, one.folder)
        return 0
    copies = {plane.path for plane in one.planes} - {plane.path for plane in planes}
    one.planes, one.files = planes, [path for path in one.files if path not in copies]
    return len(copies)


def plane_name(orientation: Sequence[Sequence[float]] | None) -> str:
    """Return the name of a plane whose rows and columns run along two unit vectors ``(2, 3)``."""
    if orientation is None:
        return UNKNOWN
    normal = np.abs(np.cross(orientation[0], orientation[1]))
    axis = int(normal.argmax())
    return PLANE_NAMES[axis] if normal[axis] >= LEAST_COSINE else OBLIQUE


def _numbered(values: Iterable[_Value]) -> dict[_Value, int]:
    return {value: number for number, value in enumerate(dict.fromkeys(values), start=1)}


def _read(path: Path) -> list[Plane] | str:
    try:
        return read_planes(path)
    except OSError as error:
        raise _as_problem(error, path) from error


def _as_problem(error: DataError | OSError, path: Path) -> DataError:
    return error if isinstance(error, DataError) else unreadable(error.filename or path, error)


def _note_damage(
    path: Path, error: DataError, found: dict[str, FoundSeries], problems: list[DataError]
) -> None:
    """Add a damaged file to its series, if its header still says which it is."""
    try:
        series = read_series(path)
    except (DataError, OSError):
        series = None
    if series is None or not series.uid:
        problems.append(error)
        return
    one = found.setdefault(series.uid, FoundSeries(series))
    one.files.append(path)
    one.problem = one.problem or error


def _check_directory(path: Path, files: FilesFound) -> list[DataError]:
    """Return what is wrong with the references of a DICOMDIR; they are only compared."""
    try:
        records = read_data_set(path, [_RECORDS]).elements.items(_RECORDS)
        places = [text for record in records if (text := record.text(_FILE_ID))]
    except (DataError, OSError) as error:
        what = error.what if isinstance(error, DataError) else str(error)
        return [DataError(f"the DICOMDIR cannot be read: {what}", where=path, hint="it is not needed")]
    outside = [each for each in places if _leads_out(each)]
    # File systems and discs differ in upper and lower case.
    known = {
        each.relative_to(path.parent).as_posix().upper()
        for each in (*files.dicom, *files.others)
        if each.is_relative_to(path.parent)
    }
    missing = [
        each for each in places if not _leads_out(each) and each.replace("\\", "/").upper() not in known
    ]
    problems = []
    if outside:
        what = f"{len(outside)} of {len(places)} references of the DICOMDIR lead out of its folder"
        problems.append(DataError(what, where=path, hint="they are not followed; distrust the disc"))
    if missing:
        what = f"{len(missing)} of {len(places)} files that the DICOMDIR lists are not there"
        problems.append(DataError(what, where=path, hint="copy the disc again, with all of its files"))
    return problems


def _leads_out(place: str) -> bool:
    parts = PurePosixPath(place.replace("\\", "/"))
    return parts.is_absolute() or ".." in parts.parts or ":" in place
