"""``swin-umamba env``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from swin_umamba.cli.main import main
from swin_umamba.nnunet import shell
from swin_umamba.nnunet.shell import TRAINER_SHIM


@pytest.fixture(autouse=True)
def quiet_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """An intact torchvision, and a user who has said how OpenMP should wait."""
    monkeypatch.setattr(shell, "torchvision_is_broken", lambda: False)
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
    monkeypatch.setenv("OMP_WAIT_POLICY", "passive")


def test_sh(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["env"]) == 0
    assert capsys.readouterr().out == f"export nnUNet_extTrainer={TRAINER_SHIM}\n"


def test_brief_waiting_is_passed_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("OMP_WAIT_POLICY")
    monkeypatch.setenv("GOMP_SPINCOUNT", "20000")
    assert main(["env"]) == 0
    assert "export GOMP_SPINCOUNT=20000" in capsys.readouterr().out.splitlines()


def test_powershell(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["env", "--shell", "powershell"]) == 0
    assert capsys.readouterr().out == f"$env:nnUNet_extTrainer = '{TRAINER_SHIM}'\n"


def test_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["env", "--root", str(tmp_path), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["nnUNet_raw"] == str(tmp_path / "nnUNet_raw")
    assert [path.name for path in Path(printed["nnUNet_extTrainer"]).glob("*.py")] == [
        "swin_umamba_trainers.py"
    ]
