"""Trainers in the user's own file: hooks, both commands, prediction, and what a model may never cause."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from nnunet.tiny_training import SHORT, SIZES
from swin_umamba.cli.main import main
from swin_umamba.errors import UsageError
from swin_umamba.nnunet.environment import Dataset
from swin_umamba.nnunet.trainers import TRAINERS, find_external_trainer, find_trainer
from swin_umamba.nnunet.training.train import train
from swin_umamba.weights.checkpoint import load_checkpoint

FILE = f"""
import torch
from batchgeneratorsv2.transforms.base.basic_transform import BasicTransform
from swin_umamba.nnunet.trainers import nnUNetTrainerSwinUMambaD

SEEN = []

class Halve(BasicTransform):
    def apply(self, data_dict, **params):
        SEEN.append("transform")
        return {{**data_dict, "image": data_dict["image"] / 2}}

class MyTrainer(nnUNetTrainerSwinUMambaD):
    network_kwargs = {SIZES!r}

    def build_loss(self):
        SEEN.append("loss")
        return super().build_loss()

    def training_transforms(self, transforms):
        transforms.transforms.insert(0, Halve())
        return transforms

    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.bare_network().parameters(), lr=self.initial_lr)
        return optimizer, torch.optim.lr_scheduler.ConstantLR(optimizer)

class NotOurs:
    pass

class nnUNetTrainerSwinUMamba(MyTrainer):
    pass
"""
FLAGS = [
    *("--epochs", "1", "--iterations", "1", "--validation-iterations", "1", "--device", "cpu"),
    *("--workers", "0", "--seed", "5", "--skip-validation", "--pretrained", "none"),
]


@pytest.fixture
def file(tmp_path: Path) -> Iterator[Path]:
    modules, folders = set(sys.modules), list(sys.path)
    folder = tmp_path / "code"
    folder.mkdir()
    (folder / "my_trainers.py").write_text(FILE)
    yield folder / "my_trainers.py"
    sys.path[:] = folders
    for name in set(sys.modules) - modules:
        if name.startswith(("my_trainers", "planted")):
            del sys.modules[name]


@pytest.fixture
def _no_curves(monkeypatch: pytest.MonkeyPatch) -> None:
    from nnunetv2.training.logging.nnunet_logger import MetaLogger

    monkeypatch.setattr(MetaLogger, "plot_progress_png", lambda self, output_folder: None)


def train_flags(dataset: Dataset, trainer: str, *more: str) -> list[str]:
    dataset.folders.export()
    return ["train", str(dataset.raw_folder), "--trainer", trainer, *FLAGS, *more]


@pytest.mark.usefixtures("_no_curves")
def test_our_command_trains_continues_and_predicts(
    planned_dataset: Dataset, file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(train_flags(planned_dataset, f"{file}:MyTrainer", "--json")) == 0
    fold = Path(json.loads(capsys.readouterr().out.splitlines()[-1])["fold_folder"])
    assert fold.parent.name == "MyTrainer__SwinUMambaPlans__2d"
    # One loss, and a transform for each patch.
    seen = sys.modules["my_trainers"].SEEN
    assert (seen.count("loss"), seen.count("transform") > 1) == (1, True)
    checkpoint = load_checkpoint(fold / "checkpoint_final.pth")
    assert checkpoint["trainer_name"] == "MyTrainer"
    assert "my_trainers" not in str(checkpoint["init_args"]) + str(checkpoint.get("swin_umamba", ""))
    assert checkpoint["optimizer_state"]["state"] == {}  # SGD without momentum has none

    assert main([*train_flags(planned_dataset, f"{file}:MyTrainer"), "--epochs", "2", "--continue"]) == 0
    assert load_checkpoint(fold / "checkpoint_final.pth")["current_epoch"] == 2

    images = planned_dataset.raw_folder / "imagesTr"
    command = ["predict", "-m", str(fold), "-i", str(images / "case0_0000.png"), "-o", str(tmp_path / "out")]
    assert main([*command, "--device", "cpu", "--trainer", f"{file}:MyTrainer"]) == 0
    assert len(list((tmp_path / "out").glob("*.png"))) == 1
    assert main([*command, "--trainer", "nnUNetTrainerSwinUMamba"]) == 2
    assert "trained with MyTrainer and not with nnUNetTrainerSwinUMamba" in capsys.readouterr().err


@pytest.mark.usefixtures("_no_curves")
def test_nnunets_search_finds_and_trains_it(
    planned_dataset: Dataset, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As ``nnUNetv2_train`` does, but without the import of nnU-Net's whole training tree."""
    from nnunetv2.utilities.find_class_by_name import recursive_find_python_class

    folder = str(file.parent)
    found = recursive_find_python_class(
        folder, "MyTrainer", None, base_folder=folder, cleanup_imports_from_base_folder=True
    )
    assert found is not None
    assert "my_trainers" not in sys.modules
    planned_dataset.folders.export()
    for name in ("EPOCHS", "ITERATIONS_PER_EPOCH", "VALIDATION_ITERATIONS"):
        monkeypatch.setenv(f"SWIN_UMAMBA_{name}", "1")
    monkeypatch.setenv("SWIN_UMAMBA_PRETRAINED", "none")
    monkeypatch.setenv("nnUNet_n_proc_DA", "0")
    plans = json.loads((planned_dataset.preprocessed_folder / "SwinUMambaPlans.json").read_text())
    trainer = found(plans, "2d", 0, planned_dataset.description(), torch.device("cpu"))
    trainer.run_training()
    assert isinstance(trainer.optimizer, torch.optim.SGD)
    globals_of_the_file = found.build_loss.__globals__  # type: ignore[attr-defined]
    assert set(globals_of_the_file["SEEN"]) == {"loss", "transform"}


@pytest.mark.usefixtures("_no_curves")
def test_nnunets_variable_serves_our_command(
    planned_dataset: Dataset, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match="no trainer 'MyTrainer'"):
        find_trainer("MyTrainer")
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("nnUNet_extTrainer", os.pathsep.join(["", str(tmp_path / "empty"), str(file.parent)]))
    result = train(planned_dataset, trainer="MyTrainer", pretrained="none", **SHORT)
    assert result.fold_folder.parent.name.startswith("MyTrainer__")
    assert find_external_trainer("NoSuchTrainer") is None
    (file.parent / "planted_fault.py").write_text("1 / 0\n")
    with pytest.raises(UsageError, match="ZeroDivisionError"):
        find_external_trainer("NoSuchTrainer")


@pytest.mark.parametrize("name", ["NotOurs", "nnUNetTrainerSwinUMamba", "SEEN", "nothing"])
def test_what_is_no_trainer_of_the_users_own(file: Path, name: str) -> None:
    with pytest.raises(UsageError, match=r"not a subclass|no class"):
        find_trainer(f"{file}:{name}")


def test_our_own_trainer_through_the_users_file(file: Path) -> None:
    name = "nnUNetTrainerSwinUMambaD"
    assert find_trainer(f"{file}:{name}") is TRAINERS[name]
