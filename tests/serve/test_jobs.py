"""One queue: order, progress, cancelling, and what is kept for how long."""

from __future__ import annotations

import io
import logging
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage
from starlette.testclient import TestClient

from serve.client_files import png
from serve.serving import PATIENCE, Gate, client_of, eventually, finished
from swin_umamba.errors import CheckpointError, DataError
from swin_umamba.inference.predictor import Predictor
from swin_umamba.serve.jobs import Job, JobQueue
from swin_umamba.serve.limits import Limits
from swin_umamba.serve.problems import Busy, UnknownJob
from swin_umamba.serve.service import Service
from swin_umamba.serve.storage import PrivateFolder
from swin_umamba.serve.upload import Upload


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Bench:
    """A queue whose work ends when a test says so."""

    def __init__(self, root: Path, limits: Limits) -> None:
        self.storage = PrivateFolder(10**6)
        self.clock = Clock()
        self.go = threading.Semaphore(0)
        self.ran: list[str] = []
        self.failure: Exception | None = None
        self.queue: JobQueue[str] = JobQueue(self.work, self.storage, limits, self.clock)

    def work(self, upload: Upload, report: Callable[[float], None]) -> str:
        self.ran.append(upload.names[0])
        report(0.5)
        while not self.go.acquire(timeout=0.01):
            report(0.5)
        if self.failure is not None:
            raise self.failure
        return upload.names[0].upper()

    def add(self, name: str, client: str = "") -> Job[str]:
        folder = self.storage.new(client)
        (folder / "0.png").write_bytes(b"image")
        self.storage.reserve(folder, 5)
        return self.queue.add(Upload(folder, (folder / "0.png",), (name,), client))

    def run(self, name: str, client: str = "") -> Job[str]:
        """Add a job and let it end."""
        job = self.add(name, client)
        self.go.release()
        job.finished.result(timeout=PATIENCE)
        return job

    def folders(self) -> int:
        return len(list(self.storage.path.iterdir()))


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    bench = Bench(tmp_path, Limits(queue=3, kept=2, idle_seconds=60, share=1))
    with bench.storage, bench.queue:
        yield bench
    assert list(tmp_path.iterdir()) == []


def test_first_come_first_served(bench: Bench) -> None:
    jobs = [bench.add(name) for name in "abc"]
    assert eventually(lambda: jobs[0].progress == 0.5)
    assert [job.state for job in jobs] == ["running", "queued", "queued"]
    assert [bench.queue.position(job) for job in jobs] == [0, 0, 1]
    with pytest.raises(Busy, match="3 images are waiting"):
        bench.add("d")
    assert bench.folders() == 3
    for job in jobs:
        bench.go.release()
        job.finished.result(timeout=PATIENCE)
    assert [job.outcome for job in jobs] == ["A", "B", "C"]
    assert bench.ran == ["a", "b", "c"]


def test_inputs_are_deleted_after_the_work_and_results_on_request(bench: Bench) -> None:
    job = bench.run("a")
    assert bench.folders() == 1
    assert not job.upload.files[0].exists()
    bench.storage.reserve(job.upload.folder, 10**6)  # the space of the input is free again
    bench.queue.remove(job.id)
    assert bench.folders() == 0
    with pytest.raises(UnknownJob):
        bench.queue.get(job.id)


def test_a_queued_job_can_be_cancelled(bench: Bench) -> None:
    first, second, third = (bench.add(name) for name in "abc")
    assert eventually(lambda: first.state == "running")
    bench.queue.remove(second.id)
    assert second.finished.done()
    assert bench.queue.position(third) == 0
    bench.go.release(2)
    third.finished.result(timeout=PATIENCE)
    assert bench.ran == ["a", "c"]


def test_a_running_job_can_be_cancelled(bench: Bench) -> None:
    first, second = bench.add("a"), bench.add("b")
    assert eventually(lambda: first.state == "running")
    bench.queue.remove(first.id)
    with pytest.raises(UnknownJob):
        bench.queue.get(first.id)
    assert eventually(lambda: second.state == "running")
    assert bench.folders() == 1
    assert first.outcome is None


def test_results_expire(bench: Bench) -> None:
    first, second = bench.run("a"), bench.run("b")
    bench.clock.now = 50
    bench.queue.get(second.id)
    bench.clock.now = 61
    bench.queue.expire()
    with pytest.raises(UnknownJob):
        bench.queue.get(first.id)
    assert bench.queue.get(second.id) is second
    assert bench.folders() == 1


def test_only_so_many_results_are_kept(bench: Bench) -> None:
    first, second = bench.run("a"), bench.run("b")
    bench.clock.now = 1
    bench.queue.get(first.id)
    third = bench.run("c")
    assert [job.removed for job in (first, second, third)] == [False, True, False]
    assert bench.folders() == 2


def _with_sizes(bench: Bench, sizes: dict[str, int]) -> None:
    """Have the work on a file of this name leave so many bytes."""
    run = bench.work

    def work(upload: Upload, report: Callable[[float], None]) -> str:
        result = upload.folder / "result"
        result.mkdir()
        (result / "mask").write_bytes(bytes(sizes[upload.names[0]]))
        return run(upload, report)

    bench.queue._work = work


def test_results_are_bounded_by_their_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    bench = Bench(tmp_path, Limits(queue=3, kept=9, kept_bytes=100, idle_seconds=60, share=1))
    sizes = {"a": 60, "b": 30, "c": 30, "d": 500, "e": 10}
    _with_sizes(bench, sizes)
    with bench.storage, bench.queue:
        kept = []
        for now, name in enumerate(sizes):
            bench.clock.now = now
            bench.run(name)
            kept.append("".join(each.upload.names[0] for each in bench.queue._jobs.values()))
    # The oldest goes first; what is larger than all of them stays until the next.
    assert kept == ["a", "ab", "bc", "d", "e"]


def test_results_of_all_clients_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    limits = Limits(queue=3, kept=9, kept_bytes=100, all_kept_bytes=150, idle_seconds=60, share=1)
    bench = Bench(tmp_path, limits)
    sizes = {"a": 40, "b": 50, "c": 40, "d": 30, "e": 90, "f": 90}
    _with_sizes(bench, sizes)
    with bench.storage, bench.queue:
        kept = []
        for now, (name, client) in enumerate(zip(sizes, "112134", strict=True)):
            bench.clock.now = now
            bench.run(name, client)
            kept.append("".join(each.upload.names[0] for each in bench.queue._jobs.values()))
    # The client with most loses its oldest; where each has only one, the oldest goes.
    assert kept == ["a", "ab", "abc", "bcd", "de", "f"]


def test_who_is_away_makes_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    bench = Bench(tmp_path, Limits(queue=3, clients=2, away_seconds=10, idle_seconds=60, share=1))
    with bench.storage, bench.queue:
        first, again, second = bench.run("a", "one"), bench.run("b", "one"), bench.run("c", "two")
        bench.clock.now = 9
        bench.queue.get(again.id)  # so that the other one is away for longer
        with pytest.raises(Busy, match="largest number of clients"):
            bench.run("d", "three")
        bench.clock.now = 10
        bench.queue.check_place("three")
        assert not second.removed  # to ask for a place takes none
        third = bench.run("d", "three")
        assert [each.removed for each in (first, again, second, third)] == [False, False, True, False]
        with pytest.raises(Busy, match="largest number of clients"):
            bench.run("e", "two")


def test_waiting_jobs_never_expire(bench: Bench) -> None:
    job = bench.add("a")
    bench.clock.now = 1000
    bench.queue.expire()
    assert bench.queue.get(job.id) is job


def test_a_failure_is_told_with_the_clients_name(bench: Bench) -> None:
    job = bench.add("liver.png")
    path = job.upload.files[0]
    bench.failure = DataError(f"{path} is damaged", where=path, hint=f"look at {bench.storage.path}")
    bench.go.release()
    job.finished.result(timeout=PATIENCE)
    assert job.state == "failed"
    assert job.error is not None
    assert (job.error.what, job.error.where) == ("liver.png is damaged", "liver.png")
    assert job.error.hint == "look at the server's file"
    assert isinstance(job.error, DataError)


def test_places_of_the_server_are_not_told(bench: Bench) -> None:
    private = bench.storage.path / "other.npy"
    bench.failure = CheckpointError(f"cannot read {private}", where="/home/me/model", hint="copy it")
    job = bench.run("a.png")
    assert job.error is not None
    assert (job.error.what, job.error.where) == ("cannot read the server's file/other.npy", None)
    bench.failure = DataError("it differs", where=f"{job.upload.files[0]} and {private}")
    assert bench.run("b.png").error.where is None  # type: ignore[union-attr]


def test_an_unexpected_failure_tells_nothing(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.failure = ValueError("patient Jane Doe")
    with caplog.at_level(logging.INFO):
        job = bench.run("jane.png")
    assert job.error is not None
    assert job.error.what == "something went wrong on the server"
    assert "ValueError" in caplog.text
    assert "jane" not in caplog.text.lower()
    bench.failure = None
    assert bench.run("b").outcome == "B"


@pytest.mark.parametrize(
    "failure", [DataError("it is damaged"), OSError(28, "secret"), RuntimeError("secret")]
)
def test_nothing_stays_of_a_job_that_failed(failure: Exception, bench: Bench) -> None:
    bench.failure = failure
    job = bench.run("a")
    assert bench.folders() == 0
    bench.storage.reserve(bench.storage.new(), 10**6)  # all of the space
    assert bench.queue.get(job.id).error is not None


def test_a_full_disk_is_told(bench: Bench) -> None:
    bench.failure = OSError(28, "secret")
    error = bench.run("a").error
    assert isinstance(error, Busy)
    assert "store the result" in error.what
    assert "secret" not in str(error)


def test_ids_cannot_be_guessed(bench: Bench) -> None:
    ids = {bench.add(name).id for name in "abc"}
    assert len(ids) == 3
    assert all(len(each) == 32 for each in ids)


def test_stopping_cancels_everything(bench: Bench) -> None:
    jobs = [bench.add(name) for name in "ab"]
    assert eventually(lambda: jobs[0].state == "running")
    bench.queue.stop()
    assert all(job.finished.done() for job in jobs)
    with pytest.raises(Busy, match="shutting down"):
        bench.add("c")


# ---- the same through HTTP, with the real work


def images(number: int) -> dict[str, tuple[str, bytes]]:
    return {"file": (f"{number}.png", png(np.full((20, 20), number, np.uint8)))}


def test_positions_progress_and_a_full_queue(
    start: Callable[..., Service], predictor: Predictor, gate: Gate
) -> None:
    client = client_of(start(predictor, Limits(queue=3, share=1)))
    ids = [client.post("/api/jobs", files=images(number)).json()["id"] for number in range(3)]
    assert eventually(lambda: client.get(f"/api/jobs/{ids[0]}").json()["progress"] == 0.25)
    states = [client.get(f"/api/jobs/{each}").json() for each in ids]
    assert [(each["state"], each["position"]) for each in states] == [
        ("running", 0),
        ("queued", 0),
        ("queued", 1),
    ]
    full = client.post("/api/jobs", files=images(3))
    assert full.status_code == 503
    assert int(full.headers["retry-after"]) > 0
    assert client.get(f"/api/jobs/{ids[1]}/labels").status_code == 409
    assert client.get("/").status_code == 200  # the page answers while the network is busy
    assert client.delete(f"/api/jobs/{ids[0]}").status_code == 204
    assert client.delete(f"/api/jobs/{ids[2]}").status_code == 204
    gate.open.set()
    assert finished(client, {"id": ids[1]})["state"] == "done"
    assert gate.started == [0.0, 1.0]


def test_uploads_at_the_same_time_do_not_mix(start: Callable[..., Service], predictor: Predictor) -> None:
    service = start(predictor, Limits(share=1))
    rng = np.random.default_rng(3)
    pictures = [rng.integers(0, 255, (24, 24 + 2 * number), dtype=np.uint8) for number in range(6)]
    expected = [predictor.predict(each).labels for each in pictures]
    answers: dict[int, bytes] = {}

    def upload(number: int) -> None:
        files = {"file": ("same.png", png(pictures[number]))}
        answers[number] = client_of(service).post("/api/predict", files=files).content

    threads = [threading.Thread(target=upload, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    for number in range(6):
        labels = np.asarray(PillowImage.open(io.BytesIO(answers[number])))
        np.testing.assert_array_equal(labels, expected[number])
    assert eventually(lambda: list(service.storage.path.iterdir()) == [])


def test_inputs_are_gone_when_a_job_is_done(service: Service, client: TestClient) -> None:
    job = finished(client, client.post("/api/jobs", files=images(1)).json())
    names = sorted(path.name for path in service.storage.path.rglob("*") if path.is_file())
    assert names == ["labels.npy", "labels.png", "view_0.npy"]
    client.delete(f"/api/jobs/{job['id']}")
    assert list(service.storage.path.iterdir()) == []


def test_nothing_of_an_image_is_logged(
    client: TestClient, picture: np.ndarray, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "swin_umamba"):
        client.post("/api/predict", files={"file": ("Doe_Jane.png", png(picture))})
        client.post("/api/predict", files={"file": ("Doe_Jane.png", b"broken")})
        client.post("/api/predict", files={"file": ("Doe_Jane.txt", b"broken")})
    assert "Doe" not in caplog.text
