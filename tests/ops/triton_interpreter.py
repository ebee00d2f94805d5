"""Where the Triton kernels run in the tests: on the GPU if there is one, else in Triton's interpreter.

The interpreter executes each kernel program with numpy on the CPU. ``tests/conftest.py`` switches it on
before anything can import Triton. It proves the arithmetic and the addresses; it proves nothing about speed.
"""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("triton", reason="Triton is not installed")

from ops.fast_triton import replacements

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


@pytest.fixture
def fast_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace what takes the interpreter most of its time, but not what it computes."""
    for owner, name, value in replacements(DEVICE.type):
        monkeypatch.setattr(owner, name, value)
