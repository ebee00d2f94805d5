"""The command line's processes have the settings; a user's own stand."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from swin_umamba import torch_settings
from swin_umamba.torch_settings import SETTINGS, apply_settings

DEFAULTS = {"GOMP_SPINCOUNT": "5000", "THP_MEM_ALLOC_ENABLE": "1"}


@pytest.mark.parametrize(
    ("before", "expected"),
    [
        ({}, DEFAULTS),
        ({"GOMP_SPINCOUNT": "7"}, DEFAULTS | {"GOMP_SPINCOUNT": "7"}),
        ({"THP_MEM_ALLOC_ENABLE": "0"}, DEFAULTS | {"THP_MEM_ALLOC_ENABLE": "0"}),
        ({"OMP_WAIT_POLICY": "active"}, {"OMP_WAIT_POLICY": "active", "THP_MEM_ALLOC_ENABLE": "1"}),
    ],
)
def test_apply_settings(
    monkeypatch: pytest.MonkeyPatch, before: dict[str, str], expected: dict[str, str]
) -> None:
    monkeypatch.setattr(os, "environ", dict(before))
    apply_settings()
    assert os.environ.pop("PYTHONSAFEPATH") == "1"
    assert os.environ.pop("TORCHINDUCTOR_CACHE_DIR").endswith("torchinductor")
    assert dict(os.environ) == expected


def test_the_command_line_has_them_before_torch_is_imported() -> None:
    code = (
        "import os, sys\n"
        "from swin_umamba.cli.main import main\n"
        "assert 'torch' not in sys.modules\n"
        "main(['evaluate'])\n"
        "print(os.environ['GOMP_SPINCOUNT'], os.environ['THP_MEM_ALLOC_ENABLE'], 'torch' in sys.modules)\n"
    )
    names = {setting.name for setting in SETTINGS} | {"OMP_WAIT_POLICY"}
    environment = {name: value for name, value in os.environ.items() if name not in names}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout == "5000 1 False\n"


def test_processors_are_divided_unless_the_user_has_set_the_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_settings, "processors", lambda: 8)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert [torch_settings.threads_for(processes) for processes in (1, 3, 8, 9)] == [8, 2, 1, 1]
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    assert torch_settings.threads_for(2) is None
