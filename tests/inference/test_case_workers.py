"""Cases of a folder predicted by several processes: what one process writes, and what a death costs."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from inference.grey_pictures import write_grey_pictures
from inference.test_parts import WITH_OBJECTS, content
from swin_umamba.errors import OutputError, SwinUMambaError
from swin_umamba.inference import case_workers
from swin_umamba.inference.case_work import CaseWork
from swin_umamba.inference.cases import find_cases
from swin_umamba.inference.options import FolderOptions
from swin_umamba.inference.parts import claim_of
from swin_umamba.inference.predictor import Predictor
from swin_umamba.inference.records import read_records
from swin_umamba.pseudonyms import Pseudonyms, in_use

Work = Callable[[Any], Any]


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Return a folder of six grey pictures, of which one is damaged."""
    return write_grey_pictures(tmp_path / "images", "abcdef")


def statuses(results: list[Any]) -> dict[str, str]:
    return {result.case: result.status for result in results}


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Let this process do what others would; return the numbers of workers that were asked for."""
    asked = []

    def run(make: Callable[[int], Callable[[], Work]], items: Any, workers: int) -> Iterator[Any]:
        asked.append(workers)
        work = make(0)()
        for item in reversed(items):
            yield item, work(item)

    monkeypatch.setattr(case_workers, "run_in_processes", run)
    return asked


def test_the_folder_is_as_of_one_process(
    cells: Predictor, images: Path, tmp_path: Path, in_this_process: list[int]
) -> None:
    whole, shared = tmp_path / "whole", tmp_path / "shared"
    expected = statuses(cells.predict_folder(images, whole, **WITH_OBJECTS))
    assert in_this_process == []
    found = cells.predict_folder(images, shared, workers=4, **WITH_OBJECTS)
    assert in_this_process == [4]
    assert statuses(found) == expected
    assert list(expected.values()).count("failed") == 1
    assert content(shared) == content(whole)
    again = cells.predict_folder(images, shared, workers=4, **WITH_OBJECTS)
    assert set(statuses(again).values()) == {"kept", "failed"}
    replaced = cells.predict_folder(images, shared, workers=4, overwrite=True, **WITH_OBJECTS)
    assert statuses(replaced) == expected
    assert content(shared) == content(whole)


@pytest.mark.usefixtures("in_this_process")
def test_names_stay_hidden(cells: Predictor, images: Path, tmp_path: Path) -> None:
    (images / "a.png").rename(images / "John_Doe.png")
    with in_use(Pseudonyms(b"k" * 32)):
        cells.predict_folder(images, tmp_path / "out", workers=2)
    for file in (tmp_path / "out").iterdir():
        assert "Doe" not in file.name
        assert b"Doe" not in file.read_bytes()


@pytest.mark.usefixtures("in_this_process")
def test_a_case_of_another_command_is_left_to_it(cells: Predictor, images: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    with claim_of(out / "c.png").held():
        work = [
            CaseWork(cells, case, out / f"{case.name}.png", FolderOptions(workers=2))
            for case in find_cases(images, 1)
        ]
        found = case_workers.predict_by_workers(work, None)
    assert {path.stem for path in found} == set("abdef")


def test_a_case_that_kills_its_processes_has_failed(
    cells: Predictor, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(make: Any, items: Any, workers: int) -> Iterator[Any]:
        for item in items:
            yield item, SwinUMambaError(f"3 processes died while they predicted {item}")

    monkeypatch.setattr(case_workers, "run_in_processes", run)
    results = cells.predict_folder(images, tmp_path / "out", workers=2)
    assert {str(result.error) for result in results} == {
        f"3 processes died while they predicted case {name}" for name in "abcdef"
    }
    assert {record["status"] for record in read_records(tmp_path / "out").values()} == {"failed"}


def test_a_full_disk_ends_it(
    cells: Predictor, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(make: Any, items: Any, workers: int) -> Iterator[Any]:
        yield items[0], OutputError("no space left")
        raise AssertionError("it goes on")

    monkeypatch.setattr(case_workers, "run_in_processes", run)
    with pytest.raises(OutputError, match="no space left"):
        cells.predict_folder(images, tmp_path / "out", workers=2)


@pytest.mark.slow
@pytest.mark.parametrize("scheduler", [None, "local"])
def test_processes_of_their_own(
    cells: Predictor, images: Path, tmp_path: Path, scheduler: str | None
) -> None:
    whole, shared = tmp_path / "whole", tmp_path / "shared"
    expected = statuses(cells.predict_folder(images, whole, **WITH_OBJECTS))
    found = cells.predict_folder(images, shared, workers=2, scheduler=scheduler, **WITH_OBJECTS)
    assert statuses(found) == expected
    assert content(shared) == content(whole)
    assert not multiprocessing.active_children()
