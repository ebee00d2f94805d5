"""Headers without the patient: what objects derived from them have instead, under ``--anonymous``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from swin_umamba.exchange.values import PATIENT, REQUIRED, STUDY, remove
from swin_umamba.pseudonyms import Pseudonyms, current

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

METHOD = "swin-umamba: pseudonyms, other UIDs, no dates and texts"
# Required of every object, even if empty (PS3.15 annex E: Z).
_EMPTIED = (*REQUIRED, "PositionReferenceIndicator")
_UIDS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID")
_REPLACED = ("PatientName", "PatientID", "PatientIdentityRemoved", "DeidentificationMethod")
# Whatever else is taken of headers goes.
_REMOVED = tuple(name for name in (*PATIENT, *STUDY) if name not in (*_EMPTIED, *_UIDS, *_REPLACED))


def hide_identity(header: Dataset) -> None:
    """Replace in a header whatever tells the patient, the study or its day, while pseudonyms are in use.

    The patient's name and number become one pseudonym, which is that of the number, or of name and date of
    birth if there is none, or of the study if there is no name; UIDs become others. With one key, the same is
    always replaced by the same, so that objects still belong together.

    Parameters
    ----------
    header
        The elements that ``exchange.source`` takes from a file, and no others.
    """
    pseudonyms = current()
    if pseudonyms is None:
        return
    header.PatientName = header.PatientID = _patient(header, pseudonyms)
    for name in _EMPTIED:
        if name in header:
            setattr(header, name, "")
    remove(header, _REMOVED)
    for name in _UIDS:
        if header.get(name):
            setattr(header, name, pseudonyms.uid(str(header[name].value)))
    header.PatientIdentityRemoved = "YES"
    header.DeidentificationMethod = METHOD


def _patient(header: Dataset, pseudonyms: Pseudonyms) -> str:
    number = str(header.get("PatientID", "") or "").strip()
    name, born = (str(header.get(each, "") or "").strip() for each in ("PatientName", "PatientBirthDate"))
    # Nobody is not somebody: without either, those of two studies are two patients.
    others = f"{name}\\{born}" if name else f"study {header.get('StudyInstanceUID', '')}"
    return pseudonyms.alias("patient", number or others)
