"""Learning rate, moving average, weight decay and options."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from swin_umamba.errors import UsageError
from swin_umamba.pretraining.classifier import BackboneClassifier
from swin_umamba.pretraining.options import PretrainOptions
from swin_umamba.pretraining.run import learning_rate_fraction, moving_average, parameter_groups


def test_the_learning_rate_rises_linearly_and_falls_along_a_cosine() -> None:
    assert learning_rate_fraction(0, 20, 300) == pytest.approx(0.001)
    assert learning_rate_fraction(10, 20, 300) == pytest.approx((0.001 + 1) / 2)
    assert learning_rate_fraction(20, 20, 300) == 1
    assert learning_rate_fraction(160, 20, 300) == pytest.approx((1 + 0.01) / 2)
    assert learning_rate_fraction(300, 20, 300) == pytest.approx(0.01)
    assert learning_rate_fraction(0, 0, 10) == 1


def test_the_moving_average_forgets_its_beginning() -> None:
    model = nn.Linear(1, 1, bias=False)
    average = AveragedModel(model, multi_avg_fn=moving_average(0.9))
    expected, weight = 0.0, model.weight
    for number in range(100):
        with torch.no_grad():
            weight.fill_(math.sin(number))
        average.update_parameters(model)
        decay = min(0.9, (1 + number) / (10 + number))
        expected = math.sin(number) if number == 0 else decay * expected + (1 - decay) * math.sin(number)
        assert average.module.weight.item() == pytest.approx(expected, abs=1e-6)


def test_only_matrices_and_kernels_are_decayed() -> None:
    network = BackboneClassifier(1, 3, depths=(1, 1, 1, 1), features_per_stage=(8, 12, 16, 20), d_state=2)
    decayed, others = parameter_groups(network, 0.05)
    assert (decayed["weight_decay"], others["weight_decay"]) == (0.05, 0.0)
    name_of = {id(parameter): name for name, parameter in network.named_parameters()}
    names = {name_of[id(parameter)].split(".", 1)[1] for parameter in others["params"]}
    assert {name for name in names if name.startswith("layers.0.blocks.0.")} == {
        f"layers.0.blocks.0.{name}"
        for name in (
            "ln_1.weight",
            "ln_1.bias",
            "self_attention.dt_projs_bias",
            "self_attention.A_logs",
            "self_attention.Ds",
            "self_attention.conv2d.bias",
            "self_attention.out_norm.weight",
            "self_attention.out_norm.bias",
        )
    }
    assert len(decayed["params"]) + len(others["params"]) == len(name_of)


def test_the_recipe() -> None:
    options = PretrainOptions()
    assert options.warmup() == 20
    assert options.maximal_learning_rate(8) == pytest.approx(1e-3)
    assert PretrainOptions(batch_size=32, accumulate=4).maximal_learning_rate(1) == pytest.approx(1.25e-4)
    assert PretrainOptions(learning_rate=0.2).maximal_learning_rate(8) == 0.2
    assert PretrainOptions(epochs=10).warmup() == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 0}, "epochs is 0"),
        ({"accumulate": 0}, "accumulate is 0"),
        ({"image_size": 100}, "image_size is 100"),
        ({"drop_path_rate": 1.0}, "drop_path_rate is 1.0"),
        ({"label_smoothing": float("nan")}, "label_smoothing is nan"),
        ({"learning_rate": 0.0}, "learning_rate is 0.0"),
        ({"mixup": -1.0}, "mixup is -1.0"),
        ({"smallest_crop": 0.0}, "smallest_crop is 0.0"),
        ({"epochs": 5, "warmup_epochs": 5}, "leave nothing"),
        ({"validation_fraction": 1.0}, "validation_fraction is 1.0"),
    ],
)
def test_impossible_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        PretrainOptions(**options)


def test_a_run_goes_on_with_its_own_options() -> None:
    stored = PretrainOptions(epochs=7, seed=3, workers=2)
    assert PretrainOptions.from_stored(stored.as_dict() | {"of_another_version": 1}) == stored
    assert stored.continued_with({"workers": 0, "seed": 3}) == PretrainOptions(epochs=7, seed=3, workers=0)
    with pytest.raises(UsageError, match="seed is 4 but the run was started with 3"):
        stored.continued_with({"seed": 4})
