"""What a fold folder holds for its training alone: the checkpoints to resume from, and a lock."""

from __future__ import annotations

import logging
import math
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from time import monotonic
from typing import Any

from swin_umamba.errors import CheckpointError, TrainingError
from swin_umamba.interrupt import interrupts_ignored
from swin_umamba.lock import HeldByAnother, Lock
from swin_umamba.nnunet.resume.training_state import OWN_ENTRY
from swin_umamba.schema import Provenance, listed, optional, table, text, whole
from swin_umamba.weights.checkpoint import CALIBRATION_FILE, load_checkpoint, save_checkpoint

logger = logging.getLogger(__name__)

LATEST = "checkpoint_latest.pth"
LOCK_FILE = "training.lock"
MINUTES_BETWEEN_SAVES = 5
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
RESUMABLE = ("checkpoint_final.pth", LATEST, "checkpoint_best.pth")


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


class CheckpointFolder:
    """Writes the checkpoints of a fold, and keeps the state to resume from.

    Parameters
    ----------
    folder
        The fold folder.

    Attributes
    ----------
    resume_point
        State between two epochs that is saved on an interrupt. The interrupted epoch is trained again from
        its beginning, so that a resumed run ends with the same weights as an uninterrupted one. None until
        the training has started.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.resume_point: dict[str, Any] | None = None
        self._last_save = monotonic()

    def remove_earlier_run(self) -> None:
        """Remove the checkpoints, the validation and the calibration of a run that is replaced.

        A remaining checkpoint could seem newer than those of the new run.
        """
        for path in existing_checkpoints(self.folder):
            path.unlink()
        (self.folder / CALIBRATION_FILE).unlink(missing_ok=True)
        shutil.rmtree(self.folder / "validation", ignore_errors=True)

    def write(self, name: str, checkpoint: dict[str, Any]) -> None:
        """Write a checkpoint into the folder, atomically."""
        save_checkpoint(self.folder / name, checkpoint)
        self._last_save = monotonic()  # whatever its name, as a run resumes from the newest

    def end_epoch(self, state: dict[str, Any], *, save_every: int) -> None:
        """Keep the state after an epoch, and save it if a checkpoint is due."""
        self.resume_point = state
        epochs_done = state["current_epoch"]
        if epochs_done % save_every == 0:
            self.write(f"checkpoint_{epochs_done - 1}.pth", state)
        if monotonic() - self._last_save > MINUTES_BETWEEN_SAVES * 60:
            self.write(LATEST, state)

    def save_resume_point(self) -> int | None:
        """Save the state after the last complete epoch and return its number; None if there is no state."""
        if self.resume_point is None:
            return None
        with interrupts_ignored():
            self.write(LATEST, self.resume_point)
        epoch: int | None = self.resume_point["current_epoch"]
        return epoch


class FoldLock(Lock):
    """Keeps other trainings out of a fold folder.

    Parameters
    ----------
    folder
        The fold folder; must exist.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder / LOCK_FILE)

    @contextmanager
    def held(self, *, force: bool = False) -> Iterator[None]:
        """Hold the lock in the ``with`` block, see ``Lock.held``.

        Raises
        ------
        TrainingError
            If another training holds it.
        """
        with ExitStack() as stack:
            try:
                stack.enter_context(super().held(force=force))
            except HeldByAnother as other:
                raise TrainingError(
                    f"another training of this fold is running: {other.what}",
                    where=self.path,
                    hint="wait for it, or end it; if there is none, give --force-unlock "
                    "(nnUNetv2_train: SWIN_UMAMBA_FORCE_UNLOCK=1)",
                ) from other
            yield
