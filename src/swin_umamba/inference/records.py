"""``predictions.jsonl`` in a folder of predictions: the outcome, time and confidence of each case.

One JSON object per line, one line per case, appended when the case is done, so that an interrupted run keeps
its results. A case also gets a line when it is begun, and further lines when predicted again; the last one
counts, and the others are removed when the run ends. Several processes may write to it: each reads what the
others have added. A part of a job array writes ``predictions.part-I-of-N.jsonl``, see ``inference.parts``.
"""

from __future__ import annotations

import json
import math
import os
import threading
from collections import ChainMap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from swin_umamba import __version__
from swin_umamba.errors import OutputError
from swin_umamba.files import append_line, write_text
from swin_umamba.json_files import LARGEST_RESULTS, SCHEMA, contract_lines, contract_text, read_contract_lines
from swin_umamba.lock import let_go, opened_alone
from swin_umamba.opening import final_place
from swin_umamba.pseudonyms import hidden

if TYPE_CHECKING:
    from swin_umamba.inference.case_result import CaseResult
    from swin_umamba.inference.predictor import Predictor

RECORDS_FILE = "predictions.jsonl"
LARGEST_FILE = LARGEST_RESULTS
_NUMBERS = ("quality", "mean_entropy", "num_members", "temperature", "quality_exponent")


class PredictionRecords:
    """The record of a folder of predictions.

    Lines of an earlier run are kept, those of version 0.1 converted to the current form; the partial line of
    a killed run is dropped.

    Parameters
    ----------
    folder
        Folder of the label maps.
    name
        Name of the file.
    others
        Records of other files of the folder, by case; those of this file count before them.

    Raises
    ------
    OutputError
        If an earlier record cannot be read or written, or has a line written by a newer version; of all
        methods that read or write, if it has been removed meanwhile.
    """

    def __init__(
        self, folder: Path, name: str = RECORDS_FILE, others: Mapping[str, Mapping[str, Any]] | None = None
    ) -> None:
        self.path = folder / name
        self._others = dict(others or {})
        self._own: dict[str, Mapping[str, Any]] = {}
        self._lines: dict[str, str] = {}
        self._read_until: tuple[int, int] | None = None  # inode and size
        self._guard = threading.Lock()
        self._count = self._synced = 0  # lines of this process, and those that the disk is known to hold
        self.tidy()
        self._at_start = dict(self.of_case)

    @property
    def of_case(self) -> Mapping[str, Mapping[str, Any]]:
        """The last record of each case."""
        return ChainMap(self._own, self._others)

    def confidence_of(self, case: str) -> Mapping[str, Any] | None:
        """Return the confidence an earlier run recorded for a case; None if there is none to trust.

        The file may be damaged or untrusted: the value returned has the form that this package writes.
        """
        known = self.of_case.get(case, {}).get("confidence")
        if not isinstance(known, dict) or not isinstance(known.get("class_quality"), dict):
            return None
        numbers = {key: known.get(key) for key in _NUMBERS}
        # 0 <= NaN is also false.
        if not all(
            each is None or (isinstance(each, int | float) and 0 <= each < math.inf)
            for each in (*numbers.values(), *known["class_quality"].values())
        ):
            return None
        return {
            **numbers,
            "class_quality": known["class_quality"],
            "calibrated": known.get("calibrated") is True,
            "quality_calibrated": known.get("quality_calibrated") is True,
        }

    def tidy(self, order: Sequence[str] = (), *, added: Iterable[Mapping[str, Any]] = ()) -> None:
        """Keep only the last line of each case.

        Parameters
        ----------
        order
            Names of cases whose lines come last, in this order; others stay in theirs.
        added
            Records to add, of cases that may have one already.
        """
        added = list(added)
        self._check_is_there()
        if not added and not self.path.exists():
            return
        with self._alone() as file:
            self._read_until = None  # all of it, whatever the file looks like
            self._read(file)
            self._keep(added)
            last = {case: self._lines.pop(case) for case in order if case in self._lines}
            self._lines.update(last)
            let_go(file)
            write_text(self.path, "".join(f"{line}\n" for line in self._lines.values()))
            self._read_until = None

    def news_of(self, case: str) -> Mapping[str, Any] | None:
        """Return the record of a case that has come since this object was made; None if there is none."""
        if self._has_grown():
            with self._alone() as file:
                self._read(file)
        record = self.of_case.get(case)
        return None if record == self._at_start.get(case) else record

    @contextmanager
    def _alone(self) -> Iterator[TextIO]:
        """Open the file while no other process and no other thread does."""
        self._check_is_there()
        try:
            with self._guard:
                if not self._own:
                    self.path.parent.mkdir(parents=True, exist_ok=True)
                with opened_alone(final_place(self.path)) as file:
                    yield file
        except OSError as error:
            raise OutputError(
                f"the record of the predictions cannot be opened: {error.strerror or error}",
                where=self.path,
                hint="check the permissions of the folder",
            ) from error

    def _check_is_there(self) -> None:
        """Refuse to make the folder again if what is known to be in its record has been removed with it."""
        if self._own and not self.path.exists():
            raise folder_removed(self.path.parent)

    def _has_grown(self) -> bool:
        try:
            status = self.path.stat()
        except FileNotFoundError:
            return False
        return self._read_until != (status.st_ino, status.st_size)

    def _read(self, file: TextIO) -> None:
        """Read what has been added since it was read last."""
        status = os.fstat(file.fileno())
        inode, size = self._read_until or (None, 0)
        if status.st_ino == inode and status.st_size >= size:
            file.buffer.seek(size)
            text = file.buffer.read().decode("utf-8", errors="replace")
            self._keep(contract_lines(text, where=self.path, newer=OutputError, nan=True))
        else:
            self._own.clear()
            self._lines.clear()
            self._keep(_read(self.path))
        self._read_until = (status.st_ino, status.st_size)

    def _keep(self, records: Iterable[Mapping[str, Any]]) -> None:
        for line in records:
            if isinstance(case := line.get("case"), str):
                record = _as_of_today(dict(line))
                self._own[case] = record
                self._lines[case] = json.dumps({"schema": SCHEMA, **_without_nan(record)})

    def begin(self, case: str, made_from: Mapping[str, str] | None) -> int:
        """Append a line that a case is begun: if it stays the last one, existing files are unfinished.

        Returns
        -------
        int
            A number for ``sync``, which is to be called before such files are replaced.
        """
        started = {"case": case, "status": "started", "made_from": made_from}
        lines = {case: (started, contract_text("predictions-line-started", started))}
        return self._append(lines, synced=False)

    def sync(self, number: int) -> None:
        """Have the disk hold a line that was begun, unless a later call has seen to it."""
        self._check_is_there()
        if self._synced < number:
            self._append({})

    def add(
        self,
        result: CaseResult,
        predictor: Predictor,
        made_from: Mapping[str, str] | None = None,
        files: Mapping[str, str] | None = None,
    ) -> None:
        """Append the outcome of a case; see ``Outcome``."""
        self.add_all([Outcome(result, made_from, files)], predictor)

    def add_all(self, outcomes: Iterable[Outcome], predictor: Predictor) -> None:
        """Append the outcomes of several cases at once."""
        records = {each.result.case: each.record(predictor) for each in outcomes}
        if records:
            self._append({case: (it, contract_text("predictions-line", it)) for case, it in records.items()})

    def _append(self, records: Mapping[str, tuple[dict[str, Any], str]], synced: bool = True) -> int:
        """Append records with their lines, or only sync if there are none; return how many there are now."""
        with self._alone() as file:
            self._read(file)
            if records and _ends_within_a_line(file):  # a killed process has left it
                append_line(self.path, "")
            append_line(self.path, *(line for _, line in records.values()), synced=synced)
            self._count += len(records)
            self._synced = self._count if synced else self._synced
            for case, (record, line) in records.items():
                self._own[case], self._lines[case] = record, line
            status = os.fstat(file.fileno())
            self._read_until = (status.st_ino, status.st_size)
            return self._count


@dataclass(frozen=True)
class Outcome:
    """What is recorded of a case.

    Attributes
    ----------
    result
        The outcome.
    made_from, files
        Fingerprints of its inputs and of the files written; see ``inference.finished``.
    is_news
        Whether to record it: False if what is there was kept.
    """

    result: CaseResult
    made_from: Mapping[str, str] | None = None
    files: Mapping[str, str] | None = None
    is_news: bool = True

    def record(self, predictor: Predictor) -> dict[str, Any]:
        """Return the record, made by a model, as plain data."""
        result, error = self.result, self.result.error
        return {
            "case": result.case,
            "status": result.status,
            "seconds": round(result.seconds, 3),
            "finished": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "inputs": [Path(hidden(str(path))).name for path in result.files],
            "labels": result.output.name if result.status == "written" else None,
            "error": None if error is None else {key: error.parts()[key] for key in ("what", "hint")},
            "confidence": None if result.confidence is None else dict(result.confidence),
            "model": str(predictor.model.path),
            "device": str(predictor.device),
            "swin_umamba": __version__,
            "made_from": self.made_from,
            "files": self.files,
        }


@contextmanager
def removal_told(folder: Path) -> Iterator[None]:
    """Raise the error of a removed folder in place of what its removal makes fail in the block."""
    try:
        yield
    except (OutputError, FileNotFoundError) as error:
        if folder.is_dir():
            raise
        raise folder_removed(folder) from error


def folder_removed(folder: Path) -> OutputError:
    """Return the error for an output folder that is not there any more, or not with what was written."""
    return OutputError(
        "the output folder or files in it were removed while results were written to it",
        where=folder,
        hint="nothing more was written; start again, and leave the folder where it is until the end",
    )


def read_records(folder: Path, name: str = RECORDS_FILE) -> dict[str, Mapping[str, Any]]:
    """Return the last record of each case by its name; none if there is no file. Damaged lines are left out.

    Raises
    ------
    OutputError
        If the file cannot be read, is far too large, or has a line from a newer version.
    """
    path = folder / name
    lines = _read(path) if path.is_file() else []
    return {line["case"]: _as_of_today(line) for line in lines if isinstance(line.get("case"), str)}


def _read(path: Path) -> list[dict[str, Any]]:
    hint = "delete it, or check its permissions"
    return read_contract_lines(path, error=OutputError, hint=hint, largest=LARGEST_FILE, nan=True)


def _ends_within_a_line(file: TextIO) -> bool:
    if os.fstat(file.fileno()).st_size == 0:
        return False
    file.buffer.seek(-1, os.SEEK_END)
    return file.buffer.read(1) != b"\n"


def _as_of_today(record: dict[str, Any]) -> dict[str, Any]:
    """Return a record with the current keys: version 0.1 called a hint ``cure``."""
    error = record.get("error")
    if isinstance(error, dict) and "cure" in error:
        record["error"] = {("hint" if key == "cure" else key): value for key, value in error.items()}
    return record


def _without_nan(value: Any) -> Any:
    """Replace numbers that JSON cannot express with null in plain data."""
    if isinstance(value, dict):
        return {name: _without_nan(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_without_nan(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
