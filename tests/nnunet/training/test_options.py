"""Training options: limits, environment, and what may change when a run is continued."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from nnunet.tiny_training import make_trainer
from swin_umamba import nnunet
from swin_umamba.errors import UsageError
from swin_umamba.nnunet.environment import Dataset
from swin_umamba.nnunet.training.options import TrainingOptions, options_from_environment
from swin_umamba.options import declared_options


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 0}, "epochs is 0"),
        ({"iterations_per_epoch": -1}, "iterations_per_epoch is -1"),
        ({"workers": -1}, "workers is -1"),
        ({"learning_rate": 2.0}, "learning_rate is 2.0"),
        ({"encoder_learning_rate": 0.0}, "encoder_learning_rate is 0.0"),
        ({"frozen_epochs": -1}, "frozen_epochs is -1"),
        ({"adapt_first_convolution": True, "pretrained": "none"}, "there are none"),
        ({"schedule": "step"}, "paper, annealed"),
        ({"deterministic": True}, "deterministic training needs a seed"),
        ({"fold": "first"}, "0, 1, 2, 3, 4 or all"),
        ({"configuration": "3d_fullres"}, "2D"),
        ({"patch_size": (100, 100)}, "multiples of 32"),
    ],
)
def test_impossible_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        TrainingOptions(**options)


def test_options_survive_storage() -> None:
    options = TrainingOptions(fold="all", patch_size=(64, 96), seed=3, learning_rate=1e-3)
    stored = json.loads(json.dumps(options.as_dict()))
    assert TrainingOptions.from_stored(stored | {"of_another_version": 1}) == options


def test_a_run_goes_on_with_its_own_options() -> None:
    stored = TrainingOptions(epochs=10, batch_size=4, seed=1)
    continued = stored.continued_with({"epochs": 20, "workers": 0, "batch_size": 4, "tensorboard": True})
    assert (continued.epochs, continued.workers, continued.batch_size, continued.seed) == (20, 0, 4, 1)
    assert continued.tensorboard
    with pytest.raises(UsageError, match="batch_size is 8 but the run was started with 4"):
        stored.continued_with({"batch_size": 8})


def test_the_environment_sets_options_of_stock_runs() -> None:
    environment = {
        "SWIN_UMAMBA_EPOCHS": "7",
        "SWIN_UMAMBA_LEARNING_RATE": "1e-3",
        "SWIN_UMAMBA_ENCODER_LEARNING_RATE": "1e-5",
        "SWIN_UMAMBA_PRETRAINED": "none",
        "SWIN_UMAMBA_OVERWRITE": "1",
        "SWIN_UMAMBA_DETERMINISTIC": "1",
        "SWIN_UMAMBA_TENSORBOARD": "0",
        "SWIN_UMAMBA_BACKEND": "reference",
        "SWIN_UMAMBA_SEED": "",
    }
    assert options_from_environment(environment) == {
        "epochs": 7,
        "learning_rate": 1e-3,
        "encoder_learning_rate": 1e-5,
        "pretrained": "none",
        "deterministic": True,
        "overwrite": True,
        "tensorboard": False,
    }
    with pytest.raises(UsageError, match="SWIN_UMAMBA_EPOCHS"):
        options_from_environment({"SWIN_UMAMBA_EPOCHS": "many"})


def test_misspelt_variables_are_named(caplog: pytest.LogCaptureFixture) -> None:
    known = {"SWIN_UMAMBA_CACHE": "x", "SWIN_UMAMBA_ITERATIONS_PER_EPOCH": "3", "PATH": "x"}
    assert options_from_environment(known) == {"iterations_per_epoch": 3}
    assert not caplog.records
    assert options_from_environment({"SWIN_UMAMBA_ITERATIONS": "3", "SWIN_UMAMBA_XYZ": "1"}) == {}
    assert [record.getMessage() for record in caplog.records] == [
        "SWIN_UMAMBA_ITERATIONS is not an option and is ignored; "
        "did you mean SWIN_UMAMBA_ITERATIONS_PER_EPOCH?",
        "SWIN_UMAMBA_XYZ is not an option and is ignored",
    ]


def test_what_only_our_trainers_heed_is_marked() -> None:
    # nnU-Net's own trainer refuses what is marked, and would ignore the rest of this file's without a word.
    files = {path: path.read_text(encoding="utf-8") for path in Path(nnunet.__file__).parent.rglob("*.py")}
    read = {path.name: set(re.findall(r"options\.(\w+)", text)) for path, text in files.items()}
    ours = read.pop("swin_umamba_trainer.py")
    marked = {each.name for each in declared_options(TrainingOptions) if each.ours_only}
    # nnU-Net's own schedule always ends with the last epoch.
    assert marked == ours - set().union(*read.values()) - {"schedule"}


def test_nnunets_own_trainer_refuses_what_it_would_ignore(planned_dataset: Dataset) -> None:
    given = {"pretrained": "a.pth", "adapt_first_convolution": True, "frozen_epochs": 1}
    trainer = make_trainer(planned_dataset, "nnUNetTrainer", encoder_learning_rate=1e-5, **given)
    with pytest.raises(UsageError, match="has no encoder_learning_rate and frozen_epochs and pret"):
        trainer.initialize()
