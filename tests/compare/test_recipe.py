"""Recipes: optimizers and learning rates by value."""

from __future__ import annotations

import json

import pytest
import torch

from swin_umamba.compare import recipe as recipe_module
from swin_umamba.compare.recipe import NNUNET, SEGRESNET, SWIN_UMAMBA, SWIN_UNETR, UNETR_RECIPE, Recipe
from swin_umamba.compare.trainer import PLANS_ENTRY, Terms
from swin_umamba.errors import UsageError


def test_cosine_and_polynomial_by_value() -> None:
    cosine = Recipe(learning_rate=1e-3)
    assert cosine.learning_rate_at(0) == pytest.approx(1e-3)
    assert cosine.learning_rate_at(0.5) == pytest.approx((1e-3 + 1e-6) / 2)
    assert cosine.learning_rate_at(1) == pytest.approx(1e-6)
    assert NNUNET.learning_rate_at(0.75) == pytest.approx(1e-2 * 0.25**0.9)
    assert NNUNET.learning_rate_at(1) == 0


@pytest.mark.parametrize(
    ("recipe", "optimizer", "settings"),
    [
        (NNUNET, torch.optim.SGD, {"lr": 1e-2, "weight_decay": 3e-5, "momentum": 0.99, "nesterov": True}),
        (SWIN_UMAMBA, torch.optim.AdamW, {"lr": 1e-4, "weight_decay": 5e-2, "eps": 1e-5}),
        (SEGRESNET, torch.optim.Adam, {"lr": 1e-4, "weight_decay": 1e-5, "eps": 1e-5}),
        (UNETR_RECIPE, torch.optim.AdamW, {"lr": 1e-4, "weight_decay": 1e-2, "eps": 1e-5}),
        (SWIN_UNETR, torch.optim.AdamW, {"lr": 8e-4, "weight_decay": 1e-2, "eps": 1e-5}),
    ],
)
def test_published_optimizers(recipe: Recipe, optimizer: type, settings: dict[str, float]) -> None:
    made = recipe.make_optimizer([torch.nn.Parameter(torch.zeros(2))])
    assert type(made) is optimizer
    (group,) = made.param_groups
    assert {name: group[name] for name in settings} == settings


def test_adam_is_fused_where_the_device_wants_it(monkeypatch: pytest.MonkeyPatch) -> None:
    parameters = [torch.nn.Parameter(torch.zeros(2))]
    for wish in (None, True):
        monkeypatch.setattr(recipe_module, "fused_on", lambda device, wish=wish: wish)
        for recipe in (SWIN_UMAMBA, SEGRESNET):
            (group,) = recipe.make_optimizer(iter(parameters)).param_groups
            assert group["fused"] is wish


def test_survives_storage_and_describes_itself() -> None:
    stored = json.loads(json.dumps(Terms(SWIN_UMAMBA, 500, True).as_dict()))
    assert Terms.from_plans({PLANS_ENTRY: stored}) == Terms(SWIN_UMAMBA, 500, True)
    assert "SGD with Nesterov momentum 0.99, learning rate 0.01" in NNUNET.describe()
    assert "frozen for 1%" in SWIN_UMAMBA.describe()


@pytest.mark.parametrize("wrong", [{"optimizer": "lion"}, {"schedule": "step"}, {"learning_rate": 0.0}])
def test_refuses_what_it_does_not_know(wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        Recipe(**wrong)
