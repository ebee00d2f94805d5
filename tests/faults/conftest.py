"""Real faults, one test a fault: fixtures that all files of this folder share."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

# Test folders are not on the import path; helpers of this and of other folders are imported by name.
sys.path.insert(0, str(Path(__file__).parents[1] / "inference"))
sys.path.insert(0, str(Path(__file__).parents[1] / "weights"))
sys.path.insert(0, str(Path(__file__).parents[1] / "nnunet"))
sys.path.insert(0, str(Path(__file__).parents[1] / "ops"))
sys.path.insert(0, str(Path(__file__).parent))

from fault_files import Command, Outcome
from file_server import cache, server
from planned_data import planned_dataset, planned_folder, tiny_trainers

__all__ = ["cache", "planned_dataset", "planned_folder", "server", "tiny_trainers"]


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Command:
    """Return a function that runs ``swin-umamba`` with the given arguments in this process."""
    from swin_umamba.cli.main import main

    def run(*arguments: object) -> Outcome:
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        return Outcome(code, *capsys.readouterr())

    return run
