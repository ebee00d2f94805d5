"""Real faults, one test a fault: fixtures that all files of this folder share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import forked
from faults.fault_files import Command, Outcome
from weights.file_server import cache, server

__all__ = ["cache", "server"]


@pytest.fixture(autouse=True)
def _no_process_outlives_its_test() -> Iterator[None]:
    yield
    forked.end_all()


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Command:
    """Return a function that runs ``swin-umamba`` with the given arguments in this process."""
    from swin_umamba.cli.main import main

    def run(*arguments: object) -> Outcome:
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        return Outcome(code, *capsys.readouterr())

    return run
