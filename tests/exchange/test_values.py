"""Values of headers: those of the standard stay, old forms are rewritten, and the rest means unknown."""

from __future__ import annotations

import pytest

pydicom = pytest.importorskip("pydicom")

from pydicom.datadict import dictionary_VR  # noqa: E402
from pydicom.dataelem import RawDataElement, convert_raw_data_element  # noqa: E402
from pydicom.tag import Tag  # noqa: E402

from swin_umamba.exchange.values import quiet, several_values, tidy  # noqa: E402


@pytest.mark.parametrize(
    ("name", "given", "expected"),
    [
        *(("StudyDate", each, each) for each in ("", "20240229", "19000101")),
        ("StudyDate", "1997.04.24", "19970424"),
        *(("PatientBirthDate", each, "") for each in ("00000000", "20230229", "Hans Doe", "19640812 or so")),
        *(("StudyDate", each, "") for each in ("24-Apr-1997", "1997.0424", "１９９７０４２４")),
        *(("StudyTime", each, each) for each in ("", "14", "1404", "140438", "140438.123456", "235960")),
        *(("StudyTime", each, "140438.5") for each in ("14:04:38.5", "140438.5", "140438.5 ")),
        *(("StudyTime", each, "") for each in ("24", "1460", "14:0438", "noon", "140438.")),
        *(("PatientSex", each, each[0].upper()) for each in ("M", "F", "O", "m", "f ", "female", "Male")),
        *(("PatientSex", each, "") for each in ("", "W", "U", "unknown")),
        *(("SeriesNumber", each, each) for each in ("7", "-5", "")),
        ("SeriesNumber", "abc", ""),
    ],
)
def test_values(name: str, given: str, expected: str) -> None:
    header = pydicom.Dataset()
    raw = RawDataElement(Tag(name), dictionary_VR(name), len(given), given.encode(), 0, False, True)
    with quiet():
        header[name] = convert_raw_data_element(raw, encoding=["utf-8"])
    emptied = tidy(header)
    value = header[name].value
    assert ("" if value is None else str(value)) == expected
    assert emptied == ([name] if given and not expected else [])
    assert len(header) == 1


def test_nothing_is_added() -> None:
    header = pydicom.Dataset()
    assert tidy(header) == []
    assert len(header) == 0


def test_several_values() -> None:
    header = pydicom.Dataset()
    header.PatientID, header.StudyID, header.PatientName = ["A", "B"], "S", ["A^B", "C^D"]
    header.DeidentificationMethodCodeSequence = [pydicom.Dataset(), pydicom.Dataset()]
    header.DeidentificationMethod = ["one", "another"]  # of these there may be several
    names = (
        "PatientID",
        "StudyID",
        "DeidentificationMethod",
        "PatientName",
        "DeidentificationMethodCodeSequence",
        "StudyDate",
    )
    assert several_values(header, names) == ["PatientID", "PatientName"]
