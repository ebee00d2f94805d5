"""``software.json``: the software and the machine of a training, for each of its starts."""

from __future__ import annotations

import logging
import platform
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, TypedDict

import torch

from swin_umamba.errors import DataError, OutputError
from swin_umamba.json_files import read_contract, write_contract
from swin_umamba.schema import Provenance, rule_of
from swin_umamba.software import processor_name, software_versions, source_state
from swin_umamba.syncing import rename

logger = logging.getLogger(__name__)

SOFTWARE_FILE = "software.json"


class CommitOfStart(TypedDict):
    """Commit of a checkout, and whether files differ from it."""

    commit: str
    uncommitted_changes: bool


class SoftwareOfStart(TypedDict):
    """Software and machine of one start of a training."""

    started: str
    first_epoch: int
    versions: dict[str, str | None]
    platform: str
    device: str
    threads: int
    git: CommitOfStart | None


_START = rule_of(SoftwareOfStart)


def record_start(path: Path, *, first_epoch: int, device: torch.device, replace: bool) -> None:
    """Add a start of a training to the file.

    A damaged file is renamed to end in ``.damaged``, with a warning.

    Parameters
    ----------
    path
        The file.
    first_epoch
        First epoch of this start, counted from 1.
    device
        Device of the training.
    replace
        Whether it is the first start of a training, which replaces the file.

    Raises
    ------
    OutputError
        If the file cannot be written, or is of a newer version, whose starts would be lost.
    """
    earlier = [] if replace else _earlier_starts(path)
    write_contract("software", path, {"starts": [*earlier, this_start(first_epoch, device)]})


def this_start(first_epoch: int, device: torch.device) -> SoftwareOfStart:
    """Return the record of a start that happens now, as plain values for JSON."""
    state = source_state()
    versions = software_versions()
    if device.type == "cuda":
        cudnn = torch.backends.cudnn.version()
        versions |= {"CUDA": torch.version.cuda, "cuDNN": None if cudnn is None else str(cudnn)}
    return {
        "started": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "first_epoch": first_epoch,
        "versions": versions,
        "platform": platform.platform(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else processor_name(),
        "threads": torch.get_num_threads(),
        "git": None if state is None else {"commit": state.commit, "uncommitted_changes": state.changed},
    }


def _earlier_starts(path: Path) -> list[Any]:
    if not path.exists():  # the training was started by a version without this record
        return []
    try:
        starts = list(read_contract(path, newer=OutputError)["starts"])
    except (DataError, KeyError, TypeError):
        aside = path.with_name(f"{path.name}.damaged")
        logger.warning("%s is damaged; it is now %s, and a new file is started", path, aside.name)
        rename(path, aside)
        return []
    whole = [start for start in starts if _is_whole(start, path)]
    if len(whole) < len(starts):
        logger.warning("%s: %d damaged starts are left out", path, len(starts) - len(whole))
    return whole


def _is_whole(start: Any, path: Path) -> bool:
    try:
        Provenance(path, "").check(start, _START)
    except DataError:
        return False
    return True
