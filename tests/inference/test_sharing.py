"""Several processes on one folder: each case once, and what a killed one leaves is taken over."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as PillowImage

from forked import Forked
from swin_umamba import lock
from swin_umamba.errors import DataError
from swin_umamba.inference import pipeline
from swin_umamba.inference.case_result import CaseResult
from swin_umamba.inference.predictor import Predictor
from swin_umamba.inference.records import RECORDS_FILE, PredictionRecords, read_records
from swin_umamba.lock import Lock

MakeModel = Callable[..., Path]
NAMES = "abcdefgh"


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "SECONDS_BETWEEN_ROUNDS", 0.01)


@pytest.fixture
def model(make_model: MakeModel) -> Path:
    return make_model()


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Return a folder of pictures, of which one is damaged."""
    folder = tmp_path / "images"
    folder.mkdir()
    generator = np.random.default_rng(0)
    for name in NAMES:
        PillowImage.fromarray(generator.integers(0, 255, (40, 50), np.uint8)).save(folder / f"{name}.png")
    (folder / "c.png").write_bytes((folder / "c.png").read_bytes()[:50])
    return folder


def load(model: Path) -> Predictor:
    return Predictor.from_folder(model, device="cpu", mirroring=False)


@pytest.mark.parametrize("overwrite", [False, True])
def test_two_at_a_time_do_each_case_once(
    model: Path, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overwrite: bool
) -> None:
    out = tmp_path / "out"
    started: list[str] = []
    both = threading.Barrier(2)
    begin = PredictionRecords.begin

    def recorded(self: PredictionRecords, case: str, made_from: Any) -> int:
        if len(started) < 2:
            started.append(case)
            both.wait(300)  # each has a case
        else:
            started.append(case)
        return begin(self, case, made_from)

    monkeypatch.setattr(PredictionRecords, "begin", recorded)
    found: list[list[CaseResult]] = []

    def run() -> None:
        found.append(load(model).predict_folder(images, out, overwrite=overwrite))

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(started) == list(NAMES)
    statuses = [[result.status for result in results] for results in found]
    for case, *both_statuses in zip(NAMES, *statuses, strict=True):
        assert sorted(both_statuses) == (["failed", "failed"] if case == "c" else ["kept", "written"])
    whole = tmp_path / "whole"
    load(model).predict_folder(images, whole)
    for name in NAMES.replace("c", ""):
        assert (out / f"{name}.png").read_bytes() == (whole / f"{name}.png").read_bytes()
    assert sorted(path.name for path in out.iterdir()) == sorted(path.name for path in whole.iterdir())
    lines = (out / RECORDS_FILE).read_text().splitlines()
    assert [json.loads(line)["case"] for line in lines] == list(NAMES)


def test_the_case_of_a_dead_process_is_taken_over(model: Path, images: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    PredictionRecords(out).begin("a", {"input": "x"})
    (out / "a.png").write_bytes(b"half a result")
    dead = {**lock._this_process(), "started": "another process had this number"}
    (out / ".a.png.claim").write_text(json.dumps(dead))
    statuses = [result.status for result in load(model).predict_folder(images, out)]
    assert Counter(statuses) == {"written": 7, "failed": 1}
    assert not list(out.glob(".*"))


def test_a_claim_of_a_dead_process_on_a_finished_case_is_removed(
    model: Path, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    begin = PredictionRecords.begin

    def killed_meanwhile(self: PredictionRecords, case: str, made_from: Any) -> int:
        if case == "h":  # far behind those that are read ahead
            dead = {**lock._this_process(), "started": "another process had this number"}
            (out / ".a.png.claim").write_text(json.dumps(dead))
            (out / ".b.png.claim").mkdir()  # cannot be opened, as that of another user
            (out / ".notes.claim").write_text("somebody's own")
        return begin(self, case, made_from)

    monkeypatch.setattr(PredictionRecords, "begin", killed_meanwhile)
    monkeypatch.setattr(pipeline, "AHEAD", 2)
    load(model).predict_folder(images, out)
    assert sorted(path.name for path in out.glob(".*")) == [".b.png.claim", ".notes.claim"]
    assert (out / ".notes.claim").read_text() == "somebody's own"


def test_a_case_of_a_living_process_is_waited_for(model: Path, images: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    found: list[CaseResult] = []

    def run() -> None:
        found.extend(load(model).predict_folder(images, out))

    with Lock(out / ".a.png.claim").held():
        other = PredictionRecords(out)
        thread = threading.Thread(target=run)
        thread.start()
        while len(read_records(out)) < len(NAMES) - 1:
            time.sleep(0.01)
        assert thread.is_alive()
        assert not (out / "a.png").exists()
        reason = DataError("it is upside down", hint="turn it")
        other.add(CaseResult("a", (images / "a.png",), out / "a.png", "failed", error=reason), load(model))
    thread.join(300)
    assert [each.status for each in found[:2]] == ["failed", "written"]
    assert "upside down" in str(found[0].error)
    assert read_records(out).keys() == set(NAMES)


def _predict(model: Path, images: Path, out: Path, seconds: float) -> None:
    """Predict, slowly."""
    predict = Predictor.predict

    def slow(self: Predictor, *given: Any, **options: Any) -> Any:
        time.sleep(seconds)
        return predict(self, *given, **options)

    Predictor.predict = slow  # type: ignore[method-assign]
    load(model).predict_folder(images, out)


@pytest.mark.slow
def test_a_process_that_is_killed_loses_its_case(model: Path, images: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    killed = Forked(_predict, model, images, out, 3600)
    deadline = time.monotonic() + 300
    while not (out / ".a.png.claim").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    others = [Forked(_predict, model, images, out, 0.1) for _ in range(2)]
    while len(read_records(out)) < 2:  # they do what is left to them
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(killed.pid, signal.SIGKILL)
    assert [process.wait() for process in (killed, *others)] == [-signal.SIGKILL, 0, 0]
    whole = tmp_path / "whole"
    load(model).predict_folder(images, whole)
    for name in NAMES.replace("c", ""):
        assert (out / f"{name}.png").read_bytes() == (whole / f"{name}.png").read_bytes()
    assert not list(out.glob(".*"))
