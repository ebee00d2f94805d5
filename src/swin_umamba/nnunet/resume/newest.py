"""Which checkpoint a run goes on from."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from swin_umamba.errors import CheckpointError
from swin_umamba.weights.checkpoint import load_checkpoint

logger = logging.getLogger(__name__)

RESUMABLE = ("checkpoint_final.pth", "checkpoint_latest.pth", "checkpoint_best.pth")


def newest_checkpoint(folder: Path) -> dict[str, Any] | None:
    """Return the content of the checkpoint of a fold folder that has trained longest.

    Files that cannot be loaded are warned about and skipped. The kept ``checkpoint_{epoch}.pth`` are only
    looked at if none of final, latest and best can be loaded.

    Returns
    -------
    dict or None
        None if the folder holds no checkpoint at all.

    Raises
    ------
    CheckpointError
        If there are checkpoints, but none can be loaded: starting anew instead would be a silent loss.
    """
    paths = existing_checkpoints(folder)
    reasons: dict[str, str] = {}
    main = [path for path in paths if path.name in RESUMABLE]
    newest = None
    for path in main:
        checkpoint = _load_or_warn(path, reasons)
        if checkpoint is not None and (
            newest is None or checkpoint["current_epoch"] > newest["current_epoch"]
        ):
            newest = checkpoint
    for path in [] if newest is not None else [path for path in paths if path not in main]:
        newest = newest or _load_or_warn(path, reasons)
    if newest is None and paths:
        raise CheckpointError(
            "none of the checkpoints can be loaded: "
            + "; ".join(f"{name}: {reason}" for name, reason in reasons.items()),
            where=folder,
            cure="restore one from a backup, or start anew with --overwrite",
        )
    return newest


def existing_checkpoints(folder: Path) -> list[Path]:
    """Return the checkpoints of a fold folder: final, latest, best, then the kept ones from the last on."""
    main = [folder / name for name in RESUMABLE if (folder / name).is_file()]
    kept = {
        int(path.stem.removeprefix("checkpoint_")): path
        for path in folder.glob("checkpoint_*.pth")
        if path.stem.removeprefix("checkpoint_").isdigit()
    }
    return main + [kept[epoch] for epoch in sorted(kept, reverse=True)]


def _load_or_warn(path: Path, reasons: dict[str, str]) -> dict[str, Any] | None:
    try:
        checkpoint = load_checkpoint(path)
        if "current_epoch" in checkpoint and "network_weights" in checkpoint:
            return checkpoint
        reason = "it is no checkpoint of a training"
    except CheckpointError as error:
        reason = error.what
    logger.warning("%s cannot be loaded and is skipped: %s", path, reason)
    reasons[path.name] = reason
    return None
