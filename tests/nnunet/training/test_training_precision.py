"""Training in another precision than nnU-Net's own."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from nnunet.no_answers import NoAnswers
from nnunet.tiny_training import DAGGER, make_trainer
from swin_umamba.errors import UsageError
from swin_umamba.nnunet.environment import Dataset
from swin_umamba.nnunet.training.optimizer_step import StepGuard, UnreadLosses
from swin_umamba.nnunet.training.options import TrainingOptions
from swin_umamba.nnunet.training.robust_trainer import RobustTrainer

pytestmark = pytest.mark.usefixtures("tiny_trainers")


def a_batch(trainer: RobustTrainer) -> dict[str, Any]:
    size = trainer.configuration_manager.patch_size
    image = torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(0))
    scales = [scale for scale, _ in trainer._get_deep_supervision_scales()]
    target = [torch.zeros(1, 1, *(int(side * scale) for side in size)) for scale in scales]
    return {"data": image, "target": target}


def test_a_step_on_a_gpu_waits_for_no_number(planned_dataset: Dataset) -> None:
    trainer = make_trainer(planned_dataset, DAGGER, pretrained="none", seed=3)
    trainer.initialize()
    for group in trainer.optimizer.param_groups:
        group["fused"] = True  # as on a GPU
    trainer.guard = StepGuard()
    batch = a_batch(trainer)
    with NoAnswers():
        outputs = [trainer.train_step(batch) for _ in range(3)]
        with pytest.raises(AssertionError, match="the host waits"):
            UnreadLosses().add(outputs[0])
    first, *_, last = (float(output["loss"]) for output in outputs)
    assert last < first


def test_bfloat16_trains_with_other_roundings(planned_dataset: Dataset) -> None:
    losses = {}
    for precision in ("float32", "bfloat16"):
        trainer = make_trainer(planned_dataset, DAGGER, pretrained="none", seed=3, precision=precision)
        trainer.initialize()
        assert trainer.grad_scaler is None
        losses[precision] = float(trainer.train_step(a_batch(trainer))["loss"])
    assert losses["float32"] != losses["bfloat16"]
    assert losses["bfloat16"] == pytest.approx(losses["float32"], rel=0.02)


def test_float16_is_refused_on_a_cpu(planned_dataset: Dataset) -> None:
    with pytest.raises(UsageError, match="float16"):
        make_trainer(planned_dataset, DAGGER, precision="float16")


@pytest.mark.filterwarnings("ignore:.*CUDA is not available")
def test_a_second_configuration_has_the_scaler_of_its_precision(planned_dataset: Dataset) -> None:
    """As where a variable of the shell sets another precision than the run to be continued has."""
    trainer = make_trainer(planned_dataset, DAGGER)
    trainer.device = torch.device("cuda")
    kept = None
    for precision in ("float16", "bfloat16", None, "float32", "float16", "float16"):
        trainer.configure(TrainingOptions(precision=precision))
        scaled = precision in (None, "float16")
        assert trainer.precision == (precision or "float16")
        assert (trainer.grad_scaler is not None) == scaled
        kept = trainer.grad_scaler
    trainer.configure(TrainingOptions(precision="float16"))
    assert trainer.grad_scaler is kept
