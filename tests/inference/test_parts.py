"""Parts of a folder: who predicts what, whose records go where, and that the whole is as without parts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from inference.grey_pictures import write_grey_pictures
from swin_umamba.cli.main import main
from swin_umamba.errors import UsageError
from swin_umamba.inference.parts import Part, parse_part
from swin_umamba.inference.predictor import Predictor
from swin_umamba.inference.records import RECORDS_FILE, PredictionRecords, read_records


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Return a folder of five grey pictures, of which one is damaged."""
    return write_grey_pictures(tmp_path / "images", "abcde")


def content(folder: Path) -> dict[str, Any]:
    """Return the files of a folder: the record without times, and the others as they are."""
    files: dict[str, Any] = {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }
    lines = files[RECORDS_FILE].decode().splitlines()
    files[RECORDS_FILE] = [json.dumps({**json.loads(line), "seconds": 0, "finished": ""}) for line in lines]
    return files


WITH_OBJECTS: dict[str, Any] = {"instances": True, "objects": ("geojson",), "confidence": True}


@pytest.mark.parametrize("order", [(1, 2, 3), (3, 1, 2)])
def test_three_parts_are_the_whole(
    cells: Predictor, images: Path, tmp_path: Path, order: tuple[int, ...]
) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    expected = {result.case: result.status for result in cells.predict_folder(images, whole, **WITH_OBJECTS)}
    assert set(expected.values()) == {"written", "failed"}
    found: dict[str, str] = {}
    for number in order:
        assert not (parts / RECORDS_FILE).exists()
        assert not (parts / "objects.csv").exists()
        results = cells.predict_folder(images, parts, part=f"{number}/3", **WITH_OBJECTS)
        assert not found.keys() & {result.case for result in results}
        found |= {result.case: result.status for result in results}
    assert found == expected
    assert content(parts) == content(whole)
    kept = cells.predict_folder(images, parts, part="1/3", **WITH_OBJECTS)
    assert {result.case: result.status for result in kept} == {"a": "kept", "d": "kept"}
    assert content(parts) == content(whole)


def test_a_part_that_has_died_is_made_up_for(
    model: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (images / "b.png").unlink()
    out = tmp_path / "out"
    command = ["predict", "-m", str(model), "-i", str(images), "-o", str(out), "--device", "cpu"]
    command += ["--instances", "--no-mirroring"]
    assert main([*command, "--part", "1/2"]) == 0
    PredictionRecords(out, Part(2, 2).file_name).begin("c", None)  # and then it was killed
    capsys.readouterr()
    assert main([*command, "--merge"]) == 1
    assert "2 cases (c, e): this case has not been predicted" in capsys.readouterr().err
    assert sorted(path.name for path in out.glob("predictions*")) == [RECORDS_FILE]
    assert len((out / "objects.csv").read_text().splitlines()) > 1
    assert main([*command, "--part", "2/2", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert [(case["case"], case["status"]) for case in printed["cases"]] == [
        ("c", "written"),
        ("e", "written"),
    ]
    assert list(read_records(out)) == ["a", "c", "d", "e"]
    assert main([*command, "--merge"]) == 0
    assert "4 existed already" in capsys.readouterr().out


def test_parts_of_another_number_keep_what_is_there(cells: Predictor, images: Path, tmp_path: Path) -> None:
    cells.predict_folder(images, tmp_path / "out", part="1/2")
    statuses = [result.status for result in cells.predict_folder(images, tmp_path / "out", part="1/1")]
    assert statuses == ["kept", "failed", "kept", "written", "kept"]


def test_a_part_belongs_to_one_process(cells: Predictor, images: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with Part(1, 2).held(out):
        with pytest.raises(UsageError, match="part 1 of 2 is being predicted already, by process"):
            cells.predict_folder(images, out, part="1/2")
        PredictionRecords(out, Part(1, 2).file_name).begin("a", None)
        cells.predict_folder(images, out, part="2/2")
        assert not (out / RECORDS_FILE).exists()
        cells.predict_folder(images, out)  # a run that is no part waits for no part
        assert (out / Part(1, 2).file_name).exists()


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_each_case_is_in_one_part(count: int) -> None:
    parts = [Part(number, count).of("abcde") for number in range(1, count + 1)]
    assert sorted(case for part in parts for case in part) == list("abcde")
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@pytest.mark.parametrize("text", ["", "3", "0/3", "4/3", "1/0", "-1/3", "1/3/5", "a/b", "1.5/3", "Auto"])
def test_what_is_no_part(text: str) -> None:
    with pytest.raises(UsageError, match="there is no part"):
        parse_part(text)
    assert parse_part("3/12") == Part(3, 12)


def slurm(number: int, array: list[int], step: int) -> dict[str, str]:
    """Return the variables of a job."""
    values = {"ID": number, "MIN": min(array), "MAX": max(array), "STEP": step, "COUNT": len(array)}
    return {f"SLURM_ARRAY_TASK_{name}": str(value) for name, value in values.items()}


@pytest.mark.parametrize(
    ("array", "step"),
    [([0, 1, 2, 3], 1), ([1, 2, 3], 1), ([5], 1), ([0, 4, 8, 12], 4), ([3, 5, 7], 2), (list(range(100)), 1)],
)
def test_the_jobs_of_an_array_are_all_parts(array: list[int], step: int) -> None:
    parts = [parse_part("auto", slurm(number, array, step)) for number in array]
    assert parts == [Part(place, len(array)) for place in range(1, len(array) + 1)]


@pytest.mark.parametrize(
    ("number", "array", "step"),
    [
        (3, [1, 3, 7], 1),
        (1, [1, 2, 4], 1),
        (5, [1, 2, 3], 1),
        (0, [1, 2, 3], 1),
        (2, [1, 3, 5], 2),
        (1, [1, 2, 3], 0),
    ],
)
def test_an_array_with_gaps_is_refused(number: int, array: list[int], step: int) -> None:
    with pytest.raises(UsageError, match=r"the array has gaps(.|\n)*without gaps"):
        parse_part("auto", slurm(number, array, step))


@pytest.mark.parametrize("text", [None, "", "x", "-1", "1.5"])
def test_no_array_is_said(text: str | None) -> None:
    for name in slurm(1, [1, 2], 1):
        environment = {key: value for key, value in slurm(1, [1, 2], 1).items() if key != name}
        with pytest.raises(UsageError, match=f"no job of an array of Slurm: {name} not set"):
            parse_part("auto", environment if text is None else {**environment, name: text})


def test_impossible_requests(cells: Predictor, images: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--merge joins all parts"):
        cells.predict_folder(images, tmp_path / "out", part="1/2", merge=True)
    with pytest.raises(UsageError, match="need a folder of results"):
        cells.predict_folder(images / "a.png", tmp_path / "labels.png", part="1/2")
    assert not (tmp_path / "out").exists()
