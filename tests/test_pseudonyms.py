"""Pseudonyms of names: stable, by the key, known again, and put for the names in texts."""

from __future__ import annotations

import logging
import os
import unicodedata
import warnings
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


def test_paths_below_a_folder_are_hidden_as_a_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    pseudonyms = Pseudonyms(KEY)
    (tmp_path / "data").mkdir()
    pseudonyms.hide_below(Path("data"))
    root = tmp_path / "data"
    shown_root, shown_file = (pseudonyms.alias("input", str(path)) for path in (root, root / "a b" / "c.dcm"))
    assert pseudonyms.hide(f"where: {root}\nnext") == f"where: {shown_root}\nnext"
    assert pseudonyms.hide(f"{root}/a b/c.dcm") == shown_file
    assert pseudonyms.hide(f"no such file: '{root}/a b/c.dcm'") == f"no such file: '{shown_file}'"
    assert pseudonyms.hide("data/a b/c.dcm").startswith("input_")
    assert pseudonyms.hide("data") == pseudonyms.alias("input", "data")
    with in_use(pseudonyms):
        error = DataError("the data are damaged", where=Path("data"))
        assert str(error) == f"the data are damaged\n  where: {pseudonyms.alias('input', 'data')}"
    for other in (f"{root}2/a", f"/x{root}", "the data of an image", "metadata/x"):
        assert pseudonyms.hide(other) == other


def test_aliases_and_uids() -> None:
    pseudonyms, other = Pseudonyms(KEY), Pseudonyms(OTHER)
    assert pseudonyms.alias("file", "a") == Pseudonyms(KEY).alias("file", "a")
    assert len({each.alias(kind, "a") for each in (pseudonyms, other) for kind in ("file", "input")}) == 4
    uid = pseudonyms.uid("1.2.3")
    assert uid == Pseudonyms(KEY).uid("1.2.3")
    assert len({uid, pseudonyms.uid("1.2.4"), other.uid("1.2.3")}) == 3
    assert uid.startswith("2.25.")
    assert len(uid) <= 64
    assert int(uid[5:]) >> 76 & 15 == 4  # the version of the UUID
    assert pseudonyms.hide("a and 1.2.3") == "a and 1.2.3"


def test_what_libraries_quote(caplog: pytest.LogCaptureFixture) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with in_use(Pseudonyms(KEY)):
            warnings.warn("Invalid value for VR DA: '19640812 or so'", UserWarning, stacklevel=1)
            logging.getLogger("pydicom").warning("Invalid value for VR DA: %r", "19640812 or so")
            logging.getLogger("another").warning("see")
        warnings.warn("see", UserWarning, stacklevel=1)
    assert [str(each.message) for each in caught] == ["see"]
    assert [each.getMessage() for each in caplog.records] == [
        "a remark on a DICOM header is left out, since it may quote it",
        "see",
    ]


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
