"""Dotted names that ``plans.json`` of trained models holds are a file format: they stay as they are."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import pytest

from swin_umamba.compare.networks import NETWORKS
from swin_umamba.nnunet.architecture import STRIDES, architecture_entry
from swin_umamba.nnunet.shell import TRAINER_SHIM

STORED = (
    "swin_umamba.nnunet.architecture.PlannedSwinUMamba",
    "swin_umamba.nnunet.architecture.PlannedSwinUMambaD",
    "swin_umamba.nnunet.architecture.PlannedSwinUMambaDObjects",
    "swin_umamba.nnunet.architecture.PlannedSwinUMambaDD",
    "swin_umamba.baselines.conv_twin.SwinUMambaDConv",
    "swin_umamba.baselines.convnext.SwinUMambaDDConvNeXt",
    "swin_umamba.baselines.monai_networks.SegResNet",
    "swin_umamba.baselines.monai_networks.SwinUNETR",
    "swin_umamba.baselines.monai_networks.UNETR",
    "swin_umamba.baselines.nnformer.NNFormer",
    "swin_umamba.baselines.umamba.UMambaBot",
    "swin_umamba.baselines.umamba.UMambaEnc",
)


@pytest.mark.parametrize("name", STORED)
def test_a_network_is_where_plans_name_it(name: str) -> None:
    module, _, attribute = name.rpartition(".")
    network = getattr(importlib.import_module(module), attribute)
    assert isinstance(network, type)
    assert f"{network.__module__}.{network.__qualname__}" == name


def test_no_other_name_of_ours_gets_into_plans() -> None:
    entries = [architecture_entry(network, {}) for network in STRIDES]
    entries += [network.entry((64, 64), (1.0, 1.0)) for network in NETWORKS.values()]
    names = {entry["network_class_name"] for entry in entries}
    assert {name for name in names if name.startswith("swin_umamba.")} == set(STORED)
    # Whatever else an entry names is nnU-Net's or torch's.
    assert "swin_umamba" not in json.dumps([entry["arch_kwargs"] for entry in entries])


def test_the_folder_of_the_shim_holds_one_module() -> None:
    # Users have its path in nnUNet_extTrainer, and nnU-Net imports whatever lies there.
    assert TRAINER_SHIM.relative_to(Path(importlib.import_module("swin_umamba").__file__ or "").parent) == (
        Path("nnunet/shim/trainers")
    )
    assert [path.name for path in TRAINER_SHIM.glob("*.py")] == ["swin_umamba_trainers.py"]
