"""The command line's processes have the settings; a user's own stand."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from swin_umamba import torch_settings
from swin_umamba.torch_settings import SETTINGS, apply_settings

WAITING = {"GOMP_SPINCOUNT": "5000"}
HEAP = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "4611686018427387904"}


@pytest.mark.parametrize(
    ("before", "expected", "keeps"),
    [
        ({}, WAITING | HEAP, True),
        ({"GOMP_SPINCOUNT": "7"}, {"GOMP_SPINCOUNT": "7"} | HEAP, True),
        ({"OMP_WAIT_POLICY": "active"}, {"OMP_WAIT_POLICY": "active"} | HEAP, True),
        (HEAP, WAITING | HEAP, True),  # from the process that started this one
        ({"MALLOC_MMAP_MAX_": "9"}, WAITING | {"MALLOC_MMAP_MAX_": "9"}, False),
        ({"MALLOC_MMAP_THRESHOLD_": "65536"}, WAITING | {"MALLOC_MMAP_THRESHOLD_": "65536"}, False),
        ({"MALLOC_TRIM_THRESHOLD_": "65536"}, WAITING | {"MALLOC_TRIM_THRESHOLD_": "65536"}, False),
        (
            {"GLIBC_TUNABLES": "glibc.malloc.check=3"},
            WAITING | {"GLIBC_TUNABLES": "glibc.malloc.check=3"},
            False,
        ),
    ],
)
def test_apply_settings(
    monkeypatch: pytest.MonkeyPatch, before: dict[str, str], expected: dict[str, str], keeps: bool
) -> None:
    kept: list[bool] = []
    monkeypatch.setattr(torch_settings, "keep_freed_memory", lambda: kept.append(True))
    monkeypatch.setattr(os, "environ", dict(before))
    apply_settings()
    assert os.environ.pop("PYTHONSAFEPATH") == "1"
    assert os.environ.pop("TORCHINDUCTOR_CACHE_DIR").endswith("torchinductor")
    assert dict(os.environ) == expected
    assert kept == [True] * keeps


def test_the_command_line_has_them_before_torch_is_imported() -> None:
    code = (
        "import os, sys\n"
        "from swin_umamba.cli.main import main\n"
        "assert 'torch' not in sys.modules\n"
        "main(['evaluate'])\n"
        "print(os.environ['GOMP_SPINCOUNT'], os.environ['MALLOC_MMAP_MAX_'], 'torch' in sys.modules)\n"
    )
    names = {name for setting in SETTINGS for name in setting.unless}
    environment = {name: value for name, value in os.environ.items() if name not in names}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout == "5000 0 False\n"


def test_processors_are_divided_unless_the_user_has_set_the_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_settings, "processors", lambda: 8)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert [torch_settings.threads_for(processes) for processes in (1, 3, 8, 9)] == [8, 2, 1, 1]
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    assert torch_settings.threads_for(2) is None
