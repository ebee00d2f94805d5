"""The command line's processes have the settings; a user's own stand."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from swin_umamba.torch_settings import SETTINGS, apply_settings

DEFAULTS = {"GOMP_SPINCOUNT": "20000", "THP_MEM_ALLOC_ENABLE": "1"}


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
    assert done.stdout == "20000 1 False\n"


WORKERS = """
import os
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

if __name__ == "__main__":
    from swin_umamba.torch_settings import apply_settings

    apply_settings()
    for method in ("spawn", "forkserver"):
        with ProcessPoolExecutor(1, mp_context=get_context(method)) as pool:
            print(pool.submit(os.getpid).result() != os.getpid())
"""


@pytest.mark.parametrize("name", ["pickle", "socket", "multiprocessing", "swin_umamba"])
def test_workers_import_nothing_from_the_current_folder(name: str, tmp_path: Path) -> None:
    (tmp_path / "program").mkdir()
    (tmp_path / "program" / "main.py").write_text(WORKERS)
    (tmp_path / f"{name}.py").write_text("open('executed', 'w')")
    done = subprocess.run(
        [sys.executable, tmp_path / "program" / "main.py"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.stdout == "True\nTrue\n", done.stderr
    assert not (tmp_path / "executed").exists()
