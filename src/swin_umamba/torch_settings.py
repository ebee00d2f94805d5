"""Environment variables with which PyTorch runs these networks faster; it reads them while it is imported."""

from __future__ import annotations

import os
from typing import NamedTuple


class Setting(NamedTuple):
    """An environment variable, why it has this value, and the variable that makes it superfluous."""

    name: str
    value: str
    reason: str
    unless: str = ""


SETTINGS = (
    Setting(
        "GOMP_SPINCOUNT",
        "20000",
        "After an operator, PyTorch's threads (GNU OpenMP) look out for the next one for milliseconds, on\n"
        "the very cores that the scan wants; with this they look out for less than one, and then sleep.",
        unless="OMP_WAIT_POLICY",
    ),
    Setting(
        "THP_MEM_ALLOC_ENABLE",
        "1",
        "Activations of tens of megabytes come from Linux afresh for each operator; in pages of 2 MB\n"
        "instead of 4 KB that takes a fraction of the time.",
    ),
)


def apply_settings() -> None:
    """Set what the user's environment leaves open; before PyTorch is imported, as the command line does."""
    for setting in SETTINGS:
        if setting.unless not in os.environ:
            os.environ.setdefault(setting.name, setting.value)
