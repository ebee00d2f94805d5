"""What a training says that finds the fold locked; the lock itself: ``tests/test_lock.py``."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from swin_umamba.errors import TrainingError
from swin_umamba.nnunet.resume.checkpoints import LOCK_FILE, FoldLock


def test_another_training_is_named(tmp_path: Path) -> None:
    own = FoldLock(tmp_path)
    with own.held(), own.held():
        said = rf"another training of this fold is running: process {os.getpid()} on (.|\n)*--force-unlock"
        with pytest.raises(TrainingError, match=said), FoldLock(tmp_path).held():
            pass
        with FoldLock(tmp_path).held(force=True):
            assert (tmp_path / LOCK_FILE).exists()
    assert not list(tmp_path.iterdir())
