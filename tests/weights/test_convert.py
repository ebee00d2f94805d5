"""ImageNet weights: which tensor goes where, in both spellings, and what is refused."""

from __future__ import annotations

import re
from math import ceil
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from swin_umamba.errors import CheckpointError
from swin_umamba.models.registry import create_model
from swin_umamba.weights.convert import convert_imagenet_weights, load_imagenet_weights

FULL = {"depths": (2, 2, 9, 2), "features_per_stage": (96, 192, 384, 768)}
SMALL = {"depths": (1, 1, 2, 1), "features_per_stage": (8, 16, 24, 32)}
Sizes = dict[str, tuple[int, ...]]


def vmamba_classifier(depths: tuple[int, ...], features_per_stage: tuple[int, ...]) -> dict[str, Tensor]:
    """A made-up state dict in the layout of the first public VMamba classifier, three input channels."""
    shapes: dict[str, tuple[int, ...]] = {
        "patch_embed.proj.weight": (features_per_stage[0], 3, 4, 4),
        "patch_embed.proj.bias": (features_per_stage[0],),
        "patch_embed.norm.weight": (features_per_stage[0],),
        "patch_embed.norm.bias": (features_per_stage[0],),
    }
    for stage, (depth, dim) in enumerate(zip(depths, features_per_stage, strict=True)):
        inner, rank = 2 * dim, ceil(dim / 16)
        for index in range(depth):
            block = f"layers.{stage}.blocks.{index}"
            scan = f"{block}.self_attention"
            shapes |= {f"{block}.ln_1.weight": (dim,), f"{block}.ln_1.bias": (dim,)}
            shapes |= {f"{scan}.x_proj_weight": (4, rank + 32, inner)}
            shapes |= {f"{scan}.dt_projs_weight": (4, inner, rank), f"{scan}.dt_projs_bias": (4, inner)}
            shapes |= {f"{scan}.A_logs": (4 * inner, 16), f"{scan}.Ds": (4 * inner,)}
            shapes |= {f"{scan}.in_proj.weight": (2 * inner, dim)}
            shapes |= {f"{scan}.conv2d.weight": (inner, 1, 3, 3), f"{scan}.conv2d.bias": (inner,)}
            shapes |= {f"{scan}.out_norm.weight": (inner,), f"{scan}.out_norm.bias": (inner,)}
            shapes |= {f"{scan}.out_proj.weight": (dim, inner)}
        if stage < 3:
            down = f"layers.{stage}.downsample"
            shapes |= {f"{down}.reduction.weight": (features_per_stage[stage + 1], 4 * dim)}
            shapes |= {f"{down}.norm.weight": (4 * dim,), f"{down}.norm.bias": (4 * dim,)}
    last = features_per_stage[3]
    shapes |= {"norm.weight": (last,), "norm.bias": (last,)}
    shapes |= {"head.weight": (1000, last), "head.bias": (1000,)}
    # One number per tensor, expanded: distinct, and small on disk and in memory.
    return {
        key: torch.tensor(float(index)).expand(shape) for index, (key, shape) in enumerate(shapes.items())
    }


def in_new_spelling(state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors under the names of VMamba's later code."""
    rules = [
        (r"^patch_embed\.proj", "patch_embed.0"),
        (r"^patch_embed\.norm", "patch_embed.2"),
        (r"\.ln_1\.", ".norm."),
        (r"\.self_attention\.", ".op."),
        (r"^(norm|head)\.", r"classifier.\1."),
    ]
    renamed = {}
    for key, value in state_dict.items():
        for pattern, replacement in rules:
            key = re.sub(pattern, replacement, key)
        renamed[key] = value
    return renamed


def on_meta(name: str, in_channels: int, sizes: Sizes) -> nn.Module:
    with torch.device("meta"):
        return create_model(name, in_channels, 2, **sizes)


@pytest.fixture
def classifier() -> dict[str, Tensor]:
    return vmamba_classifier(**SMALL)


PATCH_EMBED = {f"patch_embed.{name}" for name in ("proj.weight", "proj.bias", "norm.weight", "norm.bias")}
CLASSIFIER = {"norm.weight", "norm.bias", "head.weight", "head.bias"}


@pytest.mark.parametrize("spelling", [dict, in_new_spelling])
@pytest.mark.parametrize(
    ("name", "in_channels", "loaded", "patch_embed_loaded", "left"),
    [
        ("swin_umamba", 1, 205, {"patch_embed.norm.bias"}, 49 + 3),
        ("swin_umamba", 3, 205, {"patch_embed.norm.bias"}, 49 + 3),
        ("swin_umamba_d", 1, 204, set(), 104 + 4),
        ("swin_umamba_d", 3, 208, PATCH_EMBED, 104),
        ("swin_umamba_d", 4, 204, set(), 104 + 4),
    ],
)
def test_the_published_mapping_at_full_size(
    name: str, in_channels: int, loaded: int, patch_embed_loaded: set[str], left: int, spelling: type
) -> None:
    source = vmamba_classifier(**FULL)
    assert len(source) == 212
    assert sum(tensor.numel() for tensor in source.values()) == 22_893_448
    target = on_meta(name, in_channels, FULL).state_dict()
    converted, report = convert_imagenet_weights(spelling(source), target, "file")
    assert len(report.loaded) == len(converted) == loaded
    assert len(report.missing) == left
    skipped = CLASSIFIER | (PATCH_EMBED - patch_embed_loaded)
    assert set(report.skipped) == set(spelling(dict.fromkeys(skipped)))
    assert all(report.skipped.values())
    for key, tensor in source.items():
        if key not in skipped:
            place = re.sub(r"layers\.(\d)\.downsample", r"downsamples.\1", key)
            assert converted[f"vssm_encoder.{place}"] is tensor, key


@pytest.mark.parametrize("wrapped", [True, False])
def test_loading_changes_exactly_what_the_report_says(
    classifier: dict[str, Tensor], tmp_path: Path, wrapped: bool
) -> None:
    content = {"model": classifier, "epoch": 292, "optimizer": {"lr": 1e-3}} if wrapped else classifier
    torch.save(content, tmp_path / "vmamba.pth")
    network = create_model("swin_umamba", 1, 2, **SMALL)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    report = load_imagenet_weights(network, tmp_path / "vmamba.pth")
    after = network.state_dict()
    for key in report.missing:
        assert torch.equal(after[key], before[key])
    for key in report.loaded:
        source = re.sub(r"downsamples\.(\d)", r"layers.\1.downsample", key.removeprefix("vssm_encoder."))
        assert torch.equal(after[key], classifier[source]), key
    assert set(report.loaded) | set(report.missing) == set(after)


def without(classifier: dict[str, Tensor], pattern: str) -> dict[str, Tensor]:
    return {key: value for key, value in classifier.items() if not re.search(pattern, key)}


def reshaped(classifier: dict[str, Tensor], key: str) -> dict[str, Tensor]:
    return classifier | {key: torch.zeros(5, 5)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c | {"layers.0.blocks.0.extra": torch.ones(1)}, r"layers\.0\.blocks\.0\.extra"),
        (lambda c: c | {"layers.0.blocks.0.mlp.fc1.weight": torch.ones(1)}, "newer VMamba architecture"),
        (lambda c: c | {"patch_embed.5.weight": torch.ones(1)}, "newer VMamba architecture"),
        (lambda c: reshaped(c, "layers.1.blocks.0.self_attention.Ds"), r"Ds \(5, 5\), expected \(128,\)"),
        (lambda c: reshaped(c, "layers.0.downsample.norm.bias"), r"downsample\.norm\.bias"),
        (lambda c: without(c, r"downsample"), "lacks 9 tensors"),
        (lambda c: without(c, r"patch_embed"), "lacks 4 tensors"),
        (lambda c: without(c, r"layers\.2\.blocks\.1\.ln_1\.bias"), r"layers\.2\.blocks\.1\.ln_1\.bias"),
        (lambda c: c | {"patch_embed.0.weight": c["patch_embed.proj.weight"]}, "twice"),
        (lambda c: {f"module.{key}": value for key, value in c.items()}, r"module\.patch_embed"),
        (lambda c: c | {"epoch": 3}, "epoch"),
        (lambda c: {}, "no state dict"),
        (lambda c: {"model": None}, "no state dict"),
        (lambda c: {"network_weights": c}, "nnU-Net"),
    ],
)
@pytest.mark.parametrize("name", ["swin_umamba", "swin_umamba_d"])
def test_what_cannot_be_explained_is_refused_and_changes_nothing(
    name: str, classifier: dict[str, Tensor], tmp_path: Path, change, message: str
) -> None:
    path = tmp_path / "vmamba.pth"
    torch.save(change(classifier), path)
    network = create_model(name, 3, 2, **SMALL)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    with pytest.raises(CheckpointError, match=message) as caught:
        load_imagenet_weights(network, path)
    assert caught.value.where == str(path)
    assert caught.value.cure
    for key, value in network.state_dict().items():
        assert torch.equal(value, before[key])


def test_weights_of_another_size_are_refused(classifier: dict[str, Tensor]) -> None:
    target = on_meta("swin_umamba_d", 3, FULL).state_dict()
    with pytest.raises(CheckpointError, match=r"patch_embed\.proj\.weight \(8, 3, 4, 4\), expected \(96, "):
        convert_imagenet_weights(classifier, target, "file")
