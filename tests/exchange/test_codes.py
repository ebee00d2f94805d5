"""The words for segments are those of the standard, and a user's own come first."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

import pytest
from pydicom.sr.codedict import codes

from swin_umamba.data.datasets.abdomen_mr import ORGANS
from swin_umamba.data.datasets.endovis17 import INSTRUMENTS
from swin_umamba.errors import DataError
from swin_umamba.exchange.codes import KNOWN, PRIVATE_SCHEME, TISSUE, Code, check_codes, meanings_of
from swin_umamba.schema import Provenance

# What SNOMED CT's release has and DICOM's context groups do not.
ONLY_IN_SNOMED = {"29319002", "59746007", "37759000", "53535004", "31878003"}


def test_all_classes_of_the_paper_have_a_code() -> None:
    for names in (ORGANS, INSTRUMENTS, ("interior", "boundary")):
        meanings = meanings_of(names, {})
        assert list(meanings) == list(names)
        assert {each.type.scheme for each in meanings.values()} == {"SCT"}
    sides = {name: each.side.meaning for name, each in meanings_of(ORGANS, {}).items() if each.side}
    assert sides == {
        name: name.split()[0].capitalize() for name in ORGANS if name.split()[0] in ("left", "right")
    }


def test_codes_are_those_that_pydicom_knows() -> None:
    known = {(code.value, code.meaning) for name in codes.SCT.dir() if (code := getattr(codes.SCT, name))}
    for meaning in KNOWN.values():
        for code in (meaning.category, meaning.type, meaning.side):
            if code is not None and code.value not in ONLY_IN_SNOMED:
                words = [meaning for value, meaning in known if value == code.value]
                assert any(word.startswith(code.meaning) for word in words), (code, words)


@pytest.mark.parametrize("name", ["Right_Kidney", "RIGHT KIDNEY", " right-kidney "])
def test_names_are_compared_without_their_spelling(name: str) -> None:
    assert meanings_of([name], {})[name] == KNOWN["right kidney"]


def test_other_names_of_organs() -> None:
    assert meanings_of(["postcava", "nuclei"], {}) == {
        "postcava": KNOWN["inferior vena cava"],
        "nuclei": KNOWN["nucleus"],
    }


def test_own_codes_come_first() -> None:
    tumour = [["SCT", "49755003", "Morphologically Abnormal Structure"], ["SCT", "108369006", "Neoplasm"]]
    own = {"liver": ["99OWN", "L1", "My liver"], "tumour": tumour}
    found = meanings_of(["liver", "tumour"], own)
    assert found["liver"].type == Code("99OWN", "L1", "My liver")
    assert found["liver"].category == TISSUE
    assert (found["tumour"].category.value, found["tumour"].type.meaning) == ("49755003", "Neoplasm")


def test_what_has_no_code_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    name = "große Läsion, die niemand kennt und die einen sehr langen Namen hat, länger als 64"
    with caplog.at_level(logging.WARNING):
        found = meanings_of(["liver", name], {})[name]
    assert (found.category, found.type.scheme) == (TISSUE, PRIVATE_SCHEME)
    assert re.fullmatch("GROSSE_L_SI_[0-9A-F]{4}", found.type.value)
    assert meanings_of([f"{name}2"], {}, quiet=True)[f"{name}2"].type.value != found.type.value
    assert found.type.meaning == name[:64]
    (record,) = caplog.records
    assert name in record.message
    assert '"segments"' in record.message
    caplog.clear()
    meanings_of([name], {}, quiet=True)
    assert not caplog.records


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ({"liver": ["SCT", "10200004", "Liver"]}, None),
        ({"liver": [["SCT", "85756007", "Tissue"], ["SCT", "10200004", "Liver"]]}, None),
        ([], "segments"),
        ({"liver": "SCT"}, r"segments\.liver"),
        ({"liver": ["SCT", "10200004"]}, r"segments\.liver\[0\]"),
        ({"liver": ["SCT", 10200004, "Liver"]}, r"segments\.liver\[1\]"),
        ({"liver": ["SCT", "1" * 17, "Liver"]}, "1 to 16 characters"),
        ({"liver": ["SCT", "1\\2", "Liver"]}, "1 to 16 characters"),
        ({"spleen": ["SCT", "78961009", "Spleen"]}, "none of its labels"),
    ],
)
def test_own_codes_are_checked(own: Any, message: str | None) -> None:
    description = {"labels": {"background": 0, "liver": 1}, "segments": own}
    source = Provenance(Path("dataset.json"), "correct it")
    if message is None:
        check_codes(description, source)
    else:
        with pytest.raises(DataError, match=message):
            check_codes(description, source)
