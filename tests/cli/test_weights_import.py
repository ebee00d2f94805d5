from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from cli.command_line import parsed
from swin_umamba.cli import weights_import
from swin_umamba.errors import CheckpointError, UsageError
from swin_umamba.trained import import_model as importer
from swin_umamba.trained.import_model import ImportedModel
from swin_umamba.trained.model import TrainedModel

ARCHITECTURE = {
    "network_class_name": "swin_umamba.nnunet.architecture.PlannedSwinUMamba",
    "arch_kwargs": {"use_last_stage": False},
}
MODEL = TrainedModel(
    path=Path("published"),
    checkpoints=(Path("published/fold_all/checkpoint_99.pth"),),
    plans={"configurations": {"2d": {"architecture": ARCHITECTURE}}},
    dataset_json={},
    configuration="2d",
    trainer_name="nnUNetTrainerSwinUMamba",
    mirror_axes=(0, 1),
    parameters=({"a": torch.zeros(30, 40), "b": torch.zeros(5)},),
)


arguments = partial(parsed, weights_import, "published")


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Any]:
    """Replace the import; what it is called with."""
    calls: dict[str, Any] = {}
    (tmp_path / "out").mkdir()
    (tmp_path / "out/weights").write_bytes(bytes(3_000_000))

    def import_model(source: Path, output: Path | None, **options: Any) -> ImportedModel:
        calls.update(source=source, output=output, **options)
        return ImportedModel(
            tmp_path / "out", "checkpoint_99.pth", "it is good", ("x.pth",), ("fold_all",), MODEL
        )

    monkeypatch.setattr(importer, "import_model", import_model)
    return calls


def test_defaults(calls: dict[str, Any], capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert weights_import.run(arguments()) == 0
    nothing = {"output": None, "folds": None, "checkpoint": None, "force": False}
    assert calls == {"source": Path("published"), **nothing}
    assert capsys.readouterr().out.splitlines() == [
        "took checkpoint_99.pth of fold_all: it is good",
        "  not taken: x.pth (--checkpoint NAME takes another)",
        "network: SwinUMamba of the first version (no decoder6), 2 tensors, 1,205 parameters, "
        "all with the right names and shapes",
        f"written: {tmp_path}/out (3 MB, without the optimizer's state)",
        f"predict with it: swin-umamba predict -m {tmp_path}/out -i IMAGES -o LABELS",
    ]


def test_options_and_json(calls: dict[str, Any], capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    options = ["-o", "there", "--fold", "0", "all", "--checkpoint", "x.pth", "--force", "--json"]
    assert weights_import.run(arguments(*options)) == 0
    assert calls == {
        "source": Path("published"),
        "output": Path("there"),
        "folds": (0, "all"),
        "checkpoint": "x.pth",
        "force": True,
    }
    assert json.loads(capsys.readouterr().out) == {
        "schema": 2,
        "output": str(tmp_path / "out"),
        "checkpoint": "checkpoint_99.pth",
        "reason": "it is good",
        "not_taken": ["x.pth"],
        "folds": ["fold_all"],
        "trainer": "nnUNetTrainerSwinUMamba",
        "network": "SwinUMamba of the first version (no decoder6)",
        "tensors": 2,
        "parameters": 1205,
    }


def test_a_fold_that_cannot_be() -> None:
    with pytest.raises(UsageError, match="no fold 'first'"):
        weights_import.run(arguments("--fold", "first"))


def test_a_missing_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError, match="the model does not exist"):
        weights_import.run(arguments())
