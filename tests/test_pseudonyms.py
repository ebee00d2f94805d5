"""Pseudonyms of names: stable, by the key, known again, and put for the names in texts."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

import pytest

from swin_umamba.errors import DataError
from swin_umamba.pseudonyms import Pseudonyms, hidden, in_use, read_key, shown

KEY, OTHER = b"k" * 32, b"o" * 32


def test_a_name_and_a_key_give_one_pseudonym() -> None:
    first = Pseudonyms(KEY).of("Kr\u00fcger")
    assert first == Pseudonyms(KEY).of(unicodedata.normalize("NFD", "Kr\u00fcger"))
    assert first != Pseudonyms(OTHER).of("Kr\u00fcger")
    assert first != Pseudonyms(KEY).of("krueger")


def test_a_pseudonym_stays_what_it_is_and_what_looks_like_one_does_not() -> None:
    pseudonyms = Pseudonyms(KEY)
    own = pseudonyms.of("a")
    assert Pseudonyms(KEY).of(own) == own
    assert Pseudonyms(OTHER).of(own) != own
    assert pseudonyms.of("case_0123456789ab0000") != "case_0123456789ab0000"


def test_two_names_with_one_pseudonym_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Pseudonyms, "_digest", lambda self, purpose, text, length: "0" * length)
    pseudonyms = Pseudonyms(KEY)
    pseudonyms.of("a")
    with pytest.raises(ValueError, match="two cases have the pseudonym"):
        pseudonyms.of("b")


def test_names_in_texts() -> None:
    pseudonyms = Pseudonyms(KEY)
    meier, case, longer = (pseudonyms.of(name) for name in ("meier", "case", "meier-2"))
    text = pseudonyms.hide("/x/meier_0000.nii.gz, meier-2.png, case: meiers")
    assert text == f"/x/{meier}_0000.nii.gz, {longer}.png, {case}: meiers"
    assert pseudonyms.hide(text) == text
    pseudonyms.of("meier_0000")
    assert pseudonyms.hide("meier_0000.nii") == f"{meier}_0000.nii"


def test_only_while_they_are_in_use() -> None:
    error = DataError("bad", where="/x/meier.png")
    with in_use(Pseudonyms(KEY)):
        pseudonym = shown("meier")
        assert str(error) == f"bad\n  where: /x/{pseudonym}.png"
        assert error.parts()["where"] == hidden("/x/meier.png") == f"/x/{pseudonym}.png"
    assert shown("meier") == "meier"
    assert "meier" in str(error)


def test_the_key_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "new" / "pseudonym.key"
    key = read_key(path)
    assert len(key) == 64
    assert read_key(path) == key
    assert os.listdir(path.parent) == [path.name]
    if os.name == "posix":
        assert path.stat().st_mode & 0o777 == 0o600
        path.chmod(0o640)
        with pytest.raises(ValueError, match="other users can read it"):
            read_key(path)


@pytest.mark.parametrize("size", [0, 31, 5000])
def test_what_is_no_key(tmp_path: Path, size: int) -> None:
    path = tmp_path / "key"
    path.write_bytes(b"k" * size)
    path.chmod(0o600)
    with pytest.raises(ValueError, match="a key has 32 to 4096 bytes"):
        read_key(path)
