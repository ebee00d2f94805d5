"""The classifier: the public names and sizes, and what it computes."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from swin_umamba.errors import UsageError
from swin_umamba.models.registry import create_model
from swin_umamba.pretraining.classifier import BackboneClassifier, public_state_dict
from swin_umamba.weights.catalog import BACKBONES
from swin_umamba.weights.convert import convert_imagenet_weights
from weights.vmamba_v2_files import classifier

TINY = {"depths": (1, 2, 1, 1), "features_per_stage": (8, 12, 16, 20), "d_state": 2}


def test_names_and_size_of_the_public_checkpoint() -> None:
    with torch.device("meta"):
        classifier = BackboneClassifier()
    names = {
        re.sub(r"^encoder\.(downsamples\.\d\.)?", "", name).split(".")[0] for name in classifier.state_dict()
    }
    assert names == {"patch_embed", "layers", "reduction", "norm", "head"}
    public = {
        name: tuple(value.shape) for name, value in public_state_dict(BackboneClassifier(**TINY)).items()
    }
    assert public["layers.1.downsample.reduction.weight"] == (16, 48)
    assert public["head.weight"] == (1000, 20)
    assert sum(value.numel() for value in classifier.parameters()) == 22_893_448
    assert len(classifier.state_dict()) == 212
    kinds = Counter(name.split(".")[0] for name in public)
    assert kinds == {"patch_embed": 4, "layers": 5 * 13 + 3 * 3, "norm": 2, "head": 2}
    assert "layers.1.blocks.1.self_attention.x_proj_weight" in public


def test_logits_are_of_the_mean_of_the_normalised_last_stage() -> None:
    classifier = BackboneClassifier(1, 5, **TINY).eval()
    image = torch.randn(2, 1, 64, 32)
    last = classifier.encoder(image)[-1]
    assert last.shape == (2, 2, 1, 20)
    normalised = F.layer_norm(last, (20,), classifier.norm.weight, classifier.norm.bias)
    expected = normalised.flatten(1, 2).mean(dim=1) @ classifier.head.weight.T + classifier.head.bias
    torch.testing.assert_close(classifier(image), expected)


def test_every_parameter_gets_a_gradient() -> None:
    classifier = BackboneClassifier(3, 4, **TINY)
    classifier(torch.randn(2, 3, 64, 64)).square().sum().backward()
    assert all(parameter.grad is not None for parameter in classifier.parameters())
    assert all(torch.isfinite(parameter.grad).all() for parameter in classifier.parameters())


@pytest.mark.parametrize("backbone", ["vmamba_tiny_s1l8", "vmamba_tiny_s2l5"])
def test_the_second_generation_is_written_as_its_public_files_are(backbone: str) -> None:
    sizes = {"depths": (1, 2, 1, 1), "features_per_stage": (8, 12, 16, 20)}
    classifier = BackboneClassifier(1, 5, backbone=backbone, **sizes)
    rates = [block.drop_path.drop_prob for layer in classifier.encoder.layers for block in layer.blocks]
    assert rates[-1] == 0.2
    public = public_state_dict(classifier)
    assert {"classifier.norm.weight", "classifier.head.bias", "layers.0.downsample.3.bias"} <= set(public)
    assert {name.split(".")[0] for name in public} == {"patch_embed", "layers", "classifier"}
    converted, report = convert_imagenet_weights(
        public,
        create_model("swin_umamba_d", 1, 2, backbone=backbone, d_state=2, **sizes).state_dict(),
        "file",
        backbone=BACKBONES[backbone],
    )
    assert len(converted) == len(classifier.encoder.state_dict()) == len(report.loaded)


def test_the_second_generation_is_written_whole() -> None:
    with torch.device("meta"):
        public = BackboneClassifier(backbone="vmamba_tiny_s1l8").state_dict()
    expected = {name: tuple(value.shape) for name, value in classifier("vmamba_tiny_s1l8").items()}
    found = {re.sub("^(?=norm|head)", "classifier.", name): value for name, value in public.items()}
    assert {k.removeprefix("encoder."): tuple(v.shape) for k, v in found.items()} == expected


def test_a_backbone_without_a_classifier_cannot_be_pretrained(monkeypatch: pytest.MonkeyPatch) -> None:
    record = replace(BACKBONES["vmamba_tiny_s1l8"], name="headless", classifier=())
    monkeypatch.setitem(BACKBONES, "headless", record)
    with pytest.raises(UsageError, match="has no classifier"):
        BackboneClassifier(backbone="headless")
