"""What the tests of commands on files of all formats share."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from swin_umamba.cli.main import main


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run a command; return its exit code, output and errors."""

    def command(*arguments: object) -> tuple[int, str, str]:
        code = main([str(each) for each in arguments])
        output = capsys.readouterr()
        return code, output.out, output.err

    return command
