"""Whole runs: they learn, go on exactly, agree with several processes, and fit the networks."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.distributed import TCPStore

from equal_states import assert_equal_states
from payload import Payload
from swin_umamba.errors import CheckpointError, DataError, TrainingError, UsageError
from swin_umamba.models.registry import create_model
from swin_umamba.pretraining.classifier import BackboneClassifier, public_state_dict
from swin_umamba.pretraining.run import PretrainingRun
from swin_umamba.pretraining.train import BACKBONE, CHECKPOINT, STATE, pretrain
from swin_umamba.weights.checkpoint import load_checkpoint, save_checkpoint
from swin_umamba.weights.convert import load_imagenet_weights


@pytest.mark.slow
def test_it_learns_textures(textures: Path, tmp_path: Path, recipe: dict[str, Any]) -> None:
    recipe |= {"mixup": 0.0, "cutmix": 0.0, "smallest_crop": 0.5, "colour_jitter": 0.2, "ema_decay": 0.9}
    recipe |= {"epochs": 30}
    result = pretrain(textures, tmp_path / "out", **recipe)
    assert (result.epochs, result.num_classes) == (30, 3)
    assert result.last is not None
    assert result.last.top1 >= 0.9, "chance is a third"
    assert result.best_top1 >= result.last.top1
    assert result.last.top5 == 1.0, "three classes are among the five best"
    content = load_checkpoint(result.backbone)
    assert content["top1"] == result.best_top1
    assert content["classes"] == ["checks", "columns", "rows"]


class Stopped(Exception):
    pass


def test_going_on_equals_not_stopping(
    textures: Path, tmp_path: Path, recipe: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe |= {"accumulate": 2, "drop_path_rate": 0.3}
    pretrain(textures, tmp_path / "straight", **recipe)
    original = PretrainingRun.train_epoch

    def train_epoch(self: PretrainingRun) -> float:
        if self.epoch == 2:
            original(self)  # what a broken-off epoch did must not count
            raise Stopped
        return original(self)

    monkeypatch.setattr(PretrainingRun, "train_epoch", train_epoch)
    with pytest.raises(Stopped):
        pretrain(textures, tmp_path / "stopped", **recipe)
    monkeypatch.undo()
    assert load_checkpoint(tmp_path / "stopped" / CHECKPOINT)[STATE]["epoch"] == 2
    torch.manual_seed(77)
    resumed = pretrain(
        textures, tmp_path / "stopped", continue_training=True, network_kwargs=recipe["network_kwargs"]
    )
    assert resumed.epochs == 4
    for name in (CHECKPOINT, BACKBONE):
        expected = load_checkpoint(tmp_path / "straight" / name)
        assert_equal_states(load_checkpoint(tmp_path / "stopped" / name), expected)


def test_another_number_of_loader_processes_changes_nothing(
    textures: Path, tmp_path: Path, recipe: dict[str, Any]
) -> None:
    recipe |= {"epochs": 1}
    for workers in (0, 2):
        pretrain(textures, tmp_path / str(workers), **(recipe | {"workers": workers}))
    one, other = (load_checkpoint(tmp_path / name / CHECKPOINT)[STATE] for name in ("0", "2"))
    assert_equal_states(one["network"], other["network"])


def test_without_averaging_the_trained_weights_are_written(
    textures: Path, tmp_path: Path, recipe: dict[str, Any]
) -> None:
    pretrain(textures, tmp_path, **(recipe | {"epochs": 1, "ema_decay": 0.0, "in_channels": 3}))
    state = load_checkpoint(tmp_path / CHECKPOINT)[STATE]
    assert state["average"] is None
    public = load_checkpoint(tmp_path / BACKBONE)["model"]
    assert torch.equal(public["head.weight"], state["network"]["head.weight"])
    assert public["patch_embed.proj.weight"].shape == (8, 3, 4, 4)
    kwargs = recipe["network_kwargs"]
    assert pretrain(textures, tmp_path, continue_training=True, network_kwargs=kwargs).epochs == 1


def test_another_seed_is_another_run(textures: Path, tmp_path: Path, recipe: dict[str, Any]) -> None:
    recipe |= {"epochs": 1}
    weights = []
    for seed in (0, 1):
        pretrain(textures, tmp_path / str(seed), **(recipe | {"seed": seed}))
        weights.append(load_checkpoint(tmp_path / str(seed) / CHECKPOINT)[STATE]["network"]["head.weight"])
    assert not torch.equal(*weights)


def test_a_run_is_neither_replaced_nor_changed_by_accident(
    textures: Path, tmp_path: Path, recipe: dict[str, Any]
) -> None:
    kwargs = recipe["network_kwargs"]
    with pytest.raises(TrainingError, match="no checkpoint to resume from"):
        pretrain(textures, tmp_path, continue_training=True)
    recipe |= {"epochs": 1}
    pretrain(textures, tmp_path, **recipe)
    before = (tmp_path / CHECKPOINT).read_bytes()
    with pytest.raises(TrainingError, match="holds a run already"):
        pretrain(textures, tmp_path, **recipe)
    with pytest.raises(UsageError, match="epochs is 9 but the run was started with 1"):
        pretrain(textures, tmp_path, continue_training=True, epochs=9, network_kwargs=kwargs)
    with pytest.raises(CheckpointError, match="does not fit this run"):
        pretrain(textures, tmp_path, continue_training=True, network_kwargs=kwargs | {"d_state": 3})
    fewer = tmp_path / "fewer"
    shutil.copytree(textures, fewer)
    shutil.rmtree(fewer / "train" / "rows")
    shutil.rmtree(fewer / "val" / "rows")
    with pytest.raises(CheckpointError, match="same images"):
        pretrain(fewer, tmp_path, continue_training=True, network_kwargs=kwargs)
    assert (tmp_path / CHECKPOINT).read_bytes() == before
    finished = pretrain(textures, tmp_path, continue_training=True, network_kwargs=kwargs)
    assert (finished.epochs, finished.last) == (1, None)
    pretrain(textures, tmp_path, overwrite=True, **(recipe | {"seed": 3}))
    assert load_checkpoint(tmp_path / CHECKPOINT)[STATE]["options"]["seed"] == 3


def test_a_payload_in_the_checkpoint_does_not_run(textures: Path, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    save_checkpoint(tmp_path / CHECKPOINT, {STATE: {"options": Payload(os.mkdir, str(canary))}})
    with pytest.raises(CheckpointError, match="mkdir"):
        pretrain(textures, tmp_path, continue_training=True)
    assert not canary.exists()
    save_checkpoint(tmp_path / CHECKPOINT, {STATE: {"options": {"epochs": "many"}}})
    with pytest.raises(CheckpointError, match="options of the run are damaged"):
        pretrain(textures, tmp_path, continue_training=True)
    save_checkpoint(tmp_path / CHECKPOINT, {"network_weights": {}})
    with pytest.raises(CheckpointError, match="not a checkpoint of pretraining"):
        pretrain(textures, tmp_path, continue_training=True)


def test_a_damaged_state_is_refused(textures: Path, tmp_path: Path, recipe: dict[str, Any]) -> None:
    options = recipe | {"epochs": 1}
    pretrain(textures, tmp_path, **options)
    state = load_checkpoint(tmp_path / CHECKPOINT)[STATE]
    for damage in (
        {"optimizer": 5},
        {"epoch": float("inf")},
        {"epoch": -1},
        {"epoch": 10**30},
        {"best_top1": float("nan")},
    ):
        save_checkpoint(tmp_path / CHECKPOINT, {STATE: state | damage})
        with pytest.raises(CheckpointError, match="does not fit this run"):
            pretrain(textures, tmp_path, continue_training=True, **options)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_damaged_picture_is_named(
    textures: Path, tmp_path: Path, recipe: dict[str, Any], workers: int
) -> None:
    shutil.copytree(textures, tmp_path / "data")
    damaged = tmp_path / "data" / "train" / "rows" / "003.png"
    damaged.write_bytes(damaged.read_bytes()[:60])
    with pytest.raises(DataError, match="cut off") as caught:
        pretrain(tmp_path / "data", tmp_path / "out", **(recipe | {"workers": workers}))
    assert caught.value.where == str(damaged)
    assert not (tmp_path / "out" / CHECKPOINT).exists()


def test_a_loss_that_is_not_finite_ends_the_run(
    textures: Path, tmp_path: Path, recipe: dict[str, Any]
) -> None:
    def spoil(module: torch.nn.Module, _: Any, output: torch.Tensor) -> torch.Tensor:
        return output * float("nan") if isinstance(module, BackboneClassifier) else output

    hook = torch.nn.modules.module.register_module_forward_hook(spoil)
    try:
        with pytest.raises(TrainingError, match="not finite in epoch 1"):
            pretrain(textures, tmp_path, **recipe)
    finally:
        hook.remove()
    assert not (tmp_path / CHECKPOINT).exists()


@pytest.mark.gpu
def test_it_trains_in_half_precision_on_cuda(textures: Path, tmp_path: Path, recipe: dict[str, Any]) -> None:
    recipe |= {"device": "cuda", "mixup": 0.0, "cutmix": 0.0, "smallest_crop": 0.5, "ema_decay": 0.9}
    result = pretrain(textures, tmp_path, **(recipe | {"epochs": 20}))
    assert result.best_top1 > 0.6, "chance is a third"
    assert load_checkpoint(tmp_path / CHECKPOINT)[STATE]["scaler"]["scale"] > 1
    weights = load_checkpoint(tmp_path / BACKBONE)["model"]
    assert all(value.device.type == "cpu" and torch.isfinite(value).all() for value in weights.values())


@pytest.mark.parametrize(
    ("name", "in_channels", "loaded", "missing"),
    [
        pytest.param("swin_umamba", 1, 205, 52, marks=pytest.mark.slow),
        ("swin_umamba_d", 3, 208, 104),
    ],
)
def test_the_networks_take_a_backbone_of_full_size(
    tmp_path: Path, name: str, in_channels: int, loaded: int, missing: int
) -> None:
    classifier = BackboneClassifier(in_channels, 7)
    weights = public_state_dict(classifier)
    save_checkpoint(tmp_path / BACKBONE, {"model": weights, "epoch": 1})
    network = create_model(name, in_channels, 2)
    report = load_imagenet_weights(network, tmp_path / BACKBONE)
    assert (len(report.loaded), len(report.missing)) == (loaded, missing)
    skipped = {"norm.weight", "norm.bias", "head.weight", "head.bias"}
    if name == "swin_umamba":
        skipped |= {"patch_embed.proj.weight", "patch_embed.proj.bias", "patch_embed.norm.weight"}
    assert set(report.skipped) == skipped
    state = network.state_dict()
    for key in report.loaded:
        ours = classifier.state_dict()[key.replace("vssm_encoder.", "encoder.")]
        assert torch.equal(state[key], ours), key


def served_store() -> TCPStore:
    """Return the store that a launcher would serve, at a port that nobody else can take meanwhile."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    port = listener.getsockname()[1]
    return TCPStore(
        "127.0.0.1", port, is_master=True, wait_for_workers=False, master_listen_fd=listener.detach()
    )


@pytest.mark.slow
def test_two_processes_train_what_one_does(textures: Path, tmp_path: Path, recipe: dict[str, Any]) -> None:
    recipe |= {
        "mixup": 0.0,
        "cutmix": 0.0,
        "drop_path_rate": 0.0,
        "epochs": 2,
        "accumulate": 2,
        "batch_size": 3,
    }
    code = (
        "import sys, torch\n"
        "from swin_umamba.pretraining import train\n"
        "from swin_umamba.pretraining.run import PretrainingRun\n"
        f"options = {recipe!r}\n"
        "original = PretrainingRun.validate\n"
        "def validate(self):\n"
        "    torch.save(self.classifier.state_dict(), f'{sys.argv[2]}.rank{self.processes.rank}')\n"
        "    return original(self)\n"
        "PretrainingRun.validate = validate\n"
        f"result = train.pretrain({str(textures)!r}, sys.argv[1], **options)\n"
        "print(result.best_top1)\n"
    )
    store = served_store()
    network = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(store.port), "WORLD_SIZE": "2"}
    network["TORCHELASTIC_USE_AGENT_STORE"] = "True"
    arguments = [sys.executable, "-c", code, str(tmp_path / "two"), str(tmp_path / "weights")]
    workers = [
        subprocess.Popen(
            arguments,
            env=os.environ | network | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    printed = [worker.communicate(timeout=600)[0] for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0]
    one, other = (torch.load(tmp_path / f"weights.rank{rank}", weights_only=True) for rank in range(2))
    assert_equal_states(one, other)
    assert printed[0] == printed[1], "both know the accuracy on all images"
    alone = pretrain(textures, tmp_path / "one", **(recipe | {"batch_size": 6}))
    assert float(printed[0]) == alone.best_top1
    expected = load_checkpoint(tmp_path / "one" / CHECKPOINT)[STATE]["network"]
    for key, value in expected.items():
        np.testing.assert_allclose(one[key], value, rtol=1e-3, atol=1e-4, err_msg=key)
