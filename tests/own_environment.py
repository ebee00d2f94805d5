"""What is told to nnU-Net through the environment must not outlive the test that told it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest


@contextmanager
def own_environment() -> Iterator[pytest.MonkeyPatch]:
    """Take nnU-Net's folders out of the environment, and put back at the end whatever was there."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
            monkeypatch.setenv(name, "unset")  # so that one that was not there is taken back, too
            monkeypatch.delenv(name)
        yield monkeypatch
