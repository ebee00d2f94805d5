"""Headers without the patient."""

from __future__ import annotations

import pytest

pydicom = pytest.importorskip("pydicom")

from swin_umamba.exchange.identity import hide_identity  # noqa: E402
from swin_umamba.pseudonyms import Pseudonyms, in_use  # noqa: E402


def pseudonym(number: str = "", name: str = "", born: str = "", study: str = "1.2.3") -> str:
    header = pydicom.Dataset()
    header.PatientID, header.PatientName, header.PatientBirthDate = number, name, born
    header.StudyInstanceUID = study
    with in_use(Pseudonyms(b"k" * 40)):
        hide_identity(header)
    assert header.PatientName == header.PatientID
    return str(header.PatientID)


def test_a_patient_has_one_pseudonym_in_all_studies() -> None:
    assert pseudonym("7", "Doe^J") == pseudonym("7 ", "DOE^JANE", "19700101", "1.2.4")
    assert pseudonym("", "Doe^J", "19700101") == pseudonym("", "Doe^J", "19700101", "1.2.4")


def test_different_patients_have_different_ones_even_without_numbers_and_names() -> None:
    patients = [
        *(pseudonym("7"), pseudonym("8"), pseudonym("", "Doe^J"), pseudonym("", "Doe^J", "19700101")),
        *(pseudonym(study="1.2.3"), pseudonym(study="1.2.4"), pseudonym(born="19700101", study="1.2.5")),
    ]
    assert len(set(patients)) == len(patients)
