"""The recipe: optimizer, freezing, deep supervision, ImageNet weights, and plans that need no trainer."""

from __future__ import annotations

import json
import math
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from nnunet.tiny_training import SHORT
from nnunet.tiny_training import make_trainer as make_tiny_trainer
from swin_umamba.errors import CheckpointError, TrainingError, UsageError
from swin_umamba.nnunet import trainers
from swin_umamba.nnunet.environment import Dataset
from swin_umamba.nnunet.trainers import TRAINERS, find_trainer
from swin_umamba.nnunet.training.options import TrainingOptions
from swin_umamba.nnunet.training.train import train
from swin_umamba.trainer_names import (
    PRETRAINED_TRAINER_NAMES,
    PUBLISHED_TRAINER_NAMES,
    SWIN_UMAMBA_D_OBJECTS,
    SWIN_UMAMBA_DD,
    SWIN_UMAMBA_DD_SCRATCH,
    TRAINER_NAMES,
)
from swin_umamba.weights.checkpoint import save_checkpoint

pytestmark = pytest.mark.usefixtures("tiny_trainers")

NAMES = sorted(PUBLISHED_TRAINER_NAMES)
make_trainer = partial(make_tiny_trainer, pretrained="none")


def imagenet_file(path: Path, network: nn.Module) -> Path:
    """Write what an ImageNet checkpoint for the encoder of ``network`` looks like, with random values."""
    model = {"norm.weight": torch.ones(4), "head.weight": torch.ones(4, 4)}
    for name, value in network.state_dict().items():
        if name.startswith("vssm_encoder."):
            name = name.removeprefix("vssm_encoder.")
            if name.startswith("downsamples."):
                _, number, rest = name.split(".", 2)
                name = f"layers.{number}.downsample.{rest}"
            model[name] = torch.rand_like(value)
    save_checkpoint(path, {"model": model})
    return path


def test_the_trainers_have_the_published_names() -> None:
    assert NAMES == [
        "nnUNetTrainerSwinUMamba",
        "nnUNetTrainerSwinUMambaD",
        "nnUNetTrainerSwinUMambaDScratch",
        "nnUNetTrainerSwinUMambaScratch",
    ]
    assert tuple(TRAINERS) == TRAINER_NAMES
    others = [SWIN_UMAMBA_D_OBJECTS, SWIN_UMAMBA_DD, SWIN_UMAMBA_DD_SCRATCH]
    assert sorted(TRAINER_NAMES) == sorted(["nnUNetTrainer", *others, *NAMES])
    assert sorted(trainers.__all__) == sorted([*others, *NAMES])
    pretrained = [name for name, each in TRAINERS.items() if getattr(each, "starts_pretrained", False)]
    assert tuple(pretrained) == PRETRAINED_TRAINER_NAMES


@pytest.mark.parametrize("name", NAMES)
def test_recipe(planned_dataset: Dataset, name: str) -> None:
    trainer = make_trainer(planned_dataset, name)
    trainer.initialize()
    (group,) = trainer.optimizer.param_groups
    assert isinstance(trainer.optimizer, torch.optim.AdamW)
    assert (group["lr"], group["weight_decay"], group["eps"], group["betas"]) == (
        1e-4,
        0.05,
        1e-5,
        (0.9, 0.999),
    )
    assert len(group["params"]) == len(list(trainer.network.parameters()))
    assert (trainer.num_epochs, trainer.num_iterations_per_epoch, trainer.num_val_iterations_per_epoch) == (
        1000,
        250,
        50,
    )
    assert trainer._do_i_compile() is False
    trainer.lr_scheduler.step(349)
    assert group["lr"] == pytest.approx(7.311e-5, rel=1e-4)


def test_the_annealed_schedule_ends_with_the_training(planned_dataset: Dataset) -> None:
    trainer = make_trainer(planned_dataset, NAMES[0], schedule="annealed", epochs=20, learning_rate=1e-3)
    trainer.initialize()
    trainer.lr_scheduler.step(20)
    assert trainer.optimizer.param_groups[0]["lr"] == pytest.approx(1e-6)
    trainer.lr_scheduler.step(0)
    assert trainer.optimizer.param_groups[0]["lr"] == pytest.approx(1e-3)


@pytest.mark.parametrize(
    ("name", "scales"),
    [
        ("nnUNetTrainerSwinUMamba", [1, 1 / 2, 1 / 4, 1 / 8]),
        ("nnUNetTrainerSwinUMambaScratch", [1, 1 / 2, 1 / 4, 1 / 8]),
        ("nnUNetTrainerSwinUMambaD", [1, 1 / 4, 1 / 8, 1 / 16]),
        ("nnUNetTrainerSwinUMambaDScratch", None),
    ],
)
def test_deep_supervision(planned_dataset: Dataset, name: str, scales: list[float] | None) -> None:
    trainer = make_trainer(planned_dataset, name)
    trainer.initialize()
    trainer.set_deep_supervision_enabled(trainer.enable_deep_supervision)
    output = trainer.network(torch.zeros(1, 3, 64, 64))
    if scales is None:
        assert trainer._get_deep_supervision_scales() is None
        assert output.shape == (1, 3, 64, 64)
        return
    assert trainer._get_deep_supervision_scales() == [[scale, scale] for scale in scales]
    assert trainer.loss.weight_factors == pytest.approx((4 / 7, 2 / 7, 1 / 7, 0))
    assert [head.shape[-1] for head in output] == [64 * scale for scale in scales]
    trainer.set_deep_supervision_enabled(False)
    assert trainer.network(torch.zeros(1, 3, 64, 64)).shape == (1, 3, 64, 64)


@pytest.mark.parametrize("name", NAMES)
def test_the_encoder_is_frozen_for_ten_epochs_unless_it_starts_from_scratch(
    planned_dataset: Dataset, name: str
) -> None:
    trainer = make_trainer(planned_dataset, name, pretrained="some.pth")
    trainer.starts_fresh = False  # the file is not needed to see what gets frozen
    trainer.initialize()
    frozen_at = {}
    for epoch in (0, 9, 10):
        trainer.current_epoch = epoch
        trainer.logger.local_logger.my_fantastic_logging["lrs"] = [0.0] * epoch
        trainer.on_train_epoch_start()
        frozen_at[epoch] = {
            key for key, parameter in trainer.network.named_parameters() if not parameter.requires_grad
        }
    encoder = {key for key, _ in trainer.network.named_parameters() if key.startswith("vssm_encoder.")}
    expected = set() if "Scratch" in name else {key for key in encoder if "patch_embed" not in key}
    assert frozen_at == {0: expected, 9: expected, 10: set()}
    assert Path(trainer.log_file).read_text().count("The encoder is") == (0 if "Scratch" in name else 2)


def test_random_weights_are_not_frozen_unless_asked_for(planned_dataset: Dataset) -> None:
    assert make_trainer(planned_dataset, "nnUNetTrainerSwinUMamba").frozen_epochs == 0
    assert make_trainer(planned_dataset, "nnUNetTrainerSwinUMamba", frozen_epochs=3).frozen_epochs == 3


def test_imagenet_weights_are_loaded_at_a_fresh_start_only(planned_dataset: Dataset, tmp_path: Path) -> None:
    donor = make_trainer(planned_dataset, "nnUNetTrainerSwinUMambaD")
    donor.initialize()
    file = imagenet_file(tmp_path / "vmamba.pth", donor.network)
    trainer = make_trainer(planned_dataset, "nnUNetTrainerSwinUMambaD", pretrained=str(file))
    trainer.initialize()
    expected = torch.load(file, weights_only=True)["model"]["layers.0.blocks.0.ln_1.weight"]
    assert torch.equal(trainer.network.state_dict()["vssm_encoder.layers.0.blocks.0.ln_1.weight"], expected)
    assert "tensors loaded" in Path(trainer.log_file).read_text()
    file.unlink()
    resumed = make_trainer(planned_dataset, "nnUNetTrainerSwinUMambaD", pretrained=str(file))
    resumed.starts_fresh = False
    resumed.initialize()


@pytest.mark.parametrize(
    ("pretrained", "message"), [(None, "none were given"), ("missing.pth", "no such file")]
)
def test_missing_weights_name_the_option(
    planned_dataset: Dataset, pretrained: str | None, message: str
) -> None:
    with pytest.raises(TrainingError, match=message) as caught:
        make_trainer(planned_dataset, "nnUNetTrainerSwinUMamba", pretrained=pretrained).on_train_start()
    assert "--pretrained" in str(caught.value)
    assert "SWIN_UMAMBA_PRETRAINED" in str(caught.value)


def test_stock_runs_take_options_from_the_environment(
    planned_dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SWIN_UMAMBA_EPOCHS", "3")
    monkeypatch.setenv("SWIN_UMAMBA_PRETRAINED", "none")
    planned_dataset.folders.export()
    plans = json.loads((planned_dataset.preprocessed_folder / "SwinUMambaPlans.json").read_text())
    description = planned_dataset.description()
    trainer = find_trainer("nnUNetTrainerSwinUMamba")(plans, "2d", 0, description, torch.device("cpu"))
    trainer.initialize()
    assert trainer.num_epochs == 3


def test_options_replace_patch_and_batch_in_the_plans_of_the_model(planned_dataset: Dataset) -> None:
    trainer = make_trainer(planned_dataset, NAMES[0], batch_size=5, patch_size=(32, 96))
    assert trainer.configuration_manager.batch_size == 5
    saved = trainer.plans_manager.plans["configurations"]["2d"]
    assert (saved["batch_size"], saved["patch_size"]) == (5, [32, 96])
    assert trainer.my_init_kwargs["plans"]["configurations"]["2d"] is saved


@pytest.mark.parametrize(("patch_size", "message"), [([16, 64], "at least 32x32"), ([32, 64, 64], "3D")])
def test_plans_that_do_not_fit_are_refused(
    planned_dataset: Dataset, patch_size: list[int], message: str
) -> None:
    plans = json.loads((planned_dataset.preprocessed_folder / "SwinUMambaPlans.json").read_text())
    plans["configurations"]["2d"]["patch_size"] = patch_size
    with pytest.raises(UsageError, match=message):
        find_trainer(NAMES[0])(plans, "2d", 0, planned_dataset.description(), torch.device("cpu"))


def test_heads_follow_regions_and_the_ignore_label(planned_dataset: Dataset) -> None:
    plans = json.loads((planned_dataset.preprocessed_folder / "SwinUMambaPlans.json").read_text())
    planned_dataset.folders.export()
    description = planned_dataset.description() | {
        "labels": {"background": 0, "whole": [1, 2], "core": 2, "ignore": 3},
        "regions_class_order": [1, 2],
    }
    trainer = find_trainer(NAMES[0])(plans, "2d", 0, description, torch.device("cpu"))
    trainer.configure(TrainingOptions(pretrained="none"))
    trainer.initialize()
    assert trainer.bare_network().num_classes == 2


def test_an_epoch_without_foreground_does_not_spoil_the_average(planned_dataset: Dataset) -> None:
    trainer = make_trainer(planned_dataset, NAMES[0])
    counts = np.array([3.0, 1.0])
    good = {"loss": np.array(0.1), "tp_hard": counts, "fp_hard": counts, "fn_hard": counts}
    empty = {"loss": np.array(0.1)} | {key: np.zeros(2) for key in ("tp_hard", "fp_hard", "fn_hard")}
    with np.errstate(invalid="ignore"):
        for epoch, output in enumerate((empty, good, empty, good)):
            trainer.current_epoch = epoch
            trainer.on_validation_epoch_end([output])
    averages = trainer.logger.get_value("ema_fg_dice", step=None)
    assert math.isnan(averages[0])
    assert averages[1:] == pytest.approx([0.5, 0.5, 0.5])


def test_a_step_that_is_not_finite_is_left_out_of_the_mean_loss(planned_dataset: Dataset) -> None:
    trainer = make_trainer(planned_dataset, NAMES[0])
    trainer.on_train_epoch_end([{"loss": np.array(value)} for value in (1.0, float("nan"), 3.0)])
    assert trainer.logger.get_value("train_losses", step=-1) == 2.0


def test_a_checkpoint_of_another_network_is_refused(planned_dataset: Dataset) -> None:
    other = make_trainer(planned_dataset, "nnUNetTrainerSwinUMambaD")
    other.initialize()
    trainer = make_trainer(planned_dataset, "nnUNetTrainerSwinUMamba")
    checkpoint = {"network_weights": other.network.state_dict(), "current_epoch": 1}
    with pytest.raises(CheckpointError, match="does not fit"):
        trainer.load_checkpoint(checkpoint)


def test_augmentation_is_independent_of_timing(planned_dataset: Dataset) -> None:
    trainer = make_trainer(planned_dataset, NAMES[0], workers=0)
    transforms = trainer.get_training_transforms((64, 64), (-1, 1), None, (0, 1), False)
    inner = [getattr(transform, "transform", transform) for transform in transforms.transforms]
    assert [each.benchmark for each in inner if hasattr(each, "benchmark")] == [False]


def test_stock_nnunet_predicts_with_the_plans_alone(planned_dataset: Dataset) -> None:
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    fold = train(planned_dataset, trainer="nnUNetTrainerSwinUMambaDScratch", **SHORT).fold_folder
    checkpoint = torch.load(fold / "checkpoint_final.pth", weights_only=False)
    checkpoint["trainer_name"] = "nnUNetTrainer"  # nnU-Net's own, which knows nothing of this package
    torch.save(checkpoint, fold / "checkpoint_final.pth")
    predictor = nnUNetPredictor(
        perform_everything_on_device=False, device=torch.device("cpu"), allow_tqdm=False
    )
    predictor.initialize_from_trained_model_folder(str(fold.parent), (0,))
    assert type(predictor.network).__name__ == "PlannedSwinUMambaD"
    image = np.random.default_rng(0).normal(size=(3, 1, 64, 64)).astype(np.float32)
    segmentation = predictor.predict_single_npy_array(image, {"spacing": (999, 1, 1)})
    assert segmentation.shape == (1, 64, 64)
    assert set(np.unique(segmentation)) <= {0, 1, 2}


def test_the_stock_recipe_trains_with_the_same_care(planned_dataset: Dataset) -> None:
    options = SHORT | {"skip_validation": False, "batch_size": 2, "patch_size": (32, 32)}
    result = train(planned_dataset, trainer="nnUNetTrainer", **options)
    assert result.fold_folder.parent.name == "nnUNetTrainer__SwinUMambaPlans__2d"
    plans = json.loads((result.fold_folder.parent / "plans.json").read_text())
    name = plans["configurations"]["2d"]["architecture"]["network_class_name"]
    assert name == "dynamic_network_architectures.architectures.unet.PlainConvUNet"
