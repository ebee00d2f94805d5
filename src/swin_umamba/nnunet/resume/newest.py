"""Choice of the checkpoint that a run resumes from."""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import Any

from swin_umamba.errors import CheckpointError
from swin_umamba.nnunet.resume.training_state import OWN_ENTRY
from swin_umamba.schema import Provenance, listed, optional, table, text, whole
from swin_umamba.weights.checkpoint import load_checkpoint

logger = logging.getLogger(__name__)

_STATE = table(
    {"current_epoch": whole(0), "network_weights": table({})},
    {
        OWN_ENTRY: table(
            {"options": table({})},
            {
                "batches_drawn": listed(whole(0), (2,)),
                "loss": listed(text()),
                "skipped_steps": whole(0),
                "random_state": optional(table({})),
                "random_states_of_others": listed(table({})),
            },
        )
    },
)
"""Expected content of a checkpoint; tensors are compared when they are loaded."""
RESUMABLE = ("checkpoint_final.pth", "checkpoint_latest.pth", "checkpoint_best.pth")


def newest_checkpoint(folder: Path) -> dict[str, Any] | None:
    """Return the content of the checkpoint in a fold folder that was trained longest, whatever its name.

    Files that cannot be loaded are skipped with a warning.

    Returns
    -------
    dict or None
        None if the folder contains no checkpoint.

    Raises
    ------
    CheckpointError
        If there are checkpoints, but none can be loaded: starting again would silently lose them.
    """
    paths = existing_checkpoints(folder)
    reasons: dict[str, str] = {}
    newest = None
    for path in paths:
        if newest is not None and _last_epoch(path, default=math.inf) < newest["current_epoch"]:
            continue  # its name shows that it is older, so it need not be loaded
        checkpoint = _load_or_warn(path, reasons)
        if checkpoint is not None and (
            newest is None or checkpoint["current_epoch"] > newest["current_epoch"]
        ):
            newest = checkpoint
    if newest is None and paths:
        raise CheckpointError(
            "none of the checkpoints can be loaded: "
            + "; ".join(f"{name}: {reason}" for name, reason in reasons.items()),
            where=folder,
            hint="restore one from a backup, or start again with --overwrite",
        )
    return newest


def existing_checkpoints(folder: Path) -> list[Path]:
    """Return the checkpoints of a fold folder: final, latest, best, then the kept ones, the last first."""
    main = [folder / name for name in RESUMABLE if (folder / name).is_file()]
    kept = [path for path in folder.glob("checkpoint_*.pth") if _last_epoch(path) >= 0]
    return main + sorted(kept, key=_last_epoch, reverse=True)


def _last_epoch(path: Path, default: float = -1) -> float:
    """Return the last epoch of a kept checkpoint, counted from 0, from its name."""
    number = path.stem.removeprefix("checkpoint_")
    return int(number) if number.isdecimal() else default


def _load_or_warn(path: Path, reasons: dict[str, str]) -> dict[str, Any] | None:
    try:
        checkpoint = load_checkpoint(path)
        source = Provenance(path, "", CheckpointError, "it is not a checkpoint of a training: ")
        source.check(checkpoint, _STATE)
        return checkpoint
    except CheckpointError as error:
        reason = error.what
    logger.warning("%s cannot be loaded and is skipped: %s", path, reason)
    reasons[path.name] = reason
    return None
