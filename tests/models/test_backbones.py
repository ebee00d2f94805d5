"""Backbones: records that fit their encoders, and one from the user's own file through every command."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from swin_umamba import BackboneRecord, WeightsRecord, create_model, list_backbones, register_backbone
from swin_umamba.cli.main import main
from swin_umamba.errors import CheckpointError, UsageError
from swin_umamba.models import backbones
from swin_umamba.models.backbones import check_encoder
from swin_umamba.models.registry import list_models
from swin_umamba.nnunet.environment import Dataset
from swin_umamba.nnunet.trainers import find_trainer
from swin_umamba.weights.catalog import BACKBONES, CATALOG, recognise_backbone
from swin_umamba.weights.checkpoint import load_checkpoint

WIDER = ("vmamba_small", "vmamba_base")

FILE = """
from itertools import pairwise

from torch import nn

from swin_umamba import BackboneRecord, WeightsRecord, register_backbone
from swin_umamba.nnunet.trainers import nnUNetTrainerSwinUMambaD


class Pyramid(nn.Module):
    def __init__(self, in_channels, patch_size, *, features_per_stage, **others):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(in_channels, features_per_stage[0], patch_size, patch_size))
        self.stages = nn.ModuleList(nn.Conv2d(*each, 2, 2) for each in pairwise(features_per_stage))

    def forward(self, x, num_stages=4):
        stages = [self.stem(x)]
        for stage in self.stages[: num_stages - 1]:
            stages.append(stage(stages[-1].relu()))
        return [stage.permute(0, 2, 3, 1) for stage in stages]


register_backbone(
    BackboneRecord(
        name="pyramid",
        title="Pyramid",
        features_per_stage=(4, 6, 8, 10),
        recognised_by={"stem.0.weight": (4, None, None, None), "stages.2.weight": (10, 8, 2, 2)},
        first_convolution="stem.0.weight",
        spellings=((r"^levels\\.", "stages."),),
        classifier=("head.",),
        weights=(WeightsRecord("pyramid_1k", "Pyramid", "pyramid.pth", None, None, None, "MIT", "none"),),
    ),
    Pyramid,
)


class PyramidTrainer(nnUNetTrainerSwinUMambaD):
    network_kwargs = {"backbone": "pyramid", "d_state": 2}
"""


def forget() -> None:
    """Be as a new process that has loaded nothing of the user's."""
    sys.modules.pop("my_pyramid", None)
    for table in (BACKBONES, CATALOG, backbones._ENCODERS):
        for name in [name for name in table if not name.startswith("vmamba")]:
            del table[name]


@pytest.fixture
def file(tmp_path: Path) -> Iterator[Path]:
    folders = list(sys.path)
    path = tmp_path / "code" / "my_pyramid.py"
    path.parent.mkdir()
    path.write_text(FILE)
    yield path
    sys.path[:] = folders
    forget()


@pytest.fixture
def classifier(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A made-up public file; the user's own file is named in the variable."""
    monkeypatch.setenv("SWIN_UMAMBA_EXTENSIONS", str(file))
    weights = {"stem.0.weight": torch.randn(4, 3, 4, 4), "stem.0.bias": torch.randn(4)}
    for level, (fine, coarse) in enumerate(((4, 6), (6, 8), (8, 10))):
        weights |= {f"levels.{level}.weight": torch.randn(coarse, fine, 2, 2)}
        weights |= {f"levels.{level}.bias": torch.randn(coarse)}
    weights |= {"head.weight": torch.randn(7, 10)}
    torch.save({"model": weights}, tmp_path / "download.pth")
    return tmp_path / "download.pth"


def output_of(capsys: pytest.CaptureFixture[str], *command: str | Path) -> Any:
    capsys.readouterr()
    assert main([*map(str, command), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_list_inspect_convert_and_import(
    classifier: Path, tmp_path: Path, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    listed = {entry["name"]: entry for entry in output_of(capsys, "weights", "list")["weights"]}
    assert listed["pyramid_1k"]["backbone"] == "pyramid"
    assert listed["vmamba_tiny_v0cls"]["depths"] == [2, 2, 9, 2]
    found = output_of(capsys, "weights", "inspect", classifier)
    assert found["kind"] == "Pyramid classifier, layers named as in its later version"
    assert found["backbone"] == "pyramid"
    assert {name: how.split(",")[0] for name, how in found["fits"].items()} == {
        "swin_umamba, 3 channels": "yes: 6 tensors loaded",
        "swin_umamba, 1 channel": "yes: 6 tensors loaded",
        "swin_umamba_d, 3 channels": "yes: 8 tensors loaded",
        "swin_umamba_d, 1 channel": "yes: 6 tensors loaded",
        "swin_umamba_d, 1 channel, first convolution adapted": "yes: 7 tensors loaded",
        "swin_umamba_dd": "no: the backbone pyramid has no stem at half resolution",
        "swin_umamba_v1, 3 channels": "yes: 6 tensors loaded",
        "swin_umamba_v1, 1 channel": "yes: 6 tensors loaded",
    }
    output = tmp_path / "encoder.safetensors"
    command = ["weights", "convert", classifier, "-o", output, "--in-channels", "1"]
    converted = output_of(capsys, *command, "--adapt-first-convolution")
    assert list(converted["adapted"]) == ["vssm_encoder.stem.0.weight"]
    source, ours = torch.load(classifier)["model"], load_checkpoint(output)
    assert torch.equal(ours["vssm_encoder.stages.1.weight"], source["levels.1.weight"])
    assert torch.equal(ours["vssm_encoder.stem.0.weight"], source["stem.0.weight"].sum(1, keepdim=True))
    network = create_model("swin_umamba_d", 1, 2, backbone="pyramid", d_state=2, pretrained=output)
    assert torch.equal(network.vssm_encoder.stem[0].weight, ours["vssm_encoder.stem.0.weight"])
    assert output_of(capsys, "weights", "import", classifier, "--name", "pyramid_1k")["name"] == "pyramid_1k"
    create_model("swin_umamba", 1, 2, backbone="pyramid", d_state=2, pretrained="pyramid_1k")


def test_train_and_predict(
    classifier: Path,
    file: Path,
    planned_dataset: Dataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from nnunetv2.training.logging.nnunet_logger import MetaLogger

    monkeypatch.setattr(MetaLogger, "plot_progress_png", lambda self, output_folder: None)
    monkeypatch.delenv("SWIN_UMAMBA_EXTENSIONS")
    planned_dataset.folders.export()
    trainer = ["--trainer", f"{file}:PyramidTrainer"]
    once = ["--epochs", "1", "--iterations", "1", "--validation-iterations", "1", "--workers", "0"]
    command = ["train", str(planned_dataset.raw_folder), *trainer, "--device", "cpu", "--skip-validation"]
    fold = Path(output_of(capsys, *command, *once, "--pretrained", classifier)["fold_folder"])
    plans = json.loads((fold.parent / "plans.json").read_text())
    architecture = plans["configurations"]["2d"]["architecture"]
    assert architecture["network_class_name"] == "swin_umamba.nnunet.architecture.PlannedSwinUMambaD"
    assert architecture["arch_kwargs"]["backbone"] == "pyramid"
    weights = load_checkpoint(fold / "checkpoint_final.pth")["network_weights"]
    source = torch.load(classifier)["model"]
    # Frozen in its first epoch, but for the patch embedding.
    assert torch.equal(weights["vssm_encoder.stages.2.weight"], source["levels.2.weight"])
    assert not torch.equal(weights["vssm_encoder.stem.0.weight"], source["stem.0.weight"])

    image = planned_dataset.raw_folder / "imagesTr" / "case0_0000.png"
    command = ["predict", "-m", str(fold), "-i", str(image), "--device", "cpu", "-o"]
    forget()
    assert main([*command, str(tmp_path / "no")]) == 1
    assert "no backbone 'pyramid'" in (message := capsys.readouterr().err)
    assert "--trainer FILE.py:Class" in message
    assert "pyramid" not in BACKBONES
    assert main([*command, str(tmp_path / "a"), *trainer]) == 0
    for variable, value in (("nnUNet_extTrainer", str(file.parent)), ("SWIN_UMAMBA_EXTENSIONS", str(file))):
        forget()
        with monkeypatch.context() as environment:
            environment.setenv(variable, value)
            assert main([*command, str(tmp_path / variable)]) == 0
        assert "pyramid" in BACKBONES
    packed = tmp_path / "model.safetensors"
    assert main(["export", "-m", str(fold.parent), "-o", str(packed)]) == 0
    forget()
    command[2] = str(packed)
    assert main([*command, str(tmp_path / "no")]) == 1
    assert "no backbone 'pyramid'" in capsys.readouterr().err
    assert main([*command, str(tmp_path / "packed"), *trainer]) == 0
    maps = [path.read_bytes() for path in tmp_path.glob("*/case0.png")]
    assert len(maps) == 4
    assert len(set(maps)) == 1


@pytest.mark.parametrize("name", [name for name in list_models() if name != "swin_umamba_dd"])
def test_both_decoders_take_it_and_gradients_reach_it(file: Path, name: str) -> None:
    from swin_umamba.extensions import load_module

    load_module(str(file), "x")
    assert list_backbones()[0] == "vmamba_tiny"
    assert list_backbones()[-1] == "pyramid"
    trainer = find_trainer("nnUNetTrainerSwinUMambaD", "pyramid")
    assert trainer.__name__ == "nnUNetTrainerSwinUMambaD_pyramid"
    network = create_model(name, 2, 3, backbone="pyramid", d_state=2, deep_supervision=True)
    heads = network(torch.randn(1, 2, 45, 70))
    assert heads[0].shape == (1, 3, 45, 70)
    sum(head.square().sum() for head in heads).backward()
    frozen = {id(each) for each in network.encoder_parameters()}
    for key, value in network.vssm_encoder.named_parameters():
        assert (value.grad is not None) or (name == "swin_umamba_v1" and key.startswith("stages.2")), key
        assert (id(value) in frozen) == (not key.startswith("stem."))
    with pytest.raises(UsageError, match="no depths to choose"):
        create_model(name, 2, 3, backbone="pyramid", depths=(1, 1, 1, 1))


def test_weights_of_another_backbone_are_refused(classifier: Path, file: Path, tmp_path: Path) -> None:
    from swin_umamba.extensions import load_extensions

    load_extensions()
    with pytest.raises(CheckpointError, match="of the backbone pyramid, and the network has vmamba_tiny"):
        create_model("swin_umamba_d", 3, 2, pretrained=classifier)
    vmamba = create_model("swin_umamba_d", 3, 2, depths=(1,) * 4, features_per_stage=(8,) * 4, d_state=2)
    torch.save(vmamba.vssm_encoder.state_dict(), tmp_path / "vmamba.pth")
    with pytest.raises(CheckpointError, match="of the backbone vmamba_tiny, and the network has pyramid"):
        create_model("swin_umamba_d", 3, 2, backbone="pyramid", d_state=2, pretrained=tmp_path / "vmamba.pth")


@pytest.mark.parametrize(
    "record",
    [
        # The wider and deeper ones take seconds, and are built like the small ones.
        pytest.param(each, id=name, marks=[pytest.mark.slow] * name.startswith(WIDER))
        for name, each in BACKBONES.items()
    ],
)
def test_a_record_of_ours_fits_its_encoder(record: BackboneRecord) -> None:
    check_encoder(record)
    with torch.device("meta"):
        for name in list_models():
            if name == "swin_umamba_dd" and record.stem_features is None:
                continue
            state = create_model(name, 3, 2, backbone=record.name).state_dict()
            assert recognise_backbone({key: tuple(value.shape) for key, value in state.items()}) is record


class OneStage(nn.Module):
    """An encoder whose stages are views of its only convolution, as wrong as ``change`` makes them."""

    def __init__(self, in_channels: int, patch_size: int, change: Callable[[list], list], **_: Any) -> None:
        super().__init__()
        self.change = change
        self.convolution = nn.Conv2d(in_channels, 4, patch_size, patch_size)

    def forward(self, x: torch.Tensor, num_stages: int = 4) -> list[torch.Tensor]:
        x = self.convolution(x).permute(0, 2, 3, 1)
        return self.change([x[:, :: 1 << stage, :: 1 << stage] for stage in range(4)])


RECORD = BackboneRecord(
    "one_stage",
    "One stage",
    (4, 4, 4, 4),
    {"convolution.weight": (4, None, None, None)},
    "convolution.weight",
)


@pytest.mark.parametrize(
    ("change", "record", "message"),
    [
        (lambda stages: stages[:3], {}, "with patch_size 4, its encoder makes stages of shapes"),
        (lambda stages: [each.permute(0, 3, 1, 2) for each in stages], {}, "makes stages of shapes"),
        (lambda stages: stages[::-1], {}, "makes stages of shapes"),
        (lambda stages: 1 / 0, {}, "does not work .ZeroDivisionError"),
        (lambda stages: stages, {"features_per_stage": (4, 4, 4, 8)}, "makes stages of shapes"),
        (lambda stages: stages, {"recognised_by": {"conv.weight": ()}}, "does not recognise its own encoder"),
        (lambda stages: stages, {"first_convolution": "convolution.bias"}, "not a kernel convolution.bias"),
        (lambda stages: stages, {"foreign_keys": {"^conv": "another"}}, "does not recognise its own encoder"),
        (lambda stages: stages, {"name": "vmamba_tiny"}, "there is a backbone 'vmamba_tiny' already"),
        (
            lambda stages: stages,
            {"weights": (replace(CATALOG["vmamba_tiny_e292"]),)},
            "another one has weights 'vmamba_tiny_e292'",
        ),
    ],
)
def test_a_record_that_does_not_fit_is_refused_and_leaves_nothing(
    change: Callable[[list], list], record: dict[str, Any], message: str
) -> None:
    before = dict(BACKBONES), dict(CATALOG), dict(backbones._ENCODERS)
    with pytest.raises(UsageError, match=message):
        register_backbone(replace(RECORD, **record), lambda *a, **k: OneStage(*a, change=change, **k))
    assert before == (BACKBONES, CATALOG, backbones._ENCODERS)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"name": "../evil"}, "name must be"),
        ({"strides": (2, 4, 8, 16)}, "strides are"),
        ({"features_per_stage": (4, 4, 4)}, "features are"),
        ({"features_per_stage": (4, 4, 4, 0)}, "features are"),
        ({"recognised_by": {}}, "nothing says how"),
    ],
)
def test_an_impossible_record(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        replace(RECORD, **wrong)


def test_an_unknown_backbone_says_how_to_name_ones_own() -> None:
    with pytest.raises(UsageError, match="no backbone 'vmamba_tini'") as caught:
        create_model("swin_umamba_d", 3, 2, backbone="vmamba_tini")
    assert "did you mean vmamba_tiny" in str(caught.value.hint)
    assert "SWIN_UMAMBA_EXTENSIONS" in str(caught.value.hint)


def test_tensors_that_some_files_hold_in_another_shape(monkeypatch: pytest.MonkeyPatch) -> None:
    from swin_umamba.weights.convert import convert_imagenet_weights

    record = replace(RECORD, may_be_reshaped="^fc", recognised_by={"fc.weight": (None, None, None, None)})
    values = torch.arange(6.0)
    target = {
        "vssm_encoder.convolution.weight": torch.zeros(1, 1, 1, 1),
        "vssm_encoder.fc.weight": torch.zeros(2, 3),
    }
    source = {"convolution.weight": torch.ones(1, 1, 1, 1), "fc.weight": values.reshape(2, 3, 1, 1)}
    converted, _ = convert_imagenet_weights(source, target, "file", backbone=record)
    assert torch.equal(converted["vssm_encoder.fc.weight"], values.reshape(2, 3))
    with pytest.raises(CheckpointError, match=r"fc\.weight \(2, 3, 1, 1\), expected \(2, 3\)"):
        convert_imagenet_weights(source, target, "file", backbone=replace(record, may_be_reshaped=None))


def test_a_weights_record_needs_no_address() -> None:
    record = WeightsRecord("a", "b", "c.pth", None, None, None, "MIT", "here")
    assert (record.in_channels, len(record.mean), record.note) == (3, 3, "")
