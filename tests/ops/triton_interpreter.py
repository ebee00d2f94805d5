"""Where the Triton kernels run in the tests: on the GPU if there is one, else in Triton's interpreter.

The interpreter executes each kernel program with numpy on the CPU. ``tests/conftest.py`` switches it on
before anything can import Triton. It proves the arithmetic and the addresses; it proves nothing about speed.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

pytest.importorskip("triton", reason="Triton is not installed")

from ops.fast_triton import replacements
from ops.scan_inputs import errors_against_reference

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
FLOAT32_TOLERANCE = 2e-6  # of the largest number of each tensor
# The rounding of the result itself, on top of the error of what is rounded. The interpreter cuts bfloat16 off
# where a GPU rounds to the nearest.
HALF_TOLERANCE = {
    torch.bfloat16: (2**-8 if DEVICE.type == "cuda" else 2**-7) + FLOAT32_TOLERANCE,
    torch.float16: 2**-11 + FLOAT32_TOLERANCE,
}

Inputs = dict[str, Tensor]


@pytest.fixture
def fast_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace what takes the interpreter most of its time, but not what it computes."""
    for owner, name, value in replacements(DEVICE.type):
        monkeypatch.setattr(owner, name, value)


def on_device(inputs: Inputs, dtypes: dict[str, torch.dtype] | None = None) -> Inputs:
    """Float32 copies, or of other dtypes for some, that require gradients."""
    dtypes = dtypes or {}
    return {
        name: tensor.detach().to(DEVICE, dtypes.get(name, torch.float32)).requires_grad_()
        for name, tensor in inputs.items()
    }


def compare(inputs: Inputs, dtypes: dict[str, torch.dtype] | None = None, **options: Any) -> dict[str, float]:
    """Relative errors of the outputs and all gradients against the reference in float64."""
    return errors_against_reference("triton", inputs, device=DEVICE, dtypes=dtypes, **options)


def check(errors: dict[str, float], tolerance: float = FLOAT32_TOLERANCE) -> None:
    assert max(errors.values()) < tolerance, errors
