"""Trainers with another backbone: their names, folders and plans, and prediction by stock nnU-Net."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as PILImage

from nnunet.tiny_training import SHORT, make_trainer
from swin_umamba.cli.main import main
from swin_umamba.errors import CheckpointError, TrainingError, UsageError
from swin_umamba.nnunet.environment import Dataset
from swin_umamba.nnunet.shell import TRAINER_SHIM
from swin_umamba.nnunet.trainers import (
    TRAINERS,
    find_external_trainer,
    find_trainer,
    trainers_with_backbones,
    with_backbone,
)
from swin_umamba.nnunet.training.train import train
from swin_umamba.trainer_names import (
    ANY_BACKBONE_TRAINER_NAMES,
    PUBLISHED_TRAINER_NAMES,
    SWIN_UMAMBA_DD,
    SWIN_UMAMBA_DD_SCRATCH,
    TRAINER_BACKBONES,
)

TINY, DAGGER = "vmamba_tiny_s1l8", "nnUNetTrainerSwinUMambaD"


def test_each_backbone_has_a_trainer_for_nnunets_own_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    made = trainers_with_backbones()
    assert len(made) == len(ANY_BACKBONE_TRAINER_NAMES) * len(TRAINER_BACKBONES) == 20
    # SwinUMambaDD has it without being asked.
    assert [name for name in made if "_" not in name] == [SWIN_UMAMBA_DD, SWIN_UMAMBA_DD_SCRATCH]
    assert all(name.count("__") == 0 for name in made)
    monkeypatch.setenv("nnUNet_extTrainer", str(TRAINER_SHIM))
    for name in (f"{DAGGER}_{TINY}", f"{DAGGER}Objects_vmamba_base_s2l15"):
        found = find_external_trainer(name)
        assert found is made[name] is find_trainer(name)
        assert found.__name__ == name
    assert find_external_trainer("nnUNetTrainerSwinUMambaScratch") is not None


def test_option_and_name_mean_the_same_trainer() -> None:
    assert (
        find_trainer(DAGGER, TINY)
        is find_trainer(f"{DAGGER}_{TINY}")
        is find_trainer(f"{DAGGER}_{TINY}", TINY)
    )
    assert find_trainer(DAGGER, "vmamba_tiny") is TRAINERS[DAGGER]
    # Loadable by shape, and by option; nnU-Net's own commands have no name for it.
    large = find_trainer(DAGGER, "vmamba_small_s1l20")
    assert large.network_kwargs == {"backbone": "vmamba_small_s1l20"}  # type: ignore[attr-defined]
    assert large.__name__ not in trainers_with_backbones()


@pytest.mark.parametrize("name", PUBLISHED_TRAINER_NAMES)
def test_the_published_trainers_keep_their_backbone(name: str) -> None:
    assert "backbone" not in TRAINERS[name].network_kwargs  # type: ignore[attr-defined]
    assert TRAINERS[name].network_class.default_backbone == "vmamba_tiny"  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("trainer", "backbone", "message"),
    [
        ("nnUNetTrainerSwinUMamba", TINY, "takes no other backbone"),
        ("nnUNetTrainer", TINY, "takes no other backbone"),
        ("nnUNetTrainerSwinUMamba", "vmamba_huge", "no backbone 'vmamba_huge'"),
        (DAGGER, "vmamba_huge", "no backbone 'vmamba_huge'"),
        ("nnUNetTrainerSwinUMambaDD", "vmamba_tiny", "vmamba_tiny has no stem at half resolution"),
        ("nnUNetTrainerSwinUMambaDD_vmamba_tiny", None, "vmamba_tiny has no stem at half resolution"),
        (f"{DAGGER}_vmamba_huge", None, "no backbone 'vmamba_huge'"),
        (f"{DAGGER}_{TINY}", "vmamba_tiny_s2l5", f"has the backbone {TINY}, and vmamba_tiny_s2l5"),
        (f"{DAGGER}_{TINY}", "vmamba_tiny", f"has the backbone {TINY}, and vmamba_tiny"),
        ("nnUNetTrainerMine_a", None, "no trainer"),
    ],
)
def test_what_does_not_go_together_is_refused(trainer: str, backbone: str | None, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        find_trainer(trainer, backbone)


@pytest.mark.usefixtures("tiny_trainers")
def test_without_weights_the_error_names_those_of_the_backbone(planned_dataset: Dataset) -> None:
    trainer = make_trainer(planned_dataset, f"{DAGGER}_{TINY}", **SHORT)
    assert Path(trainer.output_folder).parent.name == f"{DAGGER}_{TINY}__SwinUMambaPlans__2d"
    planned = trainer.plans_manager.plans["configurations"]["2d"]["architecture"]["arch_kwargs"]
    assert planned["backbone"] == TINY
    with pytest.raises(TrainingError, match="starts from pretrained weights") as caught:
        trainer.on_train_start()
    assert f"{TINY}_v2cls" in str(caught.value.hint)


@pytest.mark.slow
@pytest.mark.usefixtures("tiny_trainers")
def test_two_backbones_have_folders_of_their_own_and_stock_nnunet_predicts(
    planned_dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = train(planned_dataset, trainer=DAGGER, backbone=TINY, pretrained="none", **SHORT)
    name = f"{DAGGER}_{TINY}__SwinUMambaPlans__2d"
    assert first.fold_folder.parent.name == name
    plans = json.loads((first.fold_folder.parent / "plans.json").read_text())
    architecture = plans["configurations"]["2d"]["architecture"]
    assert architecture["arch_kwargs"]["backbone"] == TINY
    assert architecture["network_class_name"] == "swin_umamba.nnunet.architecture.PlannedSwinUMambaD"
    plain = train(planned_dataset, trainer=DAGGER, pretrained="none", **SHORT)
    assert plain.fold_folder.parent.name == f"{DAGGER}__SwinUMambaPlans__2d"
    more = SHORT | {"epochs": 2}
    again = train(planned_dataset, trainer=DAGGER, backbone=TINY, continue_training=True, **more)
    assert (again.fold_folder, again.epochs) == (first.fold_folder, 2)
    with pytest.raises(CheckpointError, match="do not fit"):
        train(
            planned_dataset,
            trainer=DAGGER,
            backbone="vmamba_tiny_s2l5",
            pretrained=str(first.fold_folder / "checkpoint_final.pth"),
            **SHORT,
        )

    from nnunetv2.inference import predict_from_raw_data as stock

    monkeypatch.setenv("nnUNet_extTrainer", str(TRAINER_SHIM))
    # As nnU-Net searches the folders of the variable, but without the import of its whole training tree.
    monkeypatch.setattr(stock, "recursive_find_trainer_class_by_name", find_external_trainer)
    case, out = planned_dataset.raw_folder / "imagesTr" / "case0_0000.png", tmp_path / "out"
    predictor = stock.nnUNetPredictor(
        device=torch.device("cpu"), use_mirroring=False, perform_everything_on_device=False, allow_tqdm=False
    )
    predictor.initialize_from_trained_model_folder(str(first.fold_folder.parent), (0,))
    image = np.asarray(PILImage.open(case)).transpose(2, 0, 1)[:, None].astype(np.float32)
    theirs = predictor.predict_single_npy_array(image, {"spacing": (999, 1, 1)})
    command = ["predict", "-m", str(first.fold_folder), "-i", str(case), "-o", str(out), "--device", "cpu"]
    assert main([*command, "--no-mirroring"]) == 0
    assert np.array_equal(np.asarray(PILImage.open(out / "case0.png")), theirs[0])


def test_a_name_that_nnunet_would_divide_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    from swin_umamba.weights.catalog import BACKBONES

    monkeypatch.setitem(BACKBONES, "my__own", replace(BACKBONES[TINY], name="my__own"))
    with pytest.raises(UsageError, match="divides by __"):
        with_backbone(TRAINERS[DAGGER], "my__own")
