from __future__ import annotations

import pytest
import torch
from torch import nn

from swin_umamba.tiling import folds
from swin_umamba.tiling.folds import FoldNetworks


def weights_of_three() -> list[dict[str, torch.Tensor]]:
    return [nn.Linear(3, 2).state_dict() for _ in range(3)]


@pytest.mark.parametrize(("free", "kept"), [(10**9, 3), (4 * 2 * 32, 3), (4 * 2 * 32 - 1, 1), (None, 1)])
def test_networks_are_kept_where_memory_allows(
    free: int | None, kept: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two more networks of eight float32 may take a quarter of what is free."""
    monkeypatch.setattr(folds, "free_memory", lambda _: free)
    parameters = weights_of_three()
    network = nn.Linear(3, 2).eval()
    network.load_state_dict(parameters[0])
    networks = FoldNetworks(network, parameters)
    assert networks.all_at_hand == (kept == 3)
    assert len({id(networks[fold]) for fold in range(3)}) == kept
    assert len(networks) == 3
    for fold in (0, 2, 1, 0):
        assert not networks[fold].training
        assert torch.equal(networks[fold].weight, parameters[fold]["weight"])


def test_one_fold_needs_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folds, "free_memory", lambda _: 0)
    network = nn.Linear(3, 2)
    networks = FoldNetworks(network, [network.state_dict()])
    assert networks.all_at_hand
    assert networks[0] is network
