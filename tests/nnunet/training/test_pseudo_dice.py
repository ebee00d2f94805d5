"""The validation within an epoch, against nnU-Net's own in single precision."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from torch import Tensor, nn
from torch.nn import functional as F

from swin_umamba.distributed.agreement import Agreement
from swin_umamba.distributed.processes import Processes
from swin_umamba.nnunet.training.pseudo_dice import COUNTS, counts_of
from swin_umamba.nnunet.training.robust_trainer import RobustTrainer

CLASSES, SIZE = 4, (9, 13)


class Recorder(nn.Module):
    """Returns given logits, after a product by which autocast shows."""

    def __init__(self, logits: Tensor | list[Tensor]) -> None:
        super().__init__()
        self.logits = logits
        self.seen: list[torch.dtype] = []

    def forward(self, image: Tensor) -> Tensor | list[Tensor]:
        rows = image[0, 0]
        self.seen.append((rows @ rows.mT).dtype)
        return self.logits


def loss_of(output: Any, target: Any) -> Tensor:
    first, truth = (output[0], target[0]) if isinstance(output, list) else (output, target)
    return F.mse_loss(first.float().mean((1, 2, 3)), truth.float().mean((1, 2, 3)))


def trainer_of(network: nn.Module, *, regions: bool, ignore: int | None, deep: bool, **more: Any) -> Any:
    labels = SimpleNamespace(has_regions=regions, has_ignore_label=ignore is not None, ignore_label=ignore)
    trainer = SimpleNamespace(
        device=torch.device("cpu"),
        precision="float32",
        network=network,
        loss=loss_of,
        enable_deep_supervision=deep,
        label_manager=labels,
        agreement=Agreement(Processes(0, 1, torch.device("cpu"))),
    )
    trainer.unwrapped_network = lambda: trainer.network
    vars(trainer).update(more)
    trainer._on_device = lambda batch: RobustTrainer._on_device(trainer, batch)
    return trainer


def targets(regions: bool, ignore: int | None, generator: torch.Generator) -> Tensor:
    if regions:
        channels = CLASSES + (ignore is not None)
        return torch.rand(2, channels, *SIZE, generator=generator) < 0.4
    highest = CLASSES + (ignore is not None)
    return torch.randint(0, highest, (2, 1, *SIZE), generator=generator).float()


@pytest.mark.parametrize("regions", [False, True])
@pytest.mark.parametrize("ignore", [None, CLASSES])
@pytest.mark.parametrize("deep", [False, True])
def test_a_step_equals_nnunets(regions: bool, ignore: int | None, deep: bool) -> None:
    generator = torch.Generator().manual_seed(11)
    logits = 3 * torch.randn(2, CLASSES, *SIZE, generator=generator)
    target = targets(regions, ignore, generator)
    network = Recorder([logits, logits[..., :4]] if deep else logits)
    trainer = trainer_of(network, regions=regions, ignore=ignore, deep=deep)
    batch = {"data": torch.zeros(2, 1, *SIZE), "target": [target, target[..., :4]] if deep else target}
    ours = RobustTrainer.validation_step(trainer, batch)
    copy = [each.clone() for each in batch["target"]] if deep else target.clone()
    stock = nnUNetTrainer.validation_step(trainer, {"data": batch["data"], "target": copy})
    assert set(ours) == set(stock)
    for name, value in stock.items():
        np.testing.assert_array_equal(ours[name], value, err_msg=name)
    assert len(ours["tp_hard"]) == CLASSES - (not regions)


@pytest.mark.parametrize(
    ("precision", "dtype"),
    [("float32", torch.float32), ("bfloat16", torch.bfloat16), ("tf32", torch.float32)],
)
def test_a_step_is_in_the_precision_of_the_training(precision: str, dtype: torch.dtype) -> None:
    logits = torch.full((1, 2, *SIZE), 1e5)
    logits[:, 1, :, 5:] = 1.01e5  # float16 has no such numbers: all would be infinite, and background
    network = Recorder(logits)
    trainer = trainer_of(network, regions=False, ignore=None, deep=False, precision=precision)
    target = torch.ones(1, 1, *SIZE)
    result = RobustTrainer.validation_step(trainer, {"data": torch.ones(1, 1, *SIZE), "target": target})
    assert network.seen == [dtype]
    right = SIZE[0] * (SIZE[1] - 5)
    assert [int(result[name][0]) for name in COUNTS] == [right, 0, SIZE[0] * SIZE[1] - right]
    assert np.isfinite(result["loss"])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_large_counts_are_exact(dtype: torch.dtype) -> None:
    """Half precision ends at 65504 pixels, or counts by hundreds there."""
    logits = torch.zeros(1, 2, 300, 301, dtype=dtype)
    logits[:, 1] = 1
    counts = counts_of(logits, torch.ones(1, 1, 300, 301), has_regions=False, ignore_label=None)
    assert [count.tolist() for count in counts.values()] == [[90300.0], [0.0], [0.0]]
