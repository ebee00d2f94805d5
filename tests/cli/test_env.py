"""``swin-umamba env``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from swin_umamba.cli.main import main
from swin_umamba.nnunet import shell
from swin_umamba.nnunet.shell import TRAINER_SHIM
from swin_umamba.torch_settings import SETTINGS


@pytest.fixture(autouse=True)
def quiet_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """An intact torchvision, and none of the settings for PyTorch."""
    monkeypatch.setattr(shell, "torchvision_is_broken", lambda: False)
    monkeypatch.setattr(shell, "SETTINGS", ())


def test_sh(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["env"]) == 0
    assert capsys.readouterr().out == f"export nnUNet_extTrainer={TRAINER_SHIM}\n"


def test_settings_for_torch_are_passed_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(shell, "SETTINGS", SETTINGS)
    monkeypatch.setenv("GOMP_SPINCOUNT", "7")
    monkeypatch.setenv("MALLOC_MMAP_MAX_", "9")
    assert main(["env"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert "export GOMP_SPINCOUNT=7" in printed
    assert "export MALLOC_MMAP_MAX_=9" in printed


def test_powershell(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["env", "--shell", "powershell"]) == 0
    assert capsys.readouterr().out == f"$env:nnUNet_extTrainer = '{TRAINER_SHIM}'\n"


def test_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["env", "--root", str(tmp_path), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)["variables"]
    assert printed["nnUNet_raw"] == str(tmp_path / "nnUNet_raw")
    assert [path.name for path in Path(printed["nnUNet_extTrainer"]).glob("*.py")] == [
        "swin_umamba_trainers.py"
    ]
