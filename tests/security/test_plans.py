"""Plans that name code, or a network too large for the machine."""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from swin_umamba.errors import CheckpointError
from swin_umamba.inference.predictor import Predictor
from swin_umamba.trained import network as module
from swin_umamba.trained.model import load_trained_model
from swin_umamba.trained.network import check_model
from swin_umamba.weights.checkpoint import load_checkpoint
from work import calls_of

MakeModel = Callable[..., Path]


@pytest.mark.parametrize("name", ["planted:Trainer", "planted.py:Trainer", "planted", "../planted"])
def test_a_model_never_causes_an_import(
    trained: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Its trainer, its network and its backbone name a module that lies ready to be imported."""
    (tmp_path / "planted.py").write_text("from pathlib import Path\nPath('canary').touch()\nTrainer = dict\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    source = random.Random(name).choice(sorted(trained.values()))
    checkpoint = load_checkpoint(source / "fold_0" / "checkpoint_final.pth")
    architecture = checkpoint["init_args"]["plans"]["configurations"]["2d"]["architecture"]
    backbone = {"arch_kwargs": {**architecture["arch_kwargs"], "backbone": "planted"}}
    for entry, fails in (({}, False), (backbone, True), ({"network_class_name": "planted.Trainer"}, True)):
        checkpoint["trainer_name"] = name
        architecture.update(entry)
        torch.save(checkpoint, tmp_path / "model.pth")
        if fails:
            with pytest.raises(CheckpointError, match="planted"):
                Predictor.from_folder(tmp_path / "model.pth", device="cpu")
        else:  # the plans describe the network, whatever the trainer is called
            predictor = Predictor.from_folder(tmp_path / "model.pth", device="cpu")
            assert predictor.predict(np.zeros((3, 64, 64), np.float32)).labels.shape == (64, 64)
    assert "planted" not in sys.modules
    assert not (tmp_path / "canary").exists()


def test_a_network_class_from_elsewhere_is_refused(make_model: MakeModel, tmp_path: Path) -> None:
    folder = make_model()
    text = (folder / "plans.json").read_text()
    (folder / "plans.json").write_text(
        text.replace("dynamic_network_architectures.architectures.unet.PlainConvUNet", "os.system")
    )
    with pytest.raises(CheckpointError, match=r"os\.system"):
        Predictor.from_folder(folder, device="cpu")


def change(folder: Path, configuration: dict[str, Any], arguments: dict[str, Any]) -> Path:
    plans = json.loads((folder / "plans.json").read_text())
    own = plans["configurations"]["2d"]
    own |= configuration
    own["architecture"]["arch_kwargs"] |= arguments
    (folder / "plans.json").write_text(json.dumps(plans))
    return folder


@pytest.mark.parametrize(
    ("network", "configuration", "arguments", "message"),
    [
        ("plain_unet", {}, {"features_per_stage": [65536, 65536]}, "do not fit PlainConvUNet"),  # 288 GiB
        ("plain_unet", {}, {"n_conv_per_stage": [60_000, 60_000]}, "more than 1[0-9]{3} layers"),
        ("plain_unet", {}, {"kernel_sizes": [[60_001, 60_001], [3, 3]]}, "do not fit PlainConvUNet"),
        ("plain_unet", {}, {"features_per_stage": [10**6, 8]}, r"features_per_stage\[0\] is 1000000; it has"),
        ("swin_umamba", {}, {"features_per_stage": [65536] * 4}, "do not fit PlannedSwinUMamba"),
        ("swin_umamba", {}, {"depths": [60_000] * 4}, "240000 blocks, more than 1000"),
        ("swin_umamba", {}, {"d_state": 65536}, "do not fit PlannedSwinUMamba"),
        (
            "plain_unet",
            {"patch_size": [200_000, 200_000]},
            {},
            r"patch_size\[0\] is 200000; it has to be a w",
        ),
        ("plain_unet", {"patch_size": [65536, 65536]}, {}, "134,217,728 voxels at most"),
        ("plain_unet", {"patch_size": [-3, 0]}, {}, r"patch_size\[0\] is -3; it has to be a whole number"),
        ("plain_unet", {"patch_size": [33, 32]}, {}, "cannot be built from the plans"),
        (
            "plain_unet",
            {"patch_size": [32, 32, 32], "spacing": [1, 1, 1]},
            {},
            "cannot be built from the plans",
        ),
    ],
)
def test_what_plans_may_not_ask_for(
    make_model: MakeModel, network: str, configuration: Any, arguments: Any, message: str
) -> None:
    folder = change(make_model(network=network), configuration, arguments)

    def check() -> None:
        with pytest.raises(CheckpointError, match=message):
            check_model(load_trained_model(folder))

    assert calls_of(check) < 10_000_000  # and not one for each of the layers or weights that are asked for


def test_the_memory_of_a_patch_is_compared_with_what_is_free(
    make_model: MakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = change(make_model(), {"patch_size": [64, 96]}, {})
    largest = 4 * 2 * 64 * 96 * 4  # four features of the first stage, twice where the decoder joins them
    for free, fits in ((None, True), (largest, True), (largest - 1, False)):
        monkeypatch.setattr(module, "free_memory", lambda device, free=free: free)
        if fits:
            Predictor.from_folder(folder, device="cpu")
        else:
            with pytest.raises(CheckpointError, match=r"\(64, 96\) needs 0.0 GiB of memory or more"):
                Predictor.from_folder(folder, device="cpu")
            check_model(load_trained_model(folder))  # nothing is predicted
