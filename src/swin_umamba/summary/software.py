"""Software versions of a training, and of the process that writes a report."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from swin_umamba.errors import DataError
from swin_umamba.json_files import read_contract
from swin_umamba.nnunet.record.software_file import SOFTWARE_FILE
from swin_umamba.report.contents import Facts
from swin_umamba.software import software_versions, source_state
from swin_umamba.summary.places import DAMAGED

COMMIT_LENGTH = 12


def software_now() -> Facts:
    """Return a table of the software versions in this process."""
    state = source_state()
    git = None if state is None else {"commit": state.commit, "uncommitted_changes": state.changed}
    return Facts("Software of this report", tuple(_versions({"versions": software_versions(), "git": git})))


def software_of_training(folder: Path, missing: list[str]) -> list[Facts]:
    """Return tables of the software of each start of a training; unknown parts are added to ``missing``.

    Starts with the same software share one table.

    Parameters
    ----------
    folder
        The fold folder.
    missing
        List to which missing parts are added.
    """
    if not (folder / SOFTWARE_FILE).is_file():
        missing.append(
            f"{folder.name}: the versions and source code of swin-umamba, as it has no {SOFTWARE_FILE}"
        )
        return []
    try:
        starts = read_contract(folder / SOFTWARE_FILE)["starts"]
        firsts = [int(start["first_epoch"]) for start in starts]
        tables = [(*_versions(start), *_machine(start)) for start in starts]
    except (DataError, *DAMAGED) as error:
        reason = (
            error.what if isinstance(error, DataError) else "it does not have the form that a training writes"
        )
        missing.append(f"{folder.name}: the software of the training, {SOFTWARE_FILE} ({reason})")
        return []
    if not firsts or firsts[0] > 1:
        until = f"epochs 1 to {firsts[0] - 1}" if firsts else "the training"
        missing.append(f"{folder.name}: the software of {until}, which {SOFTWARE_FILE} does not contain")
    facts: list[Facts] = []
    for first, start, table in zip(firsts, starts, tables, strict=True):
        if facts and facts[-1].rows[1:] == table:
            continue
        heading = f"Software of {folder.name}" + (f" from epoch {first} on" if facts else "")
        facts.append(Facts(heading, (("started", str(start.get("started", "not stated"))), *table)))
    return facts


def _versions(start: Mapping[str, Any]) -> list[tuple[str, str]]:
    rows = [
        (str(name), "not installed" if each is None else str(each))
        for name, each in start["versions"].items()
    ]
    git = start["git"]
    if git is None:
        return [*rows, ("git state of swin-umamba", "not from a git clone")]
    changes = " with uncommitted changes" if git["uncommitted_changes"] else ""
    return [*rows, ("git state of swin-umamba", f"{str(git['commit'])[:COMMIT_LENGTH]}{changes}")]


def _machine(start: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(name, str(start[name])) for name in ("platform", "device", "threads")]
