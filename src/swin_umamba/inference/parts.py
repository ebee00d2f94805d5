"""A folder that several processes predict: cases that they share, or parts, as for the jobs of an array.

Shared cases are claimed by the one that predicts them, with a lock beside the label map. A process that finds
a case claimed goes on with the next one, and comes back at its end, to keep the result or, if the other
process has died, to predict the case itself.

Each part writes a file of records of its own, so that no two hosts write to one file, and holds a lock. The
last one to end puts all records into ``predictions.jsonl``; so does any run that is no part.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from swin_umamba.errors import DataError, UsageError
from swin_umamba.inference.records import PredictionRecords, folder_removed, read_records
from swin_umamba.lock import HeldByAnother, Lock

logger = logging.getLogger(__name__)

AUTOMATIC = "auto"
_GIVEN = re.compile(r"(\d{1,9})/(\d{1,9})")
_FILE = re.compile(r"predictions\.part-(\d+)-of-(\d+)\.jsonl")
_MERGING = "predictions.merge.lock"

Item = TypeVar("Item")


@dataclass(frozen=True)
class Part:
    """One of several parts of the cases of a folder.

    Attributes
    ----------
    number, count
        Number of the part, from 1, and number of parts.
    """

    number: int
    count: int

    def __str__(self) -> str:
        return f"part {self.number} of {self.count}"

    @property
    def file_name(self) -> str:
        """Name of the file of its records."""
        return f"predictions.part-{self.number}-of-{self.count}.jsonl"

    def of(self, items: Sequence[Item]) -> list[Item]:
        """Return the items of this part: every ``count``-th, so that neighbours of one size are divided."""
        return list(items[self.number - 1 :: self.count])

    def of_cases(self, cases: Sequence[Item], is_large: Callable[[Item], bool]) -> tuple[list[Item], bool]:
        """Return the cases that this part works on, and whether it does only its blocks of large images.

        Large images that are fewer than the parts are divided, and belong to all of them.
        """
        large = [number for number, case in enumerate(cases) if is_large(case)]
        shared = set(large) if len(large) < self.count else set()
        own = self.of([number for number in range(len(cases)) if number not in shared])
        return [cases[number] for number in sorted(shared.union(own))], bool(shared)

    @contextmanager
    def held(self, folder: Path) -> Iterator[None]:
        """Keep other processes from predicting this part, and its records from being merged.

        Raises
        ------
        UsageError
            If another process predicts it.
        """
        folder.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            try:
                stack.enter_context(_lock_of(folder / self.file_name).held())
            except HeldByAnother as other:
                raise UsageError(
                    f"{self} is being predicted already, by {other.what}",
                    where=other.where,
                    hint="give each process another part; or none to all, and they share the cases",
                ) from other
            yield


def claim_of(path: Path) -> Lock:
    """Return the lock that is held by who makes a file.

    Raises
    ------
    OutputError
        Its folder, which exists from the start of a prediction on, has been removed.
    """
    if not path.parent.is_dir():
        raise folder_removed(path.parent)
    return Lock(_claim(path))


def _claim(path: Path) -> Path:
    return path.with_name(f".{path.name}.claim")


def drop_claims_of_the_dead(folder: Path, paths: Iterable[Path]) -> None:
    """Remove claims of killed processes on files in a folder that nobody will look at again in this run."""
    claims = {_claim(path) for path in paths}
    for claim in claims.intersection(folder.glob(".*.claim")):
        with suppress(HeldByAnother, OSError), Lock(claim).held():  # another user's stays for its owner
            pass


def parse_part(text: str, environment: Mapping[str, str] | None = None) -> Part:
    """Return the part that ``I/N`` or ``auto`` means.

    Raises
    ------
    UsageError
        If it means none; with ``auto``, if this is no job of one of Slurm's arrays, or the array has gaps.
    """
    if text == AUTOMATIC:
        return _slurms(os.environ if environment is None else environment)
    match = _GIVEN.fullmatch(text)
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise UsageError(
            f"there is no part {text!r}", where="--part", hint="give 1/3, 2/3 and 3/3 for three, or auto"
        )
    return Part(int(match[1]), int(match[2]))


def not_predicted(path: Path | None, what: str = "this case has") -> DataError:
    """Return the error of a case that is to be merged and is not there."""
    return DataError(
        f"{what} not been predicted",
        where=path,
        hint="run its part again, or the command without --merge, which predicts what is missing",
    )


def _slurms(environment: Mapping[str, str]) -> Part:
    """Return the part of a job of an array: its place among the numbers from MIN on in steps of STEP."""
    names = {name: f"SLURM_ARRAY_TASK_{name}" for name in ("ID", "MIN", "MAX", "STEP", "COUNT")}
    given = {name: environment.get(variable, "") for name, variable in names.items()}
    if wrong := [names[name] for name, text in given.items() if not text.isdecimal()]:
        raise UsageError(
            f"this is no job of an array of Slurm: {', '.join(wrong)} not set to a number",
            where="--part auto",
            hint="start it with sbatch --array=1-N, or give the part: --part I/N",
        )
    number, first, last, step, count = (int(text) for text in given.values())
    place, rest = divmod(number - first, step) if step else (0, 1)
    if rest or not 0 <= place < count or (last - first) // step + 1 != count:
        raise UsageError(
            f"the array has gaps: {count} jobs from {first} to {last} in steps of {step}, of which this is "
            f"{number}",
            where="--part auto",
            hint="give an array without gaps, such as --array=1-N, or the part: --part I/N; an array of less "
            "than all parts would leave out the cases of the others",
        )
    return Part(place + 1, count)


def records_for(folder: Path, part: Part | None) -> PredictionRecords:
    """Return the records that a run writes to; those of a part know all others of the folder."""
    if part is None:
        return PredictionRecords(folder)
    others = {file for file in _files_of_parts(folder) if file.name != part.file_name}
    known = {record["case"]: record for record in _newer_in(sorted(others), read_records(folder))}
    return PredictionRecords(folder, part.file_name, read_records(folder) | known)


def merge_parts(folder: Path, order: Sequence[str]) -> list[str]:
    """Put the records of parts that no process is predicting into those of the folder.

    Parameters
    ----------
    folder
        Folder of the label maps.
    order
        Names of all cases; their records are written in this order.

    Returns
    -------
    list of str
        Names of the files of parts that are being predicted.
    """
    if not _files_of_parts(folder):
        return []
    with _idle_parts(folder) as (idle, busy):
        _merge(folder, idle, order)
        return busy


def merge_if_all_are_done(folder: Path, order: Sequence[str]) -> bool:
    """Merge the records of all parts if none is being predicted and every case has an outcome.

    Returns whether that is so: of parts that end at one time, at least one finds it.
    """
    with _idle_parts(folder) as (idle, busy):
        if busy:
            return False
        known = dict(read_records(folder))
        known |= {record["case"]: record for record in _newer_in(idle, known)}
        if not all(_finished(known.get(case)) for case in order):
            return False
        _merge(folder, idle, order)
        return True


@contextmanager
def _idle_parts(folder: Path) -> Iterator[tuple[list[Path], list[str]]]:
    """Yield the files of parts that no process is predicting, kept so, and the names of the others."""
    with ExitStack() as stack:
        stack.enter_context(Lock(folder / _MERGING).held_when_free())
        idle, busy = [], []
        for file in _files_of_parts(folder):
            try:
                stack.enter_context(_lock_of(file).held())
                idle.append(file)
            except HeldByAnother:
                busy.append(file.name)
        yield idle, busy


def _merge(folder: Path, files: Sequence[Path], order: Sequence[str]) -> None:
    """Add the records in files of parts to those of the folder, and remove the files."""
    added = _newer_in(files, read_records(folder))
    PredictionRecords(folder).tidy(order, added=added)
    for file in files:
        file.unlink()


def _newer_in(files: Sequence[Path], known: Mapping[str, Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the records in files of parts, but for those of cases that were finished later elsewhere."""
    last: dict[str, Mapping[str, Any]] = {}
    for file in files:
        for case, record in read_records(file.parent, file.name).items():
            other = last.get(case)
            same = other is not None and record.get("made_from") == other.get("made_from")
            if same and _finished(record) is None:
                continue  # all parts begin a large image, and one of them finishes it
            if _is_later(record, other):
                last[case] = record
    return [record for case, record in last.items() if _is_later(record, known.get(case))]


def _is_later(record: Mapping[str, Any], other: Mapping[str, Any] | None) -> bool:
    """Return whether a record is of a later run than another; one that was only begun is."""
    there, here = _finished(record), _finished(other)
    return here is None or there is None or here <= there


def _files_of_parts(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if _FILE.fullmatch(path.name))


def _finished(record: Mapping[str, Any] | None) -> str | None:
    """Return when a case was finished; None if it was only begun."""
    time_of_end = None if record is None else record.get("finished")
    return time_of_end if isinstance(time_of_end, str) else None


def _lock_of(file: Path) -> Lock:
    return Lock(file.with_suffix(".lock"))
