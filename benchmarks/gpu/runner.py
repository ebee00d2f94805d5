"""Run each step in a process of its own, with a time limit, and keep its record at every moment.

After an error of CUDA a process is of no more use, and a kernel that hangs cannot be stopped otherwise. The
processes are forked from one that has imported everything and never touched the card.
"""

from __future__ import annotations

import importlib.util
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from gpu.claims import verdicts
from gpu.explain import sentence
from gpu.record import WRONG, Finding, Record, StepResult, status_of
from swin_umamba.errors import SwinUMambaError

_FORK = multiprocessing.get_context("fork")


class NotRunError(Exception):
    """The step cannot run here, and that is no failure; the text says why."""


@dataclass
class Context:
    """What a step is told, and where it reports to.

    Attributes
    ----------
    rehearse
        Tiny sizes, on the CPU; no speed is measured.
    folder
        Where the record is; kernels are cached beside it.
    environment
        Facts of the card.
    send
        Takes each finding as soon as there is one.
    """

    rehearse: bool
    folder: Path
    environment: dict[str, Any]
    send: Callable[[Finding], None]
    minutes: float = 8.0
    deadline: float = field(default=float("inf"))

    @property
    def device(self) -> Any:
        """The device under test."""
        import torch

        return torch.device("cpu" if self.rehearse else "cuda:0")

    @property
    def backend(self) -> str:
        """Backend of the scans in networks: named, so that none is tested in its place."""
        return "chunked" if self.rehearse else "triton"

    @property
    def free_gigabytes(self) -> float:
        """Free memory of the card now; a rehearsal has none to speak of."""
        import torch

        return 0.0 if self.rehearse else torch.cuda.mem_get_info(0)[0] / 1e9

    @property
    def seconds_left(self) -> float:
        """Seconds until the step is stopped."""
        return self.deadline - time.monotonic()

    def must(self, name: str, passed: bool, value: Any = None, unit: str = "", note: str = "") -> None:
        """Report something without which nothing else counts."""
        self.send(Finding(name, "must", value, unit, bool(passed), note))

    def speed(
        self, name: str, value: float | None, unit: str, at_least: float | None = None, note: str = ""
    ) -> None:
        """Report a figure; below ``at_least`` it warns. A rehearsal keeps no figure."""
        if self.rehearse:
            self.send(Finding(name, "speed", None, unit, None, "rehearsed, not measured"))
            return
        if at_least is not None:
            note = f"at least {at_least:g} expected{'; ' + note if note else ''}"
        passed = None if at_least is None or value is None else value >= at_least
        self.send(Finding(name, "speed", value, unit, passed, note))

    def fact(self, name: str, value: Any, unit: str = "", note: str = "") -> None:
        """Report something that is neither right nor wrong."""
        self.send(Finding(name, "fact", value, unit, None, note))


@dataclass(frozen=True)
class Step:
    """One step: its title, its function, its seconds, and what must be installed for it."""

    title: str
    run: Callable[[Context], None]
    seconds: float
    needs: Sequence[str] = ()
    only_speed: bool = False


def run_step(step: Step, context: Context, limit: float) -> StepResult:
    """Run one step for at most ``limit`` seconds, and return what came of it, whatever came."""
    result = StepResult(step.title)
    missing = [name for name in step.needs if importlib.util.find_spec(name) is None]
    if missing:
        result.reason = f"{', '.join(missing)} missing"
        return result
    start = time.monotonic()
    receiver, sender = _FORK.Pipe(duplex=False)
    process = _FORK.Process(target=_in_child, args=(step, context, sender, start + limit))
    process.start()
    sender.close()
    ended: tuple[str, str] | None = None
    try:
        ended = _receive(receiver, result, start + limit)
    finally:
        timed_out = ended is None and time.monotonic() >= start + limit
        if ended is None:
            _kill(process.pid)
        process.join(10)
        _kill(process.pid)  # what it started, too
        process.join()
        receiver.close()
        result.seconds = time.monotonic() - start
    if ended is not None:
        kind, reason = ended
        result.status = status_of(result.findings) if kind == "ended" else kind  # type: ignore[assignment]
        result.reason = reason
    elif timed_out:
        result.status, result.reason = "timed out", f"stopped after {limit:.0f} s"
    else:
        result.status, result.reason = "crashed", f"its process ended with {process.exitcode}"
    if step.only_speed and result.status in WRONG:
        result.status, result.reason = "warned", f"{result.status}: {result.reason}".rstrip(": ")
    return result


def _receive(receiver: Connection, result: StepResult, deadline: float) -> tuple[str, str] | None:
    """Collect findings until the step says that it ended; None if it never does.

    What it has said in time counts, also where this process was halted until later.
    """
    while True:
        left = deadline - time.monotonic()
        if not receiver.poll(max(0.0, min(left, 0.5))):
            if left <= 0:
                return None
            continue
        try:
            message = receiver.recv()
        except (EOFError, OSError):
            return None
        if isinstance(message, Finding):
            result.findings.append(message)
        else:
            return message  # type: ignore[no-any-return]


def _kill(pid: int | None) -> None:
    try:
        if pid is not None:
            os.killpg(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass


def _in_child(step: Step, context: Context, sender: Connection, deadline: float) -> None:
    os.setsid()
    context.send, context.deadline = sender.send, deadline
    try:
        import torch

        torch.manual_seed(0)
        if context.rehearse:
            torch.set_num_threads(1)  # those of OpenMP do not survive a fork
            _hurry()
        step.run(context)
        sender.send(("ended", ""))
    except NotRunError as error:
        sender.send(("not run", str(error)))
    except SwinUMambaError as error:
        sender.send(("failed", " ".join(str(error).split())))
    except BaseException as error:
        sender.send(("failed", sentence(error)))
    sender.close()


def _hurry() -> None:
    """Let Triton's interpreter compute in quicker ways."""
    from ops.fast_triton import replacements

    for owner, name, value in replacements("cpu"):
        setattr(owner, name, value)


def run_all(
    steps: dict[int, Step], record: Record, context: Context, *, wanted: Sequence[int], resume: bool, say: Any
) -> int:
    """Run the steps in order, write each result at once, and return the exit status.

    It ends at the first failed *must*; what a step leaves of its time is for later ones.
    """
    end = time.monotonic() + 60 * context.minutes
    spare = 0.0
    for number in wanted:
        step = steps[number]
        if resume and record.done(number):
            say(f"{number}. {step.title}: done before")
            continue
        seconds = step.seconds * (4 if context.rehearse else 1)  # the interpreter on a busy machine
        limit = min(seconds + spare, end - time.monotonic())
        if limit <= 0:
            result = StepResult(step.title, reason="no time left")
        else:
            record.write(number, StepResult(step.title, reason="began, and was stopped"), verdicts(record))
            result = run_step(step, context, limit)
        spare = max(0.0, limit - result.seconds)
        record.write(number, result, verdicts(record))
        say(f"{number}. {step.title}: {result.status} in {result.seconds:.0f} s {result.reason}".rstrip())
        for finding in result.findings:
            if finding.passed is False:
                say(f"   {finding.name}: {finding.value} {finding.unit} {finding.note}".rstrip())
        if result.status in WRONG:
            say(f"Stopped: step {number} must pass before anything after it means something.")
            return 1
    return 0
