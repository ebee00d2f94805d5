"""The plans of the networks of a comparison."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest

from swin_umamba.compare.networks import NETWORKS
from swin_umamba.compare.plans import plans_of_networks
from swin_umamba.compare.recipe import Recipe
from swin_umamba.compare.trainer import Terms

PLANS: dict[str, Any] = {
    "plans_name": "SwinUMambaPlans",
    "configurations": {"2d": {"patch_size": [64, 64], "spacing": [1.0, 1.0], "architecture": {}}},
}


@pytest.mark.parametrize("recipe", [None, Recipe(learning_rate=3e-4)])
def test_each_network_has_plans_with_its_own_steps(recipe: Recipe | None) -> None:
    networks = [NETWORKS["nnunet"], NETWORKS["swin_umamba_d"]]
    before = deepcopy(PLANS)
    found = plans_of_networks(PLANS, networks, recipe, {"nnunet": 7, "swin_umamba_d": 5})
    assert before == PLANS  # those of the data set stay as they are
    assert [own["plans_name"] for own in found.values()] == list(found) == ["nnunet", "swin_umamba_d"]
    for network, steps in zip(networks, (7, 5), strict=True):
        own = found[network.name]
        assert own["configurations"]["2d"]["architecture"] == network.entry([64, 64], [1.0, 1.0])
        terms = Terms.from_plans(own)
        assert terms == Terms(recipe or network.recipe, steps, network.supervises_deeply)
