"""Reading and writing beside the network: the same results in the same order, nothing lost or half done."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as PillowImage

from forked import Forked
from swin_umamba.data.image_io import read_labels
from swin_umamba.errors import DataError, OutputError
from swin_umamba.inference import case_run, pipeline
from swin_umamba.inference.case_result import CaseResult
from swin_umamba.inference.case_run import result_of
from swin_umamba.inference.case_work import CaseWork
from swin_umamba.inference.cases import find_cases, output_paths
from swin_umamba.inference.options import FolderOptions
from swin_umamba.inference.predictor import Predictor
from swin_umamba.inference.records import PredictionRecords, read_records
from swin_umamba.interrupt import Terminated, terminate_as_interrupt

MakeModel = Callable[..., Path]
NAMES = "abcdefghijklmnopqrst"
BAD = "g"
PATIENCE = 300.0
"""Seconds after which what hangs is given up: far more than anything takes, however busy the machine is."""


@pytest.fixture
def model(make_model: MakeModel) -> Path:
    return make_model()


@pytest.fixture
def one(model: Path) -> Predictor:
    return Predictor.from_folder(model, device="cpu", mirroring=False)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Return a folder of pictures of several sizes, of which one is damaged."""
    folder = tmp_path / "images"
    folder.mkdir()
    generator = np.random.default_rng(0)
    for number, name in enumerate(NAMES):
        pixels = generator.integers(0, 255, (30 + number, 60 - 2 * number), np.uint8)
        PillowImage.fromarray(pixels).save(folder / f"{name}.png")
    (folder / f"{BAD}.png").write_bytes((folder / f"{BAD}.png").read_bytes()[:50])
    return folder


def one_by_one(predictor: Predictor, images: Path, out: Path, **options: Any) -> list[CaseResult]:
    """Predict without anything beside it."""
    cases, chosen = find_cases(images, 1), FolderOptions(**options)
    out.mkdir()
    records = PredictionRecords(out)
    paths = output_paths(cases, out, ".png", chosen)
    pairs = zip(cases, paths, strict=True)
    return [result_of(CaseWork(predictor, case, path, chosen, records)) for case, path in pairs]


def content(folder: Path) -> dict[str, bytes]:
    """Return all files of cases; the record holds times."""
    files = [path for path in folder.rglob("*") if path.is_file() and ".json" not in path.suffix]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def check_nothing_is_half_done(out: Path) -> set[str]:
    """Check that every label map is whole and recorded; return which there are."""
    assert not [path for path in out.rglob("*") if path.name.startswith(".")]
    there = {path.stem for path in out.glob("*.png")}
    records = read_records(out)
    assert {name for name, record in records.items() if record["status"] == "written"} == there
    for name in there:
        read_labels(out / f"{name}.png")
    return there


@pytest.mark.parametrize(
    ("readers", "options"),
    [(1, {}), (4, {}), (2, {"probabilities": True, "confidence": True})],
)
def test_the_results_are_those_of_one_by_one(
    one: Predictor,
    images: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    readers: int,
    options: dict[str, bool],
) -> None:
    monkeypatch.setattr(pipeline, "_num_readers", lambda: readers)
    expected = one_by_one(one, images, tmp_path / "alone", **options)
    results = one.predict_folder(images, tmp_path / "out", **options)
    ours = ("swin-umamba-reader", "swin-umamba-writer")
    assert not [each.name for each in threading.enumerate() if each.name.startswith(ours)]
    assert [each.case for each in results] == list(NAMES)
    for result, alone in zip(results, expected, strict=True):
        assert (result.status, str(result.error)) == (alone.status, str(alone.error))
        assert result.confidence == alone.confidence
    assert [each.case for each in results if each.error is not None] == [BAD]
    assert content(tmp_path / "out") == content(tmp_path / "alone")
    records, others = read_records(tmp_path / "out"), read_records(tmp_path / "alone")
    assert list(records) == list(NAMES)
    for name, record in records.items():
        same = set(record) - {"seconds", "finished"}
        assert {key: record[key] for key in same} == {key: others[name][key] for key in same}
    again = one.predict_folder(images, tmp_path / "out", **options)
    assert [each.status for each in again] == ["failed" if name == BAD else "kept" for name in NAMES]


@pytest.mark.parametrize("room", [0, 10**12])
def test_what_is_on_its_way_is_bounded(
    one: Predictor, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    """With room for none, each case has the way for itself; with room for all, as many as may be are read."""
    counts: list[int] = []
    on_their_way: set[str] = set()
    guard, several = threading.Lock(), threading.Event()
    prepare, finish = case_run.CaseRun.prepare, case_run.CaseRun.finish

    def entering(self: case_run.CaseRun) -> None:
        with guard:
            on_their_way.add(self.work.case.name)
            counts.append(len(on_their_way))
            if len(on_their_way) > 1:
                several.set()
        prepare(self)

    def leaving(self: case_run.CaseRun) -> None:
        if room:  # the first waits for the next, and does not end before it has begun
            assert several.wait(PATIENCE)
        finish(self)
        with guard:
            on_their_way.remove(self.work.case.name)

    monkeypatch.setattr(case_run.CaseRun, "prepare", entering)
    monkeypatch.setattr(case_run.CaseRun, "finish", leaving)
    monkeypatch.setattr(pipeline, "_memory_for_all", lambda: room)
    results = one.predict_folder(images, tmp_path / "out")
    assert len([each for each in results if each.status == "written"]) == len(NAMES) - 1
    assert max(counts) == 1 if room == 0 else 2 <= max(counts) <= pipeline.AHEAD + pipeline.BEHIND + 2


@pytest.mark.parametrize(("seconds", "most"), [(0, 3), (10**6, pipeline.AHEAD)])
def test_a_slow_network_leaves_cases_to_other_processes(
    one: Predictor,
    images: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    seconds: float,
    most: int,
) -> None:
    """The cases that are claimed and wait for the network: few if they take it longer than seconds."""
    claimed: set[str] = set()
    counts: list[int] = []
    first = 3  # as nobody knows yet how long the network takes
    look, predict = case_run.CaseRun.look, case_run.CaseRun.predict

    def looking(self: case_run.CaseRun) -> None:
        claimed.add(self.work.case.name)
        look(self)

    def predicting(self: case_run.CaseRun, *on_progress: Any) -> None:
        deadline = time.monotonic() + PATIENCE
        while len(claimed) < min(most if counts else first, len(NAMES) - len(counts)):
            assert time.monotonic() < deadline, "no more cases are claimed"
            time.sleep(0.001)
        time.sleep(0.02)  # for one too many
        counts.append(len(claimed))
        claimed.remove(self.work.case.name)
        predict(self, *on_progress)

    monkeypatch.setattr(case_run.CaseRun, "look", looking)
    monkeypatch.setattr(case_run.CaseRun, "predict", predicting)
    monkeypatch.setattr(pipeline, "SECONDS_AHEAD", seconds)
    monkeypatch.setattr(pipeline, "_num_readers", lambda: 1)
    monkeypatch.setattr(pipeline, "_memory_for_all", lambda: 10**12)
    results = one.predict_folder(images, tmp_path / "out")
    assert [each.case for each in results] == list(NAMES)
    assert counts == [min(most if number else first, len(NAMES) - number) for number in range(len(NAMES))]


@pytest.mark.parametrize("name", ["a", "k", "t"])
def test_a_full_disk_stops_everything_and_keeps_what_is_finished(
    one: Predictor, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    encode = case_run.write_labels

    def full(path: Path, *given: Any, **options: Any) -> None:
        if path.stem == name:
            raise OutputError("cannot write the file: No space left on device", where=path)
        encode(path, *given, **options)

    monkeypatch.setattr(case_run, "write_labels", full)
    with pytest.raises(OutputError, match="No space left"):
        one.predict_folder(images, tmp_path / "out")
    before = set(NAMES[: NAMES.index(name)]) - {BAD}
    assert check_nothing_is_half_done(tmp_path / "out") == before
    monkeypatch.setattr(case_run, "write_labels", encode)
    results = one.predict_folder(images, tmp_path / "out")
    expected = ["failed" if each == BAD else "kept" if each in before else "written" for each in NAMES]
    assert [result.status for result in results] == expected


def test_an_error_of_the_writer_itself_is_raised(
    one: Predictor, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise OutputError("the record cannot be opened")

    monkeypatch.setattr(PredictionRecords, "add_all", broken)
    with pytest.raises(OutputError, match="cannot be opened"):
        one.predict_folder(images, tmp_path / "out")
    assert not list((tmp_path / "out").glob(".*"))


@pytest.mark.parametrize("kind", [KeyboardInterrupt, Terminated])
@pytest.mark.parametrize("number", [0, 5, 19])
def test_an_interrupt_keeps_what_the_network_has_seen(
    one: Predictor,
    images: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: type[BaseException],
    number: int,
) -> None:
    predict = case_run.CaseRun.predict

    def interrupted(self: case_run.CaseRun, *given: Any) -> None:
        if self.work.case.name == NAMES[number]:
            raise kind
        predict(self, *given)

    monkeypatch.setattr(case_run.CaseRun, "predict", interrupted)
    with pytest.raises(kind):
        one.predict_folder(images, tmp_path / "out")
    assert check_nothing_is_half_done(tmp_path / "out") == set(NAMES[:number]) - {BAD}
    monkeypatch.setattr(case_run.CaseRun, "predict", predict)
    results = one.predict_folder(images, tmp_path / "out")
    assert len([each for each in results if each.status == "kept"]) == len(set(NAMES[:number]) - {BAD})
    one_by_one(one, images, tmp_path / "alone")
    assert content(tmp_path / "out") == content(tmp_path / "alone")


def test_what_did_not_fit_beside_others_is_tried_alone(
    one: Predictor, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    preprocess, tries = one.plans.preprocess, []

    def short(volume: Any, max_voxels: int) -> Any:
        name = volume.source.path.stem
        tries.append(name)
        if name == "h" and threading.current_thread() is not threading.main_thread():
            raise MemoryError
        if name == "j":
            raise MemoryError
        return preprocess(volume, max_voxels)

    monkeypatch.setattr(one.plans, "preprocess", short)
    results = {each.case: each for each in one.predict_folder(images, tmp_path / "out")}
    assert results["h"].status == "written"
    assert isinstance(results["j"].error, DataError)
    assert "not enough memory for an image of 1 x 1 x 39 x 42 voxels" in str(results["j"].error)
    assert tries.count("h") == tries.count("j") == 2


def _predict_slowly(model: Path, images: Path, out: Path) -> int:
    predict = case_run.CaseRun.predict

    def slow(self: case_run.CaseRun, *given: Any) -> None:
        # However late the signal comes, not all is done by then.
        time.sleep(PATIENCE if self.work.case.name == NAMES[-1] else 0.1)
        predict(self, *given)

    case_run.CaseRun.predict = slow  # type: ignore[method-assign]
    try:
        with terminate_as_interrupt():
            Predictor.from_folder(model, device="cpu", mirroring=False).predict_folder(images, out)
    except KeyboardInterrupt:
        return 7
    return 0


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_process_with_all_that_is_finished(
    model: Path, images: Path, tmp_path: Path, number: int
) -> None:
    out = tmp_path / "out"
    process = Forked(_predict_slowly, model, images, out)
    deadline = time.monotonic() + PATIENCE
    while not (out / "d.png").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(number)
    assert process.wait() == 7
    assert set("abcd") <= check_nothing_is_half_done(out) < set(NAMES)
