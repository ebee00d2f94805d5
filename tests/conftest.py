"""Set-up shared by all tests."""

from __future__ import annotations

import os

import pytest

# Set before torch is imported: test processes run side by side, and one thread each is fastest then.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch

# Set before anything imports Triton, as parts of torch do: without a GPU its kernels run in the interpreter.
if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")
# A developer's own nnU-Net folders must neither be used nor written to by a test.
for _variable in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results", "nnUNet_extTrainer"):
    os.environ.pop(_variable, None)


@pytest.fixture(autouse=True)
def _fixed_seed() -> None:
    import numpy as np

    np.random.seed(0)  # noqa: NPY002 - third-party code draws from the global generator
    torch.manual_seed(0)
