"""The lock of a fold: only one training at a time writes to a fold folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from swin_umamba.errors import TrainingError
from swin_umamba.lock import HeldByAnother, Lock

LOCK_FILE = "training.lock"


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
