"""The command line's processes wait briefly; a user's own setting stands."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from swin_umamba import openmp


@pytest.mark.parametrize(
    ("before", "expected"),
    [
        ({}, {"GOMP_SPINCOUNT": "20000"}),
        ({"GOMP_SPINCOUNT": "7"}, {"GOMP_SPINCOUNT": "7"}),
        ({"OMP_WAIT_POLICY": "active"}, {"OMP_WAIT_POLICY": "active"}),
    ],
)
def test_spin_briefly(
    monkeypatch: pytest.MonkeyPatch, before: dict[str, str], expected: dict[str, str]
) -> None:
    variables = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
    monkeypatch.setattr(os, "environ", dict(before))
    openmp.spin_briefly()
    assert {name: os.environ[name] for name in variables if name in os.environ} == expected


def test_the_command_line_sets_it_before_torch_is_imported() -> None:
    code = (
        "import os, sys\n"
        "from swin_umamba.cli.main import main\n"
        "assert 'torch' not in sys.modules\n"
        "main(['evaluate'])\n"
        "print(os.environ['GOMP_SPINCOUNT'], 'torch' in sys.modules)\n"
    )
    environment = {k: v for k, v in os.environ.items() if k not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout == "20000 False\n"
