from __future__ import annotations

from pathlib import Path

import pytest

from swin_umamba.errors import OutputError
from swin_umamba.inference import records
from swin_umamba.inference.records import RECORDS_FILE, PredictionRecords, read_records


def test_the_last_line_of_a_case_counts_and_damaged_lines_do_not(tmp_path: Path) -> None:
    lines = (
        '{"case": "a", "seconds": 1}',
        "no json",
        "[1, 2]",
        '{"seconds": 3}',
        '{"case": 5}',
        '{"case": "b"}',
        '{"case": "a", "seconds": 2}',
        "[" * 100_000,
        '{"case": "c"',
    )
    (tmp_path / RECORDS_FILE).write_text("\n".join(lines))
    assert read_records(tmp_path) == {"a": {"case": "a", "seconds": 2}, "b": {"case": "b"}}


def test_no_file_is_no_record(tmp_path: Path) -> None:
    assert read_records(tmp_path) == {}
    assert PredictionRecords(tmp_path).of_case == {}
    assert list(tmp_path.iterdir()) == []


def test_an_earlier_record_is_written_clean(tmp_path: Path) -> None:
    (tmp_path / RECORDS_FILE).write_text('{"case": "a", "n": 1}\n{"case": "a", "n": 2}\n{"case"')
    PredictionRecords(tmp_path)
    assert (tmp_path / RECORDS_FILE).read_text() == '{"case": "a", "n": 2}\n'


def test_a_file_that_is_far_too_large_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "LARGEST_FILE", 10)
    (tmp_path / RECORDS_FILE).write_text('{"case": "a"}')
    with pytest.raises(OutputError, match="13 bytes"):
        read_records(tmp_path)
