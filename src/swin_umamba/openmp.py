"""How PyTorch's idle threads wait, on machines where they run on GNU OpenMP (Linux)."""

from __future__ import annotations

import os

SPIN_COUNT_VARIABLE = "GOMP_SPINCOUNT"
SPIN_COMMENT = """\
After an operator, PyTorch's threads look out for the next one for milliseconds, on the very cores that the
scan wants; with this they look out for less than a millisecond, and then sleep."""


def spin_briefly() -> None:
    """Let idle threads sleep soon; what the user's environment says about waiting stays as it is.

    OpenMP reads the variable when PyTorch is imported: call this before, as the command line does.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault(SPIN_COUNT_VARIABLE, "20000")
