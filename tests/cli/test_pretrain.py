"""``swin-umamba pretrain``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from swin_umamba.cli.main import main
from swin_umamba.pretraining import train
from swin_umamba.pretraining.run import Accuracy
from swin_umamba.pretraining.train import PretrainResult

COMMAND = ["pretrain", "--data", "images", "-o", "out"]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Path, Path, dict[str, Any]]]:
    """What the command calls ``pretrain`` with."""
    calls: list[tuple[Path, Path, dict[str, Any]]] = []

    def pretrain(data: Path, output: Path, **options: Any) -> PretrainResult:
        calls.append((data, output, options))
        return PretrainResult(output / "backbone.pth", 7, 3, 0.75, Accuracy(0.5, 1.0))

    monkeypatch.setattr(train, "pretrain", pretrain)
    return calls


def test_only_what_was_given_is_passed_on(calls: list[tuple[Path, Path, dict[str, Any]]]) -> None:
    assert main(COMMAND) == 0
    given = "--in-channels 1 --epochs 5 --ema-decay 0 --no-mixed-precision --continue --learning-rate 1e-4"
    assert main([*COMMAND, *given.split()]) == 0
    options = {
        "in_channels": 1,
        "epochs": 5,
        "ema_decay": 0.0,
        "mixed_precision": False,
        "continue_training": True,
        "learning_rate": 1e-4,
    }
    assert calls == [(Path("images"), Path("out"), {}), (Path("images"), Path("out"), options)]


@pytest.mark.usefixtures("calls")
def test_output(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    main(COMMAND)
    printed = capsys.readouterr().out
    assert printed == f"7 epochs trained; best top-1 accuracy 75.00 %\nbackbone: {Path('out/backbone.pth')}\n"
    main([*COMMAND, "--json"])
    assert json.loads(capsys.readouterr().out) == {
        "schema": 2,
        "backbone": str(Path("out/backbone.pth")),
        "epochs": 7,
        "num_classes": 3,
        "best_top1": 0.75,
        "last_top1": 0.5,
        "last_top5": 1.0,
    }
    monkeypatch.setenv("RANK", "1")
    main(COMMAND)
    assert capsys.readouterr().out == "", "one of several processes prints"


def test_wrong_use_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    missing = str(tmp_path / "images")
    assert main(["pretrain", "--data", missing, "-o", str(tmp_path / "out")]) == 1
    assert "no such folder" in capsys.readouterr().err
    assert main(["pretrain", "--data", missing, "-o", str(tmp_path / "out"), "--image-size", "100"]) == 2
    assert main(["pretrain", "--data", missing]) == 2
    assert not (tmp_path / "out").exists()
