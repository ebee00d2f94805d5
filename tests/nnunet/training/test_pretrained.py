"""What a training starts from: files and folders, other channels and classes, its own learning rate."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from nnunet.tiny_training import DAGGER, PLAIN, SHORT, SIZES, make_trainer, weights_of
from swin_umamba.errors import CheckpointError, TrainingError, UsageError
from swin_umamba.nnunet.environment import Dataset
from swin_umamba.nnunet.training.pretrained import locate_pretrained
from swin_umamba.nnunet.training.train import train
from swin_umamba.weights.checkpoint import load_checkpoint, save_checkpoint

pytestmark = pytest.mark.usefixtures("tiny_trainers")

STEM = "stem.0.weight"


@pytest.mark.parametrize("name", [PLAIN, DAGGER])
@pytest.mark.parametrize("kind", ["model folder", "fold folder", "checkpoint", "safetensors"])
def test_the_same_task_starts_with_every_tensor(
    planned_dataset: Dataset, trained: dict[str, Path], tmp_path: Path, name: str, kind: str
) -> None:
    folder, weights = trained[name], weights_of(trained[name])
    save_file(weights, tmp_path / "weights.safetensors")
    given = {
        "model folder": folder,
        "fold folder": folder / "fold_0",
        "checkpoint": folder / "fold_0" / "checkpoint_final.pth",
        "safetensors": tmp_path / "weights.safetensors",
    }[kind]
    trainer = make_trainer(planned_dataset, name, pretrained=str(given))
    trainer.initialize()
    for key, value in trainer.network.state_dict().items():
        assert torch.equal(value, weights[key]), key
    assert f"{len(weights)} tensors loaded, 0 adapted, 0 re-initialised" in Path(trainer.log_file).read_text()


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        (("background", "a", "b", "c", "d"), "3 classes in the file, 5 here"),
        (("background", "dark", "bright"), "the classes of the file have other names or another order"),
    ],
)
def test_other_channels_and_classes_are_adapted_and_said_so(
    planned_dataset: Dataset,
    trained: dict[str, Path],
    caplog: pytest.LogCaptureFixture,
    labels: tuple[str, ...],
    reason: str,
) -> None:
    weights = weights_of(trained[PLAIN])
    trainer = make_trainer(
        planned_dataset, PLAIN, num_channels=1, labels=labels, pretrained=str(trained[PLAIN]), seed=1
    )
    fresh = make_trainer(planned_dataset, PLAIN, num_channels=1, labels=labels, pretrained="none", seed=1)
    fresh.initialize()
    with caplog.at_level(logging.INFO, logger="swin_umamba"):
        trainer.initialize()
    for log in (caplog.text, Path(trainer.log_file).read_text()):
        assert "3 adapted, 8 re-initialised" in log
        assert "adapted: stem.0.weight: 3 input channels in the file, 1 here" in log
        assert f"re-initialised: out_layers.0.conv.conv.weight: {reason}" in log
    state, initial = trainer.network.state_dict(), fresh.network.state_dict()
    assert torch.allclose(state[STEM], weights[STEM].sum(dim=1, keepdim=True))
    assert torch.equal(state["out_layers.0.conv.conv.weight"], initial["out_layers.0.conv.conv.weight"])
    assert torch.equal(state["stem.1.weight"], weights["stem.1.weight"])


@pytest.mark.parametrize("adapts", [True, False])
def test_a_backbone_of_our_own_pretraining(planned_dataset: Dataset, tmp_path: Path, adapts: bool) -> None:
    from swin_umamba.pretraining.classifier import BackboneClassifier, public_state_dict

    weights = public_state_dict(BackboneClassifier(3, 5, **SIZES))
    save_checkpoint(tmp_path / "backbone.pth", {"model": weights})
    trainer = make_trainer(
        planned_dataset,
        DAGGER,
        num_channels=1,
        pretrained=str(tmp_path / "backbone.pth"),
        adapt_first_convolution=adapts,
    )
    trainer.initialize()
    state = trainer.network.state_dict()
    projection = "patch_embed.proj.weight"
    adapted = weights[projection].sum(dim=1, keepdim=True)
    assert torch.allclose(state[f"vssm_encoder.{projection}"], adapted) is adapts
    norm = "layers.0.blocks.0.ln_1.weight"
    assert torch.equal(state[f"vssm_encoder.{norm}"], weights[norm])
    log = Path(trainer.log_file).read_text()
    assert "(VMamba classifier)" in log
    assert ("3 input channels in the file, 1 here" in log) is adapts


@pytest.mark.parametrize(("labels", "new_heads"), [((), 0), (("background", "dark", "bright"), 8)])
def test_an_exported_model_says_what_its_classes_are(
    planned_dataset: Dataset,
    trained: dict[str, Path],
    tmp_path: Path,
    labels: tuple[str, ...],
    new_heads: int,
) -> None:
    from swin_umamba.trained.model import load_trained_model
    from swin_umamba.trained.model_file import write_model_file

    write_model_file(load_trained_model(trained[DAGGER]), "A model.", tmp_path / "model.safetensors")
    trainer = make_trainer(
        planned_dataset, DAGGER, labels=labels, pretrained=str(tmp_path / "model.safetensors")
    )
    trainer.initialize()
    assert f"0 adapted, {new_heads} re-initialised" in Path(trainer.log_file).read_text()
    weights = weights_of(trained[DAGGER])
    encoder = "vssm_encoder.layers.0.blocks.0.ln_1.weight"
    assert torch.equal(trainer.network.state_dict()[encoder], weights[encoder])


def test_weights_of_the_other_network_are_refused(planned_dataset: Dataset, trained: dict[str, Path]) -> None:
    trainer = make_trainer(planned_dataset, DAGGER, pretrained=str(trained[PLAIN]))
    with pytest.raises(CheckpointError, match="do not fit") as caught:
        trainer.initialize()
    assert "the file is of SwinUMamba, this training of SwinUMambaD" in str(caught.value)


@pytest.mark.parametrize("name", [PLAIN + "Scratch", DAGGER + "Scratch", "nnUNetTrainer"])
def test_a_trainer_that_takes_no_weights_does_not_ignore_them(planned_dataset: Dataset, name: str) -> None:
    with pytest.raises(UsageError, match=r"random weights|has no pretrained"):
        make_trainer(planned_dataset, name, pretrained="some.pth").initialize()


def test_what_a_folder_means(trained: dict[str, Path], tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(trained[PLAIN], model)
    assert locate_pretrained(model) == model / "fold_0" / "checkpoint_final.pth"
    (model / "fold_0" / "checkpoint_final.pth").rename(model / "fold_0" / "checkpoint_99.pth")
    assert locate_pretrained(model) == model / "fold_0" / "checkpoint_best.pth"
    (model / "fold_1").mkdir()
    assert locate_pretrained(model) == model / "fold_0" / "checkpoint_best.pth", "fold 1 is empty"
    shutil.copy(model / "fold_0" / "checkpoint_99.pth", model / "fold_1")
    with pytest.raises(UsageError, match="several folds") as caught:
        locate_pretrained(model)
    assert "fold_0, fold_1" in str(caught.value)
    with pytest.raises(CheckpointError, match="no checkpoint to start from"):
        locate_pretrained(tmp_path)
    with pytest.raises(TrainingError, match="no such file or folder"):
        locate_pretrained(tmp_path / "nothing")


def test_the_folder_of_a_pretraining_means_its_backbone(planned_dataset: Dataset, tmp_path: Path) -> None:
    state = tmp_path / "checkpoint_latest.pth"
    save_checkpoint(state, {"pretraining": {"network": {}}})
    trainer = make_trainer(planned_dataset, DAGGER, pretrained=str(state))
    with pytest.raises(CheckpointError, match=r"pretrain --continue(.|\n)*give backbone\.pth"):
        trainer.initialize()
    save_checkpoint(tmp_path / "backbone.pth", {"model": {}})
    assert locate_pretrained(tmp_path) == tmp_path / "backbone.pth"


def test_a_name_of_the_catalogue_is_looked_for_in_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SWIN_UMAMBA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("SWIN_UMAMBA_OFFLINE", "1")
    with pytest.raises(CheckpointError, match="not in the cache") as caught:
        locate_pretrained("vmamba_tiny_v0cls")
    assert str(tmp_path / "cache") in str(caught.value)
    with pytest.raises(UsageError, match="did you mean vmamba_tiny_v0cls"):
        locate_pretrained("vmamba_tiny_v0")
    file = tmp_path / "cache" / "weights" / "vmamba_tiny_e292.pth"
    save_checkpoint(file, {"model": {"norm.weight": torch.ones(1)}})
    assert locate_pretrained("vmamba_tiny_e292") == file


def test_the_encoder_gets_its_own_learning_rate(planned_dataset: Dataset, trained: dict[str, Path]) -> None:
    trainer = make_trainer(
        planned_dataset, PLAIN, pretrained=str(trained[PLAIN]), encoder_learning_rate=1e-5, epochs=20
    )
    trainer.initialize()
    rest, encoder = trainer.optimizer.param_groups
    frozen = {
        id(parameter)
        for name, parameter in trainer.network.named_parameters()
        if name.startswith("vssm_encoder.") and "patch_embed" not in name
    }
    assert {id(parameter) for parameter in encoder["params"]} == frozen
    every = [*rest["params"], *encoder["params"]]
    assert len(every) == len({id(each) for each in every}) == len(list(trainer.network.parameters()))
    assert (rest["lr"], encoder["lr"]) == (1e-4, 1e-5)
    assert rest["weight_decay"] == encoder["weight_decay"] == 0.05
    trainer.lr_scheduler.step(500)
    assert [rest["lr"], encoder["lr"]] == pytest.approx([5.05e-5, 5.5e-6])


def test_an_encoder_that_is_never_trained_is_warned_about(
    planned_dataset: Dataset, trained: dict[str, Path], caplog: pytest.LogCaptureFixture
) -> None:
    train(planned_dataset, pretrained=str(trained[PLAIN]), **SHORT)
    assert "the encoder stays frozen in all 1 epochs" in caplog.text
    caplog.clear()
    train(planned_dataset, pretrained=str(trained[PLAIN]), frozen_epochs=0, overwrite=True, **SHORT)
    assert "frozen" not in caplog.text


def test_fine_tuning_goes_on_without_the_file(
    planned_dataset: Dataset, trained: dict[str, Path], tmp_path: Path
) -> None:
    file = tmp_path / "start.pth"
    shutil.copy(trained[PLAIN] / "fold_0" / "checkpoint_final.pth", file)
    options = SHORT | {
        "epochs": 2,
        "pretrained": str(file),
        "frozen_epochs": 1,
        "encoder_learning_rate": 1e-5,
    }
    straight = train(planned_dataset, **options).fold_folder
    expected = load_checkpoint(straight / "checkpoint_final.pth")
    assert [group["lr"] for group in expected["optimizer_state"]["param_groups"]] == pytest.approx(
        [1e-4, 1e-5], rel=1e-4
    )
    train(planned_dataset, **(options | {"epochs": 1, "overwrite": True}))
    file.unlink()
    first = load_checkpoint(straight / "checkpoint_final.pth")["network_weights"]
    start = weights_of(trained[PLAIN])
    encoder = "vssm_encoder.layers.0.blocks.0.ln_1.weight"
    assert torch.equal(first[encoder], start[encoder]), "the encoder was frozen"
    assert not torch.equal(first[STEM], start[STEM])
    train(planned_dataset, continue_training=True, epochs=2)
    resumed = load_checkpoint(straight / "checkpoint_final.pth")
    assert resumed["current_epoch"] == 2
    for key, value in expected["network_weights"].items():
        assert torch.equal(resumed["network_weights"][key], value), key
    assert not torch.equal(resumed["network_weights"][encoder], start[encoder]), "it is trained now"
