from __future__ import annotations

from pathlib import Path

from swin_umamba.fingerprint import fingerprint_of, fingerprint_of_files


def test_order_of_keys_and_kind_of_sequence_do_not_count_and_values_do() -> None:
    value = {"a": [1, 2.5], "b": {"c": None}}
    assert fingerprint_of(value) == fingerprint_of({"b": {"c": None}, "a": (1, 2.5)})
    for other in ({"a": [2.5, 1], "b": {"c": None}}, {"a": [1, 2.5]}, [value], None):
        assert fingerprint_of(other) != fingerprint_of(value)


def test_files_count_by_their_content_in_order(tmp_path: Path) -> None:
    files = [tmp_path / name for name in "abc"]
    for path in files:
        path.write_text("x" if path.name == "c" else path.name)
    same = tmp_path / "other"
    same.write_text("a")
    assert fingerprint_of_files([files[0]]) == fingerprint_of_files([same])
    assert fingerprint_of_files(files[:2]) != fingerprint_of_files(files[1::-1])
    before = fingerprint_of_files([tmp_path])
    (tmp_path / "c").write_text("y")
    assert fingerprint_of_files([tmp_path]) != before
