"""What is taken of headers, and its values as DICOM has them: old exports write others."""

from __future__ import annotations

import logging
import re
import threading
import warnings
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import date
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

# What an object of a study has in common with its others: who, and which study. Nothing else is copied:
# no names of physicians, operators and institutions, no private elements.
PATIENT = (
    "PatientName",
    "PatientID",
    "IssuerOfPatientID",
    "PatientBirthDate",
    "PatientSex",
    "PatientIdentityRemoved",
    "DeidentificationMethod",
    "DeidentificationMethodCodeSequence",
    "ClinicalTrialSponsorName",
    "ClinicalTrialProtocolID",
    "ClinicalTrialProtocolName",
    "ClinicalTrialSiteID",
    "ClinicalTrialSiteName",
    "ClinicalTrialSubjectID",
    "ClinicalTrialSubjectReadingID",
)
STUDY = ("StudyInstanceUID", "StudyDate", "StudyTime", "StudyID", "StudyDescription", "AccessionNumber")
# What every object of a study has, even if it is empty (PS3.3 C.7.1.1 and C.7.2.1: type 2).
REQUIRED = (
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "AccessionNumber",
    "ReferringPhysicianName",
)
_DATES, _TIMES = ("PatientBirthDate", "StudyDate"), ("StudyTime",)
_SEXES = {"M": "M", "F": "F", "O": "O", "MALE": "M", "FEMALE": "F", "OTHER": "O"}
# With the points and colons of ACR-NEMA, which came before DICOM (PS3.5 6.2).
_DATE = re.compile(r"(\d{4})(\.?)(\d{2})\2(\d{2})", re.ASCII)
_TIME = re.compile(r"([01]\d|2[0-3])(?:(:?)([0-5]\d)(?:\2([0-5]\d|60)(\.\d{1,6})?)?)?", re.ASCII)
# What is ignored is so for the whole process.
_alone = threading.RLock()


@contextmanager
def quiet() -> Iterator[None]:
    """Keep libraries from logging values of headers, which name patients; one thread at a time."""
    with _alone, warnings.catch_warnings(), ExitStack() as after:
        warnings.simplefilter("ignore")
        for name in ("highdicom", "pydicom"):
            library = logging.getLogger(name)
            after.callback(library.setLevel, library.level)
            library.setLevel(logging.ERROR)
        yield


def tidy(header: Dataset) -> list[str]:
    """Write dates, times, the sex and the series' number as the standard has them.

    What cannot be read as one is emptied, which the standard allows of all of them: it means unknown.

    Parameters
    ----------
    header
        A header; changed in place.

    Returns
    -------
    list of str
        Names of the elements that had a value and are empty now.
    """
    before = {name: _text(header, name) for name in (*_DATES, *_TIMES, "PatientSex", "SeriesNumber")}
    after = {name: _date(before[name]) for name in _DATES} | {name: _time(before[name]) for name in _TIMES}
    after["PatientSex"] = _SEXES.get(before["PatientSex"].upper(), "")
    after["SeriesNumber"] = _whole(before["SeriesNumber"])
    for name, value in after.items():
        if name in header:
            setattr(header, name, value or None)
    return [name for name, value in after.items() if before[name] and not value]


def remove(header: Dataset, names: Iterable[str]) -> None:
    """Remove elements from a header if it has them."""
    for name in names:
        if name in header:
            delattr(header, name)


def several_values(header: Dataset, names: Iterable[str]) -> list[str]:
    """Return which of some elements have several values although the standard has one."""
    from pydicom.datadict import dictionary_VM

    return [
        name
        for name in names
        if name in header and header[name].VR != "SQ" and header[name].VM > 1 and dictionary_VM(name) == "1"
    ]


def _text(header: Dataset, name: str) -> str:
    value = header.get(name)
    return "" if value is None else str(value).strip(" \0")


def _date(value: str) -> str:
    found = _DATE.fullmatch(value)
    if found is None:
        return ""
    year, month, day = found[1], found[3], found[4]
    try:
        date(int(year), int(month), int(day))
    except ValueError:
        return ""
    return year + month + day


def _time(value: str) -> str:
    found = _TIME.fullmatch(value)
    return "" if found is None else "".join(found[number] or "" for number in (1, 3, 4, 5))


def _whole(value: str) -> str:
    """Return a number without digits after the point, as some archives write them."""
    try:
        return str(int(float(value)))
    except (ValueError, OverflowError):
        return ""
