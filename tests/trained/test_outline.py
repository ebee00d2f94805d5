"""What is known of a network of ours without a run, against a run of its outline."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from torch import nn

from swin_umamba.errors import UsageError
from swin_umamba.nnunet.architecture import (
    PlannedSwinUMamba,
    PlannedSwinUMambaD,
    PlannedSwinUMambaDD,
    PlannedSwinUMambaDObjects,
)
from swin_umamba.trained.model_plans import ModelPlans
from swin_umamba.trained.outline import _LargestOutput, is_ours, memory_of_a_patch, without_memory

NETWORKS = (PlannedSwinUMamba, PlannedSwinUMambaD, PlannedSwinUMambaDObjects, PlannedSwinUMambaDD)
# Whether the largest array is one of the size of the image, as in the published networks on large patches.
FEATURES = {(16, 32, 64, 128): True, (15, 6, 8, 7): True, (4, 24, 32, 96): False}


def outline_of(network: type[nn.Module], *sizes: int, **arguments: Any) -> Any:
    with without_memory():
        return network(*sizes, **arguments).eval()


def largest_of_a_run(outline: nn.Module, image: torch.Tensor) -> int:
    seen = _LargestOutput()  # type: ignore[no-untyped-call]
    with torch.no_grad(), seen:
        logits = outline(image)
    assert logits.shape[-2:] == image.shape[-2:]
    return seen.size


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("features", FEATURES)
def test_the_memory_of_a_patch_is_known_without_a_run(
    network: type[nn.Module], features: tuple[int, ...]
) -> None:
    for channels, classes, side in ((1, 2, 512), (3, 20, 301)):
        sizes: Any = {"features_per_stage": features, "depths": (1, 1, 1, 1), "d_state": 2}
        outline = outline_of(network, channels, classes, **sizes)
        assert is_ours(outline)
        plans = cast(ModelPlans, SimpleNamespace(channel_names=["x"] * channels, patch_size=(side, 70)))
        found = memory_of_a_patch(outline, plans)
        traced = largest_of_a_run(outline, torch.empty(1, channels, side, 70, device="meta"))
        assert found == traced if FEATURES[features] else found <= traced
        assert found % (side + -side % 32) == 0


def test_an_outline_is_that_of_the_network() -> None:
    sizes: Any = {"features_per_stage": (8, 8, 16, 16), "depths": (1, 2, 1, 1)}
    outline, network = outline_of(PlannedSwinUMamba, 2, 3, **sizes), PlannedSwinUMamba(2, 3, **sizes)
    assert all(each.is_meta for each in outline.parameters())
    own, known = network.state_dict(), outline.state_dict()
    assert {key: each.shape for key, each in own.items()} == {key: each.shape for key, each in known.items()}
    held = {*(key for key, _ in network.named_parameters()), *(key for key, _ in network.named_buffers())}
    assert held == set(own), "what is not in the state dict would stay empty"


def test_other_networks_are_not_ours() -> None:
    network = outline_of(PlannedSwinUMambaD, 1, 2, features_per_stage=(8, 8, 8, 8), depths=(1, 1, 1, 1))
    network.vssm_encoder = nn.Identity()  # as one that a user has registered
    assert not is_ours(network)
    assert not is_ours(nn.Conv2d(1, 2, 3))


def test_there_are_features_at_full_size() -> None:
    with pytest.raises(UsageError, match="half of it"):
        PlannedSwinUMamba(1, 2, features_per_stage=(1, 4, 4, 4))
