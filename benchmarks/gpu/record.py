"""The record of a check: findings, the status of each step, one JSON file and one table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from swin_umamba.errors import DataError, OutputError
from swin_umamba.files import write_text
from swin_umamba.json_files import read_json, write_json

JSON_NAME, TABLE_NAME = "gpu_check.json", "gpu_check.md"
REHEARSAL = "REHEARSAL on a CPU with an invented card: nothing here says anything about a GPU"
# What must be equal for the steps of two runs to belong together.
SAME = ("card", "capability", "driver", "torch", "triton", "code")

Kind = Literal["must", "speed", "fact"]
Status = Literal["passed", "warned", "failed", "timed out", "crashed", "not run"]
DONE: tuple[Status, ...] = ("passed", "warned")
WRONG: tuple[Status, ...] = ("failed", "timed out", "crashed")


@dataclass(frozen=True)
class Finding:
    """One line of a step.

    Attributes
    ----------
    name
        What was looked at.
    kind
        ``must`` ends the check if it fails, ``speed`` only warns, ``fact`` is neither.
    value
        What was found, in ``unit``; None where there is no number, as for any speed in a rehearsal.
    passed
        None for a fact, and for a speed that was not measured.
    note
        One sentence: what it was held against, or what a failure means.
    """

    name: str
    kind: Kind
    value: float | str | bool | None = None
    unit: str = ""
    passed: bool | None = None
    note: str = ""


@dataclass
class StepResult:
    """Outcome of one step: its findings up to where it came, and why it ended there."""

    title: str
    status: Status = "not run"
    seconds: float = 0.0
    reason: str = ""
    findings: list[Finding] = field(default_factory=list)


def status_of(findings: list[Finding]) -> Status:
    """Return the status of a step that ran to its end."""
    if any(finding.kind == "must" and finding.passed is not True for finding in findings):
        return "failed"
    return "warned" if any(finding.passed is False for finding in findings) else "passed"


class Record:
    """What is known of a card so far; every change is on disk at once, and whole.

    Parameters
    ----------
    folder
        Where the JSON file and the table go.
    environment
        Card, driver, versions, clocks.
    rehearsal
        Whether nothing was measured.
    """

    def __init__(self, folder: Path, environment: Mapping[str, Any], *, rehearsal: bool) -> None:
        self.folder = folder
        self.environment = dict(environment)
        self.rehearsal = rehearsal
        self.steps: dict[str, StepResult] = {}

    def resume(self) -> None:
        """Take over the steps of an earlier run of the same card, software and code.

        Raises
        ------
        OutputError
            If the file there is of something else, or cannot be read.
        """
        path = self.folder / JSON_NAME
        if not path.exists():
            return
        hint = "leave --resume out to start anew"
        content = read_json(path, dict, error=OutputError, hint=hint)
        if content.get("rehearsal") is not self.rehearsal:
            raise OutputError("a rehearsal and a measurement do not go on each other", where=path, hint=hint)
        before = content.get("environment", {})
        changed = [name for name in SAME if before.get(name) != self.environment.get(name)]
        if changed:
            raise OutputError(f"it was made with another {', '.join(changed)}", where=path, hint=hint)
        try:
            for number, step in content["steps"].items():
                findings = [Finding(**finding) for finding in step.pop("findings")]
                self.steps[number] = StepResult(**step, findings=findings)
        except (KeyError, TypeError, AttributeError) as error:
            raise OutputError(f"it has no steps as written here ({error})", where=path, hint=hint) from error

    def done(self, number: int) -> bool:
        """Return whether a step need not run again."""
        step = self.steps.get(str(number))
        return step is not None and step.status in DONE

    def write(self, number: int, result: StepResult, verdicts: list[dict[str, str]]) -> None:
        """Add or replace a step, and write both files."""
        self.steps[str(number)] = result
        ordered = dict(sorted(self.steps.items(), key=lambda item: int(item[0])))
        content: dict[str, Any] = {"rehearsal": self.rehearsal}
        if self.rehearsal:
            content["warning"] = REHEARSAL
        content |= {
            "environment": self.environment,
            "steps": {key: asdict(step) for key, step in ordered.items()},
            "claims": verdicts,
        }
        self.steps = ordered
        write_json(self.folder / JSON_NAME, content)
        write_text(self.folder / TABLE_NAME, self.table(verdicts))

    def finding(self, name: str) -> Finding | None:
        """Return the finding of that name in any step, or None."""
        found = (each for step in self.steps.values() for each in step.findings if each.name == name)
        return next(found, None)

    def table(self, verdicts: list[dict[str, str]]) -> str:
        """Return everything as Markdown."""
        card = self.environment.get("card", "unknown card")
        lines = [f"# {REHEARSAL if self.rehearsal else card}", ""]
        lines += ["| | |", "| --- | --- |"]
        lines += [f"| {_cell(name)} | {_cell(value)} |" for name, value in self.environment.items()]
        for number, step in self.steps.items():
            reason = f": {step.reason}" if step.reason else ""
            lines += ["", f"## {number}. {step.title}", "", f"{step.status}, {step.seconds:.0f} s{reason}"]
            if step.findings:
                lines += ["", "| | value | | |", "| --- | ---: | --- | --- |"]
                lines += [_row(finding) for finding in step.findings]
        lines += ["", "## What is claimed", "", "| claim | verdict |", "| --- | --- |"]
        lines += [f"| {_cell(each['claim'])} | {_cell(each['verdict'])} |" for each in verdicts]
        return "\n".join(lines) + "\n"


def _row(finding: Finding) -> str:
    answer = {True: "ok", False: "FAILED" if finding.kind == "must" else "slow", None: ""}[finding.passed]
    value = finding.value
    shown = "not measured" if value is None else f"{value:.3g}" if isinstance(value, float) else str(value)
    unit = f" {finding.unit}" if finding.unit and value is not None else ""
    return f"| {_cell(finding.name)} | {_cell(shown + unit)} | {answer} | {_cell(finding.note)} |"


def _cell(value: object) -> str:
    return " ".join(str(value).replace("|", "\\|").split())


def read_record(folder: Path) -> dict[str, Any]:
    """Return the content of a record that is a measurement.

    Raises
    ------
    DataError
        If there is none, or it is a rehearsal.
    """
    content = read_json(folder / JSON_NAME, dict)
    if content.get("rehearsal") is not False:
        raise DataError("it is a rehearsal, which measures nothing", where=folder, hint="run it on a GPU")
    return content
