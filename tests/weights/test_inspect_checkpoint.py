"""What each kind of file is called, and that looking at it runs nothing."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from payload import Payload
from swin_umamba.errors import CheckpointError
from swin_umamba.weights.inspect_checkpoint import inspect_checkpoint
from weights.vmamba_files import SMALL, in_new_spelling, vmamba_classifier

PLAIN = {"stem.0.weight": torch.zeros(4, 1, 7, 7), "decoder6.a": torch.zeros(3)}
DAGGER = {"decoder.expand_layers.0.expand.weight": torch.zeros(2, 2)}


@pytest.fixture(scope="module")
def classifier() -> dict[str, torch.Tensor]:
    return vmamba_classifier(**SMALL)


def inspected(path: Path, content: Any) -> Any:
    torch.save(content, path)
    return inspect_checkpoint(path)


def test_a_classifier(tmp_path: Path, classifier: dict[str, torch.Tensor]) -> None:
    path = tmp_path / "vmamba.pth"
    found = inspected(path, {"model": classifier, "epoch": 292, "max_accuracy": np.float64(82.25)})
    assert found.kind == "VMamba classifier, layers named as in its first version"
    assert found.family == "imagenet"
    assert found.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert found.size == path.stat().st_size
    assert list(found.weights) == list(classifier)
    assert found.parameters == sum(tensor.numel() for tensor in classifier.values())
    assert found.facts == {"epoch": "292", "max_accuracy": "82.25", "entries": "model, epoch, max_accuracy"}


def test_other_spellings_and_forms(tmp_path: Path, classifier: dict[str, torch.Tensor]) -> None:
    later = inspected(tmp_path / "a.pth", in_new_spelling(classifier))
    assert (later.kind, later.family) == (
        "VMamba classifier, layers named as in its later version",
        "imagenet",
    )
    headless = {key: each for key, each in classifier.items() if not key.startswith(("head.", "norm."))}
    assert len(headless) < len(classifier)
    found = inspected(tmp_path / "c.pth", headless)
    assert (found.kind, found.family) == (
        "encoder of VMamba, without classifier, layers named as in its first version",
        "imagenet",
    )
    converted = {f"vssm_encoder.{key}": value.clone() for key, value in classifier.items()}
    save_file(converted, tmp_path / "b.safetensors")
    ours = inspect_checkpoint(tmp_path / "b.safetensors")
    assert (ours.kind, ours.family) == ("encoder that swin-umamba weights convert wrote", "imagenet")


@pytest.mark.parametrize(
    ("content", "kind", "family"),
    [
        ({"network_weights": PLAIN}, "training checkpoint of nnU-Net of SwinUMamba", "segmentation"),
        ({"network_weights": DAGGER}, "training checkpoint of nnU-Net of SwinUMambaD", "segmentation"),
        (
            {"network_weights": {"encoder.stages.0": torch.ones(1)}},
            "training checkpoint of nnU-Net of a network that is not ours",
            None,
        ),
        (PLAIN, "state dict of SwinUMamba", "segmentation"),
        (
            {f"fold_0/{k}": v for k, v in PLAIN.items()},
            "trained model in one file of SwinUMamba",
            "segmentation",
        ),
        (
            {"model": {"patch_embed.0.weight": torch.ones(1), "patch_embed.5.weight": torch.ones(1)}},
            "weights of a newer VMamba architecture, which cannot be used",
            None,
        ),
        ({"pretraining": {"network": {"a": torch.ones(1)}}}, "state of a pretraining, to resume from", None),
        ({"conv1.weight": torch.ones(1)}, "state dict of a network that is not ours", None),
        ({"epoch": 3}, "a file without weights", None),
        ({"model": {}}, "a file without weights", None),
        ({}, "a file without weights", None),
    ],
)
def test_kinds(tmp_path: Path, content: dict[str, Any], kind: str, family: str | None) -> None:
    found = inspected(tmp_path / "file.pth", content)
    assert found.kind.startswith(kind)
    assert found.family == family


def test_a_training_checkpoint_says_whose_it_is(tmp_path: Path) -> None:
    content = {
        "network_weights": PLAIN,
        "trainer_name": "nnUNetTrainerSwinUMamba",
        "current_epoch": 100,
        "init_args": {"configuration": "2d", "fold": "all", "device": torch.device("cpu")},
    }
    facts = inspected(tmp_path / "file.pth", content).facts
    assert facts["trainer_name"] == "nnUNetTrainerSwinUMamba"
    assert facts["current_epoch"] == "100"
    assert facts["configuration"] == "2d"
    assert facts["fold"] == "all"


def test_a_name_cannot_write_to_the_terminal(tmp_path: Path) -> None:
    content = {"network_weights": PLAIN, "trainer_name": "\x1b[2Jnice\n" + "x" * 10_000}
    name = inspected(tmp_path / "file.pth", content).facts["trainer_name"]
    assert name.startswith("\N{REPLACEMENT CHARACTER}[2Jnice xxx")
    assert len(name) < 100


@pytest.mark.parametrize("place", ["model", "network_weights", "config", "logging"])
def test_a_payload_is_refused_and_does_not_run(tmp_path: Path, place: str) -> None:
    content = {"model": {"a": torch.ones(1)}, place: Payload(os.system, f"touch {tmp_path}/canary")}
    with pytest.raises(CheckpointError, match="system"):
        inspected(tmp_path / "file.pth", content)
    assert not (tmp_path / "canary").exists()
