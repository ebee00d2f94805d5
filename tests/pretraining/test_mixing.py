"""Mixup and CutMix."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from swin_umamba.pretraining.augmentation import mix


def constant_images(count: int, height: int = 12, width: int = 8) -> tuple[torch.Tensor, torch.Tensor]:
    """Images whose pixels all equal their label, so that shares can be read off the pixels."""
    labels = torch.arange(count)
    return labels.float().view(-1, 1, 1, 1).expand(-1, 1, height, width).clone(), labels


@pytest.mark.parametrize("method", [{"mixup": 0.8, "cutmix": 0.0}, {"mixup": 0.0, "cutmix": 1.0}])
@pytest.mark.parametrize("seed", range(8))
def test_targets_are_the_shares_of_the_pixels(method: dict[str, float], seed: int) -> None:
    images, labels = constant_images(5)
    mixed, targets = mix(images, labels, 5, rng=np.random.default_rng(seed), **method)
    torch.testing.assert_close(targets.sum(dim=1), torch.ones(5))
    expected = (targets * torch.arange(5.0)).sum(dim=1)
    torch.testing.assert_close(mixed.mean(dim=(1, 2, 3)), expected, rtol=1e-4, atol=1e-4)
    if method["mixup"] == 0:
        assert torch.equal(mixed, mixed.round()), "pixels are of one image or the other"
    assert torch.equal(images, constant_images(5)[0]), "the input stays as it was"


def test_both_methods_take_turns_and_none_leaves_all_alone() -> None:
    images, labels = constant_images(4)
    kinds = {
        torch.equal(mixed, mixed.round())
        for mixed, _ in (
            mix(images, labels, 4, mixup=0.8, cutmix=1.0, rng=np.random.default_rng(seed))
            for seed in range(12)
        )
    }
    assert kinds == {True, False}
    same, targets = mix(images, labels, 4, mixup=0.0, cutmix=0.0, rng=np.random.default_rng(0))
    assert same is images
    assert torch.equal(targets, torch.eye(4))


def test_equal_seeds_mix_equally() -> None:
    images, labels = constant_images(6)
    one, other, another = (
        mix(images, labels, 6, mixup=0.8, cutmix=1.0, rng=np.random.default_rng(seed)) for seed in (3, 3, 4)
    )
    assert torch.equal(one[0], other[0])
    assert torch.equal(one[1], other[1])
    assert not torch.equal(one[0], another[0])
