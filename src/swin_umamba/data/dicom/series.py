"""The images of a folder, grouped into series, and the selection of one series."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from swin_umamba.data.dicom.files import dicom_files, is_dicom
from swin_umamba.data.dicom.planes import Plane, read_planes
from swin_umamba.errors import DataError
from swin_umamba.pseudonyms import current, shown_uid

# This many series are listed in an error; the rest are counted.
LISTED = 20


@dataclass(frozen=True)
class SeriesFiles:
    """A series whose files are known, so that its folder need not be searched.

    Attributes
    ----------
    files
        Its files, sorted by path.
    conditions
        Conditions ``NAME=VALUE`` for its images; see ``volume.choose_volume``.
    """

    files: tuple[Path, ...]
    conditions: tuple[str, ...] = ()


ChosenSeries = str | SeriesFiles
"""The choice of a series of a folder: its UID or number, or its files."""


def choice_of(series: ChosenSeries | None) -> tuple[str | SeriesFiles | None, tuple[str, ...]]:
    """Return the UID or number of a series, or its files, and the conditions for its images."""
    if isinstance(series, SeriesFiles):
        return series, series.conditions
    chosen, *conditions = (series or "").split(":")
    return chosen or None, tuple(conditions)


def planes_of_file(path: Path) -> list[Plane]:
    """Return the images of one DICOM file.

    Raises
    ------
    DataError
        The file is damaged, or contains no image.
    """
    if not is_dicom(path):
        raise DataError("the file does not begin like a DICOM file", where=path, hint="copy it again")
    planes = read_planes(path)
    if isinstance(planes, str):
        raise DataError(
            f"this DICOM file is not an image: {planes}",
            where=path,
            hint="give the file of an image; segmentations are read where label maps are",
        )
    return planes


def planes_of_series(series: SeriesFiles, where: Path) -> list[Plane]:
    """Return the images in the files of a series, in no particular order.

    Raises
    ------
    DataError
        A file is damaged, or no image, or they belong to several patients.
    """
    planes = [plane for path in series.files for plane in planes_of_file(path)]
    check_patient(planes, where)
    return planes


def check_patient(planes: Sequence[Plane], where: Path) -> None:
    """Refuse images of several patients."""
    if len({plane.series.patient for plane in planes}) > 1:
        raise DataError(
            "files of one series belong to several patients", where=where, hint="export the series again"
        )


def planes_of_folder(folder: Path, series: str | None) -> list[Plane]:
    """Return the images of one series from a folder and its subfolders, in no particular order.

    Parameters
    ----------
    folder
        Folder as copied from a disc or an archive: anything that is not an image is skipped.
    series
        UID or number of a series; None if there is only one.

    Raises
    ------
    DataError
        There is no image, no such series, or more than one; or the series has files of several patients.
    """
    found: dict[str, list[Plane]] = {}
    others: Counter[str] = Counter()
    for path in dicom_files(folder):
        planes = read_planes(path)
        if isinstance(planes, str):
            others[planes] += 1
        else:
            found.setdefault(planes[0].series.uid, []).extend(planes)
    if not found:
        kinds = ", ".join(f"{count} x {kind}" for kind, count in others.items())
        raise DataError(
            f"the folder holds no DICOM images, only {kinds}"
            if kinds
            else "this is not a file, nor a folder with DICOM images",
            where=folder,
            hint="give an image file, or a folder with the files of a DICOM series",
        )
    planes = found[_choose(folder, found, series)]
    check_patient(planes, folder)
    return planes


def _choose(folder: Path, found: Mapping[str, Sequence[Plane]], wanted: str | None) -> str:
    """Return the UID of the wanted series."""
    if wanted is None:
        chosen = list(found)
    else:
        chosen = [uid for uid in found if is_uid(uid, wanted)] or [
            uid for uid, planes in found.items() if is_number(planes[0].series.number, wanted)
        ]
    if len(chosen) == 1:
        return chosen[0]
    patients = len({plane.series.patient for planes in found.values() for plane in planes})
    whose = f" of {patients} patients" if patients > 1 else ""
    if wanted is None:
        what = f"the folder holds {len(found)} DICOM series{whose}"
    elif chosen:
        what = f"{len(chosen)} DICOM series have the number {wanted}; the folder holds {len(found)}{whose}"
    else:
        what = f"there is no DICOM series {wanted!r} among the {len(found)}{whose} in the folder"
    raise DataError(
        "\n".join([f"{what}:", *_listed(found)]),
        where=folder,
        hint="choose one with --series UID or --series NUMBER (series= in Python and over HTTP), predict all "
        "or some of them with predict --studies, give a folder with one series, or give single files",
    )


def is_uid(uid: str, wanted: str) -> bool:
    """Return whether the UID of a series is the one that is wanted, or shown as the one."""
    return wanted.strip() in (uid, uid and shown_uid(uid))


def is_number(number: str, wanted: str) -> bool:
    """Return whether the number of a series is the one that is wanted."""
    try:
        return int(number) == int(wanted)
    except ValueError:
        return False


def _listed(found: Mapping[str, Sequence[Plane]]) -> list[str]:
    patients: dict[tuple[str, ...], int] = {}
    for planes in found.values():
        patients.setdefault(planes[0].series.patient, len(patients) + 1)
    lines = []
    for uid, planes in list(found.items())[:LISTED]:
        series = planes[0].series
        images = len({(plane.instance or plane.path, plane.frame) for plane in planes})
        count = f"{images} image{'s' if images > 1 else ''}"
        who = f", patient {patients[series.patient]}" if len(patients) > 1 else ""
        # Free text, in which names of patients have been found.
        words = f" {series.description!r}" if series.description and current() is None else ""
        lines.append(
            f"  - number {series.number or 'unknown'}: {series.modality}{words}, {count}{who}, UID "
            f"{shown_uid(uid)}"
        )
    if len(found) > LISTED:
        lines.append(f"  - and {len(found) - LISTED} more")
    return lines
