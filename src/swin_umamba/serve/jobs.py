"""One queue of images, and one thread that segments them one after the other."""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Generic, Literal, TypeVar

from swin_umamba.errors import SwinUMambaError
from swin_umamba.heap import give_back_freed_memory
from swin_umamba.serve.limits import Limits
from swin_umamba.serve.problems import Busy, TooLong, UnknownJob, unexpected, with_client_names
from swin_umamba.serve.storage import PrivateFolder
from swin_umamba.serve.upload import Upload

logger = logging.getLogger(__name__)

State = Literal["queued", "running", "done", "failed"]
Outcome = TypeVar("Outcome")
# A cancelled prediction ends after its current batch of tiles; shutting down waits no longer than this.
SECONDS_TO_STOP = 10.0
SECONDS_BETWEEN_CLEANINGS = 1.0


class Cancelled(Exception):
    """The job was removed while it ran."""


@dataclass(eq=False)
class Job(Generic[Outcome]):
    """One image on its way.

    Attributes
    ----------
    upload
        Uploaded files; they are deleted after the job has run.
    id
        Identifier for the client, which cannot be guessed.
    state
        ``queued``, ``running``, ``done`` or ``failed``.
    progress
        Fraction of the network's work that is done, 0 to 1.
    outcome
        Return value of the work, if the job is done.
    error
        Reason of a failure, with the client's file names.
    finished
        Gets its result (None) when the job is done, has failed, or is removed.
    """

    upload: Upload
    id: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    state: State = "queued"
    progress: float = 0.0
    outcome: Outcome | None = None
    error: SwinUMambaError | None = None
    finished: Future[None] = field(default_factory=Future)
    removed: bool = False
    used: float = 0.0
    size: int = 0

    @property
    def unfinished(self) -> bool:
        """Whether the job is waiting or running."""
        return self.state in ("queued", "running")


Work = Callable[[Upload, Callable[[float], None]], Outcome]


class JobQueue(Generic[Outcome]):
    """Runs jobs in the order of their arrival, in a separate thread, inside a ``with`` block.

    Parameters
    ----------
    work
        Function that processes an upload. It calls its second argument with the progress, 0 to 1, and must
        not catch what that raises. It may leave files in the folder of the upload.
    storage
        Storage of the uploads.
    limits
        Limits on the number of jobs and on how long they are kept.
    clock
        Seconds, as ``time.monotonic``.
    """

    def __init__(
        self,
        work: Work[Outcome],
        storage: PrivateFolder,
        limits: Limits,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._work = work
        self._storage = storage
        self._limits = limits
        self._clock = clock
        self._jobs: dict[str, Job[Outcome]] = {}
        self._changed = threading.Condition()
        self._stopping = threading.Event()
        self._threads = [
            threading.Thread(target=target, name=target.__name__, daemon=True)
            for target in (self._run_jobs, self._clean)
        ]

    def __enter__(self) -> JobQueue[Outcome]:
        """Start the thread."""
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        """Cancel and remove all jobs, and wait for the work to stop."""
        self.stop()
        for thread in self._threads:
            thread.join(SECONDS_TO_STOP)
        for job in list(self._jobs.values()):
            self._storage.remove(job.upload.folder)

    def stop(self) -> None:
        """Cancel all jobs and accept no more. Returns at once, and may be called from a signal handler."""
        with self._changed:  # reentrant, since a signal handler may take it in a thread that holds it
            self._stopping.set()
            for job in self._jobs.values():
                job.removed = True
                _finish(job)
            self._changed.notify_all()

    def check_place(self, client: str = "") -> None:
        """Raise ``Busy`` if the queue cannot take another job of a client now."""
        with self._changed:
            jobs = list(self._jobs.values())
        waiting = sum(job.unfinished for job in jobs)
        own = sum(job.unfinished and job.upload.client == client for job in jobs)
        if self._stopping.is_set():
            raise Busy("the server is shutting down")
        if waiting >= self._limits.queue:
            raise Busy(
                f"{waiting} images are waiting already, and the server accepts no more",
                hint="try again in a moment",
            )
        if own >= self._limits.queue * self._limits.share:
            raise Busy(f"{own} of your images are waiting already", hint="wait for their results")
        if self._is_one_too_many(client) and self._idle_client() is None:
            raise Busy(
                "the server keeps results for the largest number of clients that it allows",
                hint="try again in a while",
            )

    def add(self, upload: Upload) -> Job[Outcome]:
        """Put an upload into the queue; the upload is deleted if the queue is full."""
        job: Job[Outcome] = Job(upload, used=self._clock())
        try:
            with self._changed:
                self.check_place(upload.client)
                if self._is_one_too_many(upload.client):
                    idle = self._idle_client()
                    for each in [each for each in self._jobs.values() if each.upload.client == idle]:
                        self._drop(each)
                self._jobs[job.id] = job
                self._changed.notify_all()
        except Busy:
            self._storage.remove(upload.folder)
            raise
        return job

    def _is_one_too_many(self, client: str) -> bool:
        return len({job.upload.client for job in self._with_results()} | {client}) > self._limits.clients

    def _with_results(self) -> list[Job[Outcome]]:
        return [job for job in list(self._jobs.values()) if job.state != "failed"]

    def _idle_client(self) -> str | None:
        """Return the client that has been away for the longest time, if that is long enough."""
        now, used = self._clock(), dict[str, float]()
        for job in self._with_results():
            last = now if job.unfinished else job.used
            used[job.upload.client] = max(last, used.get(job.upload.client, last))
        oldest = min(used, key=lambda client: used[client], default=None)
        return oldest if oldest is not None and now - used[oldest] >= self._limits.away_seconds else None

    def get(self, job_id: str) -> Job[Outcome]:
        """Return a job and restart the time for which it is kept."""
        job = self._jobs.get(job_id)
        if job is None or job.removed:
            raise UnknownJob
        job.used = self._clock()
        return job

    def position(self, job: Job[Outcome]) -> int:
        """Return the number of jobs ahead of this one; 0 for one that is next or no longer waiting."""
        with self._changed:
            queued = [each for each in self._jobs.values() if each.state == "queued"]
        return queued.index(job) if job in queued else 0

    def remove(self, job_id: str) -> None:
        """Delete a job and its files; a running one ends after its current batch of tiles."""
        with self._changed:
            job = self.get(job_id)
            job.removed = True
            if job.state != "running":  # else the thread that runs it removes it, when nothing uses its files
                self._forget(job)
        _finish(job)

    def expire(self) -> None:
        """Remove finished jobs that nobody has requested for some time, or for which there is no room."""
        with self._changed:
            done = [job for job in self._jobs.values() if not job.unfinished]
            done.sort(key=lambda job: job.used, reverse=True)
            oldest = self._clock() - self._limits.idle_seconds
            kept: Counter[str] = Counter()
            size: Counter[str] = Counter()
            staying: list[Job[Outcome]] = []
            for job in done:
                client = job.upload.client
                kept[client] += 1
                size[client] += job.size
                full = kept[client] > self._limits.kept or size[client] > self._limits.kept_bytes
                if (full and kept[client] > 1) or job.used < oldest:
                    size[client] -= job.size
                    self._drop(job)
                else:
                    staying.append(job)
            while size.total() > self._limits.all_kept_bytes and len(staying) > 1:
                number = Counter(job.upload.client for job in staying)
                # The last result of a client, perhaps just made, goes only where nobody has more than one.
                largest = max(number, key=lambda client: (number[client] > 1) * size[client])
                several = number[largest] > 1
                job = next(job for job in reversed(staying) if not several or job.upload.client == largest)
                staying.remove(job)
                size[job.upload.client] -= job.size
                self._drop(job)

    def _drop(self, job: Job[Outcome]) -> None:
        job.removed = True
        self._forget(job)

    def _forget(self, job: Job[Outcome]) -> None:
        self._jobs.pop(job.id, None)
        self._storage.remove(job.upload.folder)

    def _clean(self) -> None:
        while not self._stopping.wait(SECONDS_BETWEEN_CLEANINGS):
            self.expire()

    def _next(self) -> Job[Outcome] | None:
        """Wait for the next job and mark it as running; return None when the server shuts down."""
        with self._changed:
            while not self._stopping.is_set():
                job = next((job for job in self._jobs.values() if job.state == "queued"), None)
                if job is not None:
                    job.state = "running"
                    return job
                self._changed.wait()
        return None

    def _run_jobs(self) -> None:
        while (job := self._next()) is not None:
            self._run(job)

    def _run(self, job: Job[Outcome]) -> None:
        end = self._clock() + self._limits.job_seconds

        def report(part: float) -> None:
            if job.removed:
                raise Cancelled
            if self._clock() > end:
                raise TooLong(
                    f"the prediction took longer than {self._limits.job_seconds / 60:g} minutes",
                    hint="crop the image, or start the server with a larger --job-minutes",
                )
            job.progress = part

        upload, error = job.upload, None
        try:
            report(0.0)
            job.outcome = self._work(upload, report)
        except Cancelled:
            pass
        except SwinUMambaError as failure:
            error = with_client_names(failure, upload.files, upload.names, self._storage.path)
        except OSError as failure:
            logger.error("a result cannot be stored: %s (--debug shows where)", type(failure).__name__)
            logger.debug("job", exc_info=True)
            error = Busy("the server cannot store the result", hint="see that its disk has space")
        except Exception as failure:
            # Only the type is logged: the text of an error can contain data of the image.
            logger.error("an image failed with %s (--debug shows where)", type(failure).__name__)
            logger.debug("job", exc_info=True)
            error = unexpected(failure)
        if error is None:
            for file in upload.files:
                file.unlink(missing_ok=True)
            with suppress(OSError):  # the server is shutting down and has deleted it
                job.size = sum(file.stat().st_size for file in upload.folder.rglob("*") if file.is_file())
            self._storage.release(upload.folder)
        else:  # a partial result is useless, and the disk may be full
            self._storage.remove(upload.folder)
        with self._changed:
            job.error = error
            job.used = self._clock()
            job.state = "done" if error is None else "failed"
            if job.removed:
                self._forget(job)
        self.expire()
        give_back_freed_memory()  # until the next job, which may be days
        _finish(job)


def _finish(job: Job[Outcome]) -> None:
    """Wake those who wait for the job."""
    with suppress(InvalidStateError):  # another call was first
        job.finished.set_result(None)
