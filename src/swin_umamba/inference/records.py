"""``predictions.jsonl`` in a folder of predictions: the outcome, time and confidence of each case.

One JSON object per line, one line per case, appended when the case is done, so that an interrupted run keeps
its results. A case also gets a line when it is begun, and further lines when predicted again; the last one
counts, and the others are removed when the run ends.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from swin_umamba import __version__
from swin_umamba.errors import OutputError
from swin_umamba.files import append_line, write_text
from swin_umamba.json_files import LARGEST_RESULTS, SCHEMA, contract_text, read_contract_lines
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

    Raises
    ------
    OutputError
        If an earlier record cannot be read or written, or has a line written by a newer version.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / RECORDS_FILE
        self.of_case = read_records(folder)
        self._lines = {
            case: json.dumps({"schema": SCHEMA, **_without_nan(record)})
            for case, record in self.of_case.items()
        }
        self.tidy()

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

    def tidy(self) -> None:
        """Keep only the last line of each case."""
        if self.path.exists():
            write_text(self.path, "".join(f"{line}\n" for line in self._lines.values()))

    def begin(self, case: str, made_from: Mapping[str, str] | None) -> None:
        """Append a line that a case is begun: if it stays the last one, existing files are unfinished."""
        started = {"case": case, "status": "started", "made_from": made_from}
        self._append("predictions-line-started", started)

    def add(
        self,
        result: CaseResult,
        predictor: Predictor,
        made_from: Mapping[str, str] | None = None,
        files: Mapping[str, str] | None = None,
    ) -> None:
        """Append the outcome of a case.

        Parameters
        ----------
        result, predictor
            The outcome, and the model.
        made_from, files
            Fingerprints of its inputs and of the files written; see ``inference.finished``.
        """
        error = result.error
        record = {
            "case": result.case,
            "status": result.status,
            "seconds": round(result.seconds, 3),
            "finished": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "inputs": [hidden(path.name) for path in result.files],
            "labels": result.output.name if result.status == "written" else None,
            "error": None if error is None else {key: error.parts()[key] for key in ("what", "hint")},
            "confidence": None if result.confidence is None else dict(result.confidence),
            "model": str(predictor.model.path),
            "device": str(predictor.device),
            "swin_umamba": __version__,
            "made_from": made_from,
            "files": files,
        }
        self._append("predictions-line", record)

    def _append(self, contract: str, record: dict[str, Any]) -> None:
        if not self.path.exists():
            write_text(self.path, "")  # also creates the folder
        case, line = record["case"], contract_text(contract, record)
        append_line(self.path, line)
        self.of_case[case], self._lines[case] = record, line


def read_records(folder: Path) -> dict[str, Mapping[str, Any]]:
    """Return the last record of each case by its name; none if there is no file. Damaged lines are left out.

    Raises
    ------
    OutputError
        If the file cannot be read, is far too large, or has a line from a newer version.
    """
    path = folder / RECORDS_FILE
    if not path.is_file():
        return {}
    hint = "delete it, or check its permissions"
    lines = read_contract_lines(path, error=OutputError, hint=hint, largest=LARGEST_FILE, nan=True)
    return {line["case"]: _as_of_today(line) for line in lines if isinstance(line.get("case"), str)}


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
