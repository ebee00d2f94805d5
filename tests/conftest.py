"""Set-up shared by all tests."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

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

# Helpers are imported from here, such as nnunet.planned_data.
sys.path.insert(0, str(Path(__file__).parent))

from own_environment import own_environment  # noqa: E402


@pytest.fixture(autouse=True)
def _own_environment() -> Iterator[None]:
    with own_environment():
        yield


@pytest.fixture
def nan_in_fresh_memory() -> Iterator[None]:
    """Let every uninitialised tensor hold NaN, so that a value that is never written shows."""
    assert torch.utils.deterministic.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True)
    assert torch.empty(8).isnan().all()
    yield
    torch.use_deterministic_algorithms(False)


@pytest.fixture(autouse=True)
def _fixed_seed() -> None:
    import numpy as np

    np.random.seed(0)  # noqa: NPY002 - third-party code draws from the global generator
    torch.manual_seed(0)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the lines that tests have recorded as the property ``summary``, such as counts of files."""
    for report in terminalreporter.getreports("passed") + terminalreporter.getreports("failed"):
        for name, value in report.user_properties:
            if name == "summary":
                terminalreporter.write_line(value)
