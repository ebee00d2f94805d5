"""The records of VMamba's second generation: recognition, spellings and refusals."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from swin_umamba.errors import CheckpointError
from swin_umamba.models.encoder_weights import find_fits
from swin_umamba.models.registry import create_model
from swin_umamba.weights.catalog import BACKBONES, recognise_backbone, shapes_of
from swin_umamba.weights.convert import convert_imagenet_weights
from swin_umamba.weights.inspect_checkpoint import inspect_checkpoint
from weights.vmamba_files import FULL, in_new_spelling, vmamba_classifier
from weights.vmamba_v2_files import SIZES, classifier

Weights = dict[str, Tensor]


def as_newer(weights: Weights) -> Weights:
    """As the public code at its root keeps the stacked projections."""
    stacked = {"op.x_proj_weight": "op.x_proj.weight", "op.dt_projs_weight": "op.dt_projs.weight"}
    found = {}
    for key, value in weights.items():
        for old, new in stacked.items():
            if key.endswith(old):
                key, value = key.replace(old, new), value.flatten(0, 1)
        found[key] = value
    return found


def as_older(weights: Weights) -> Weights:
    """Under the names of the first generation, as far as they have a counterpart."""
    rules = ((".norm.", ".ln_1."), (".op.", ".self_attention."), ("classifier.", ""))
    found = {}
    for key, value in weights.items():
        for new, old in rules if key.startswith("layers") else rules[2:]:
            key = key.replace(new, old)
        found[key] = value
    return found


def as_kernels(weights: Weights) -> Weights:
    """With every linear layer stored as a convolution of 1 x 1."""
    names = ("in_proj.weight", "out_proj.weight", "fc1.weight", "fc2.weight")
    return {k: v[:, :, None, None] if k.endswith(names) else v for k, v in weights.items()}


def as_module(weights: Weights) -> Weights:
    return {f"module.backbone.{key}": value for key, value in weights.items()}


def as_segmentation(weights: Weights) -> Weights:
    body = {key: value for key, value in weights.items() if not key.startswith("classifier.")}
    body["outnorm0.weight"] = torch.ones(()).expand(96)
    return {f"backbone.{key}": value for key, value in body.items()}


SPELLINGS: list[Callable[[Weights], Weights]] = [
    dict,
    as_newer,
    as_older,
    as_kernels,
    as_module,
    as_segmentation,
]


def target(name: str, in_channels: int = 3) -> Weights:
    with torch.device("meta"):
        return create_model("swin_umamba_d", in_channels, 2, backbone=name).state_dict()


@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_file_is_recognised_by_shapes_alone(name: str, spelling: Callable[[Weights], Weights]) -> None:
    assert recognise_backbone(shapes_of(spelling(classifier(name)))) is BACKBONES[name]


def test_the_networks_own_names_are_recognised() -> None:
    for name in SIZES:
        assert recognise_backbone(shapes_of(target(name))) is BACKBONES[name]


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_every_spelling_gives_the_same_tensors(spelling: Callable[[Weights], Weights]) -> None:
    source = classifier("vmamba_tiny_s2l5")
    record = BACKBONES["vmamba_tiny_s2l5"]
    converted, report = convert_imagenet_weights(
        spelling(source), target("vmamba_tiny_s2l5"), "f", backbone=record
    )
    own = {key: value for key, value in source.items() if not key.startswith("classifier.")}
    assert len(report.loaded) == len(converted) == len(own) == 218
    for key, value in own.items():
        ours = converted[f"vssm_encoder.{key}"]
        assert ours.shape == value.shape
        assert ours.flatten()[0] == value.flatten()[0]


def test_a_transposed_layer_is_not_taken() -> None:
    source = classifier("vmamba_tiny_s1l8")
    key = "layers.1.blocks.0.mlp.fc1.weight"
    source[key] = source[key].T
    with pytest.raises(CheckpointError, match=r"fc1\.weight \(192, 768\), expected \(768, 192\)"):
        convert_imagenet_weights(
            source, target("vmamba_tiny_s1l8"), "f", backbone=BACKBONES["vmamba_tiny_s1l8"]
        )


@pytest.mark.parametrize(
    ("file", "network"),
    [
        ("vmamba_tiny", "vmamba_tiny_s1l8"),
        ("vmamba_tiny_s2l5", "vmamba_tiny_s1l8"),
        ("vmamba_tiny_s1l8", "vmamba_tiny"),
        ("vmamba_small_s2l15", "vmamba_tiny_s2l5"),
        ("vmamba_small_s1l20", "vmamba_base_s1l20"),
    ],
)
def test_another_variant_is_refused_with_both_names(file: str, network: str) -> None:
    first = vmamba_classifier(**FULL)
    files = [first, in_new_spelling(first)] if file == "vmamba_tiny" else [classifier(file)]
    for source in files:
        with pytest.raises(
            CheckpointError, match=f"of the backbone {file}, and the network has {network}\\b"
        ):
            convert_imagenet_weights(source, target(network), "f", backbone=BACKBONES[network])


def test_a_depth_of_nobody_is_refused_by_name() -> None:
    source = classifier("vmamba_tiny_s1l8")
    extra = {k.replace("2.blocks.7", "2.blocks.8"): v for k, v in source.items() if "2.blocks.7" in k}
    record = BACKBONES["vmamba_tiny_s1l8"]
    assert recognise_backbone(shapes_of(source | extra)) is None
    with pytest.raises(CheckpointError, match=r"a deeper VMamba.*layers\.2\.blocks\.8\.op\.A_logs"):
        convert_imagenet_weights(source | extra, target("vmamba_tiny_s1l8"), "f", backbone=record)


@pytest.mark.parametrize(("in_channels", "factor"), [(1, 3.0), (5, 3 / 5)])
def test_the_stem_is_kept_for_any_number_of_channels(in_channels: int, factor: float) -> None:
    source = classifier("vmamba_tiny_s1l8")
    source["patch_embed.0.weight"] = torch.ones(()).expand(48, 3, 3, 3)
    record = BACKBONES["vmamba_tiny_s1l8"]
    converted, report = convert_imagenet_weights(
        source, target(record.name, in_channels), "f", backbone=record
    )
    assert list(report.adapted) == ["vssm_encoder.patch_embed.0.weight"]
    assert len(report.loaded) == 271
    kernel = converted["vssm_encoder.patch_embed.0.weight"]
    assert kernel.shape == (48, in_channels, 3, 3)
    torch.testing.assert_close(kernel, torch.full_like(kernel, factor))


@pytest.mark.slow
def test_a_file_is_inspected(tmp_path: Path) -> None:
    half = {key: value.half().contiguous() for key, value in classifier("vmamba_tiny_s1l8").items()}
    torch.save({"model": half, "epoch": 264}, tmp_path / "file.pth")
    found = inspect_checkpoint(tmp_path / "file.pth")
    assert found.backbone is BACKBONES["vmamba_tiny_s1l8"]
    assert found.family == "imagenet"
    assert found.parameters == 30_249_064
    fits = find_fits(found)
    assert fits["swin_umamba_d, 3 channels"].startswith("yes: 272 tensors loaded")
    assert fits["swin_umamba_d, 1 channel"].startswith("yes: 271 tensors loaded, 1 adapted")
