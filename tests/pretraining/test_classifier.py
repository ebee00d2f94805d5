"""The classifier: the public names and sizes, and what it computes."""

from __future__ import annotations

import re
from collections import Counter

import torch
from torch.nn import functional as F

from swin_umamba.pretraining.classifier import VMambaClassifier, public_state_dict

TINY = {"depths": (1, 2, 1, 1), "features_per_stage": (8, 12, 16, 20), "d_state": 2}


def test_names_and_size_of_the_public_checkpoint() -> None:
    with torch.device("meta"):
        classifier = VMambaClassifier()
    names = {
        re.sub(r"^encoder\.(downsamples\.\d\.)?", "", name).split(".")[0] for name in classifier.state_dict()
    }
    assert names == {"patch_embed", "layers", "reduction", "norm", "head"}
    public = {name: tuple(value.shape) for name, value in public_state_dict(VMambaClassifier(**TINY)).items()}
    assert public["layers.1.downsample.reduction.weight"] == (16, 48)
    assert public["head.weight"] == (1000, 20)
    assert sum(value.numel() for value in classifier.parameters()) == 22_893_448
    assert len(classifier.state_dict()) == 212
    kinds = Counter(name.split(".")[0] for name in public)
    assert kinds == {"patch_embed": 4, "layers": 5 * 13 + 3 * 3, "norm": 2, "head": 2}
    assert "layers.1.blocks.1.self_attention.x_proj_weight" in public


def test_logits_are_of_the_mean_of_the_normalised_last_stage() -> None:
    classifier = VMambaClassifier(1, 5, **TINY).eval()
    image = torch.randn(2, 1, 64, 32)
    last = classifier.encoder(image)[-1]
    assert last.shape == (2, 2, 1, 20)
    normalised = F.layer_norm(last, (20,), classifier.norm.weight, classifier.norm.bias)
    expected = normalised.flatten(1, 2).mean(dim=1) @ classifier.head.weight.T + classifier.head.bias
    torch.testing.assert_close(classifier(image), expected)


def test_every_parameter_gets_a_gradient() -> None:
    classifier = VMambaClassifier(3, 4, **TINY)
    classifier(torch.randn(2, 3, 64, 64)).square().sum().backward()
    assert all(parameter.grad is not None for parameter in classifier.parameters())
    assert all(torch.isfinite(parameter.grad).all() for parameter in classifier.parameters())
