"""Training in another precision than nnU-Net's own."""

from __future__ import annotations

import pytest
import torch

from nnunet.tiny_training import DAGGER, make_trainer
from swin_umamba.errors import UsageError
from swin_umamba.nnunet.environment import Dataset
from swin_umamba.nnunet.training.options import TrainingOptions

pytestmark = pytest.mark.usefixtures("tiny_trainers")


def test_bfloat16_trains_with_other_roundings(planned_dataset: Dataset) -> None:
    losses = {}
    for precision in ("float32", "bfloat16"):
        trainer = make_trainer(planned_dataset, DAGGER, pretrained="none", seed=3, precision=precision)
        trainer.initialize()
        generator = torch.Generator().manual_seed(0)
        size = trainer.configuration_manager.patch_size
        image = torch.randn(1, 3, *size, generator=generator)
        assert trainer.grad_scaler is None
        scales = [scale for scale, _ in trainer._get_deep_supervision_scales()]
        target = [torch.zeros(1, 1, *(int(side * scale) for side in size)) for scale in scales]
        losses[precision] = float(trainer.train_step({"data": image, "target": target})["loss"])
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
