from __future__ import annotations

import json
from pathlib import Path

import pytest

from swin_umamba.errors import OutputError
from swin_umamba.inference import records
from swin_umamba.inference.records import RECORDS_FILE, PredictionRecords, read_records
from swin_umamba.json_files import DEEPEST


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


@pytest.mark.parametrize("again", [False, True])
def test_a_folder_that_was_removed_is_not_made_again(tmp_path: Path, again: bool) -> None:
    """Nor is a new record in one that somebody has made again."""
    out = tmp_path / "out"
    records = PredictionRecords(out)
    number = records.begin("a", None)
    out.rename(tmp_path / "elsewhere")
    if again:
        out.mkdir()
    for write in (lambda: records.begin("b", None), lambda: records.sync(number), records.tidy):
        with pytest.raises(OutputError, match="removed while results were written") as caught:
            write()
        assert caught.value.where == str(out)
    assert out.exists() == again
    assert not (out / RECORDS_FILE).exists()
    assert PredictionRecords(out).begin("a", None) == 1


def test_an_earlier_record_is_written_clean(tmp_path: Path) -> None:
    (tmp_path / RECORDS_FILE).write_text('{"case": "a", "n": 1}\n{"case": "a", "n": 2}\n{"case"')
    PredictionRecords(tmp_path)
    assert (tmp_path / RECORDS_FILE).read_text() == '{"schema": 2, "case": "a", "n": 2}\n'


def test_a_file_that_is_far_too_large_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "LARGEST_FILE", 10)
    (tmp_path / RECORDS_FILE).write_text('{"case": "a"}')
    with pytest.raises(OutputError, match="13 bytes"):
        read_records(tmp_path)


def test_a_record_that_is_nested_as_deep_as_json_is_read_is_kept(tmp_path: Path) -> None:
    for depth, stays in (
        (1, True),
        (DEEPEST - 1, True),
        (DEEPEST, False),
        (900, False),
    ):  # one level is the object
        line = f'{{"schema": 2, "case": "a", "x": {"[" * depth}{"]" * depth}}}\n'
        (tmp_path / RECORDS_FILE).write_text(line)
        assert bool(PredictionRecords(tmp_path).of_case) == stays
        assert (tmp_path / RECORDS_FILE).read_text() == (line if stays else "")


CONFIDENCE = {
    "quality": 0.5,
    "mean_entropy": 0.1,
    "num_members": 4,
    "temperature": 1.0,
    "class_quality": {"cell": 0.5, "wall": None},
    "quality_exponent": 2.0,
    "calibrated": True,
    "quality_calibrated": False,
}


def recorded(folder: Path, confidence: object) -> PredictionRecords:
    (folder / RECORDS_FILE).write_text(json.dumps({"case": "a", "confidence": confidence}))
    return PredictionRecords(folder)


def test_the_confidence_of_an_earlier_run(tmp_path: Path) -> None:
    records = recorded(tmp_path, CONFIDENCE)
    assert records.confidence_of("a") == CONFIDENCE
    assert records.confidence_of("b") is None
    assert recorded(tmp_path, {**CONFIDENCE, "quality": None}).confidence_of("a")["quality"] is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"quality": "0.5"},
        {"quality": float("nan")},
        {"quality": float("inf")},
        {"quality": [0.5]},
        {"mean_entropy": -1},
        {"temperature": {}},
        {"class_quality": None},
        {"class_quality": {"cell": "\x1b[31m"}},
    ],
)
def test_a_confidence_that_cannot_be_believed(wrong: dict[str, object], tmp_path: Path) -> None:
    assert recorded(tmp_path, {**CONFIDENCE, **wrong}).confidence_of("a") is None
    assert recorded(tmp_path, []).confidence_of("a") is None
