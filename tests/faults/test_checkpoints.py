"""Rows 15 and 20: checkpoints that hold code, and weights that are not those of the network."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from faults.fault_files import DATASET_NAME, Command, write_dataset
from own_environment import own_environment
from swin_umamba.errors import CheckpointError
from swin_umamba.models.registry import create_model
from swin_umamba.weights.checkpoint import load_checkpoint
from swin_umamba.weights.convert import load_imagenet_weights
from trained.model_folder import make_model_folder
from weights.vmamba_files import SMALL, Payload, vmamba_classifier

TRAINER = "nnUNetTrainerSwinUMamba"
PLACES = ("network_weights", "optimizer_state", "logging")


def hostile_checkpoint(path: Path, place: str, canary: Path, **entries: Any) -> None:
    """Write a training checkpoint that runs a shell command when an ordinary unpickler reads it."""
    content: dict[str, Any] = {
        "network_weights": {"stem.weight": torch.ones(2)},
        "optimizer_state": {"state": {}},
        "logging": {"mean_fg_dice": [0.5]},
        "trainer_name": TRAINER,
        "current_epoch": 3,
        **entries,
    }
    content[place] = {**content[place], "x": Payload(os.system, f"touch {canary}")}
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(content, path)


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a training needs; the root of nnU-Net's folders, not to be written to."""
    from swin_umamba.nnunet.environment import find_dataset
    from swin_umamba.nnunet.planning.plan import plan

    root = tmp_path_factory.mktemp("planned")
    write_dataset(root)
    with own_environment():
        plan(find_dataset(DATASET_NAME, root), workers=1)
    return root


@pytest.fixture
def root(planned: Path, tmp_path: Path) -> Path:
    return shutil.copytree(planned, tmp_path / "root")


def assert_refused(outcome: Any, canary: Path, file: Path) -> None:
    assert outcome.code == 1
    assert re.search(r"asks to load '(posix|nt)\.system'", outcome.err)
    assert file.name in outcome.err
    assert not canary.exists()


@pytest.mark.parametrize("place", PLACES)
def test_row_15_code_in_a_model_to_predict_with(tmp_path: Path, command: Command, place: str) -> None:
    model = make_model_folder(tmp_path)
    file = model / "fold_0" / "checkpoint_final.pth"
    good = load_checkpoint(file)
    hostile_checkpoint(file, place, tmp_path / "canary", **good)
    (tmp_path / "images").mkdir()
    options = ("-i", tmp_path / "images", "-o", tmp_path / "out", "--device", "cpu")
    assert_refused(command("predict", "-m", model, *options), tmp_path / "canary", file)
    assert not (tmp_path / "out").exists()
    # The file does run its command where it is read without care.
    torch.load(file, weights_only=False)
    assert (tmp_path / "canary").exists()


@pytest.mark.parametrize("place", PLACES)
def test_row_15_code_in_a_model_to_import(tmp_path: Path, command: Command, place: str) -> None:
    model = make_model_folder(tmp_path)
    file = model / "fold_0" / "checkpoint_final.pth"
    hostile_checkpoint(file, place, tmp_path / "canary")
    done = command("weights", "import", model, "-o", tmp_path / "out")
    assert_refused(done, tmp_path / "canary", file)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("place", PLACES)
def test_row_15_code_in_a_training_to_resume(
    tmp_path: Path, root: Path, command: Command, place: str
) -> None:
    folder = root / "nnUNet_results" / DATASET_NAME / f"{TRAINER}__SwinUMambaPlans__2d" / "fold_0"
    hostile_checkpoint(folder / "checkpoint_final.pth", place, tmp_path / "canary")
    before = sorted(path.name for path in folder.iterdir())
    done = command("train", DATASET_NAME, "--root", root, "--fold", 0, "--device", "cpu", "--continue")
    assert_refused(done, tmp_path / "canary", folder / "checkpoint_final.pth")
    assert sorted(path.name for path in folder.iterdir()) == before


@pytest.mark.parametrize("place", PLACES)
def test_row_15_code_in_pretrained_weights(tmp_path: Path, root: Path, command: Command, place: str) -> None:
    file = tmp_path / "weights.pth"
    hostile_checkpoint(file, place, tmp_path / "canary")
    options = ("--fold", 0, "--device", "cpu", "--pretrained", file, "--epochs", 1, "--workers", 0)
    done = command("train", DATASET_NAME, "--root", root, *options)
    assert_refused(done, tmp_path / "canary", file)
    assert not list(root.glob("nnUNet_results/**/*.pth"))


def renamed(weights: dict[str, torch.Tensor], key: str) -> None:
    weights[f"{key}_renamed"] = weights.pop(key)


def dropped(weights: dict[str, torch.Tensor], key: str) -> None:
    del weights[key]


def reshaped(weights: dict[str, torch.Tensor], key: str) -> None:
    weights[key] = torch.zeros(5, 5)


@pytest.mark.parametrize("change", [renamed, dropped, reshaped])
@pytest.mark.parametrize("key", ["layers.1.blocks.0.self_attention.Ds", "patch_embed.norm.bias"])
def test_row_20_pretrained_weights_that_do_not_fit(tmp_path: Path, change: Any, key: str) -> None:
    weights = vmamba_classifier(**SMALL)
    change(weights, key)
    torch.save({"model": weights}, tmp_path / "vmamba.pth")
    network = create_model("swin_umamba", 1, 2, **SMALL)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with pytest.raises(CheckpointError, match=re.escape(key.rsplit(".", 1)[1])) as caught:
        load_imagenet_weights(network, tmp_path / "vmamba.pth")
    assert caught.value.where == str(tmp_path / "vmamba.pth")
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_row_20_the_report_accounts_for_every_tensor(tmp_path: Path) -> None:
    weights = vmamba_classifier(**SMALL)
    torch.save({"model": weights}, tmp_path / "vmamba.pth")
    network = create_model("swin_umamba", 1, 2, **SMALL)
    report = load_imagenet_weights(network, tmp_path / "vmamba.pth")
    assert set(report.loaded) | set(report.missing) == set(network.state_dict())
    assert len(report.loaded) + len(report.skipped) == len(weights)
    assert all(report.skipped.values()), "each with its reason"
