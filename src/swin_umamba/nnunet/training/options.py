"""The options of a training run: their declarations, their storage, and which may change later."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from swin_umamba.errors import UsageError, similar_names
from swin_umamba.nnunet.environment import PLANS_NAME
from swin_umamba.nnunet.training.devices import check_devices
from swin_umamba.options import PRECISIONS, Option, Options, declared_options, option
from swin_umamba.paper import (
    EXPERIMENTS,
    FROZEN_EPOCHS,
    ITERATIONS_PER_EPOCH,
    LEARNING_RATE,
    SCHEDULE_EPOCHS,
    VALIDATION_ITERATIONS,
)
from swin_umamba.trainer_names import SWIN_UMAMBA, TRAINER_NAMES

logger = logging.getLogger(__name__)

ENVIRONMENT_PREFIX = "SWIN_UMAMBA_"

OTHER_VARIABLES = ("BACKEND", "CACHE", "EXTENSIONS", "OFFLINE")
"""Other variables with this prefix, which are not options of a training and are read elsewhere."""

SCHEDULES = ("paper", "annealed")


def parse_fold(text: str) -> int | str:
    """Return the number of a fold, or ``"all"``.

    Raises
    ------
    UsageError
        If it is neither.
    """
    if text == "all":
        return text
    if not text.isdecimal():
        raise UsageError(f"there is no fold {text!r}", where="--fold", hint="give numbers, or all")
    return int(text)


@dataclass(frozen=True)
class TrainingOptions(Options):
    """All options of a training run; the defaults are the recipe of the paper.

    One table for the keywords of ``train``, the flags of ``swin-umamba train``, the ``SWIN_UMAMBA_...``
    variables of nnU-Net's own command, and ``docs/options.md``.
    """

    trainer: str = option(
        SWIN_UMAMBA,
        f"one of {', '.join(TRAINER_NAMES)}; or one of your own: package.module:Class, folder/file.py:Class, "
        "or the name of a class in a folder of nnUNet_extTrainer",
        metavar="NAME",
    )
    configuration: str = option("2d", "configuration of the plans; the networks are 2D", flags=())
    fold: int | str = option(
        0, "0 to 4, or all: train and validate on every case", metavar="N", parse=parse_fold
    )
    epochs: int = option(
        SCHEDULE_EPOCHS,
        "number of epochs; the paper's results are from epoch "
        f"{', '.join(f'{each.epochs} ({name})' for name, each in EXPERIMENTS.items())} of a schedule made "
        f"for {SCHEDULE_EPOCHS}",
        metavar="N",
        in_environment=True,
        may_change=True,
    )
    iterations_per_epoch: int = option(
        ITERATIONS_PER_EPOCH,
        "training steps per epoch",
        flags=("--iterations", "--iterations-per-epoch"),
        metavar="N",
        in_environment=True,
    )
    validation_iterations: int = option(
        VALIDATION_ITERATIONS, "batches for the pseudo-Dice of an epoch", metavar="N", in_environment=True
    )
    learning_rate: float | None = option(
        None,
        f"learning rate at the start (default: the trainer's own, {LEARNING_RATE:g} for Swin-UMamba)",
        metavar="LR",
        in_environment=True,
    )
    encoder_learning_rate: float | None = option(
        None,
        "learning rate of the encoder without its patch embedding, that is of what can be frozen, for "
        "fine-tuning (default: that of the rest, in one parameter group)",
        metavar="LR",
        in_environment=True,
        ours_only=True,
    )
    batch_size: int | None = option(None, "patches per step (default: as planned)", metavar="N")
    patch_size: tuple[int, int] | None = option(
        None, "height and width of a patch in pixels (default: as planned)", metavar=("HEIGHT", "WIDTH")
    )
    frozen_epochs: int | None = option(
        None,
        f"epochs with a frozen encoder (default: {FROZEN_EPOCHS}, without pretrained weights 0)",
        flags=("--freeze-encoder-epochs", "--frozen-epochs"),
        metavar="N",
        in_environment=True,
        ours_only=True,
    )
    pretrained: str | None = option(
        None,
        "what the network starts from: its backbone's ImageNet checkpoint (file, or name as weights list has "
        "it), a trained model (file or folder; its channels and classes may be others), or none",
        metavar="START",
        in_environment=True,
        ours_only=True,
    )
    adapt_first_convolution: bool = option(
        False,
        "make the dagger's first convolution from the ImageNet one for other than 3 channels, too; the "
        "published code leaves it random",
        in_environment=True,
        ours_only=True,
    )
    schedule: str = option(
        "paper",
        f"paper: the cosine ends at epoch {SCHEDULE_EPOCHS} however many are trained; annealed: at the last",
        choices=SCHEDULES,
        in_environment=True,
    )
    seed: int | None = option(
        None,
        "seed of weights, sampling and augmentation, whatever workers is",
        metavar="N",
        in_environment=True,
    )
    deterministic: bool = option(
        False,
        "with a seed: use only operators that give equal bits for equal inputs, so that a run on the CPU can "
        "be repeated exactly, interrupted or not, with as many threads",
        in_environment=True,
    )
    workers: int | None = option(
        None,
        "processes for augmentation; 0 does it in the training process (default: nnU-Net's choice)",
        metavar="N",
        may_change=True,
    )
    precision: str | None = option(
        None,
        "precision of matrix products and convolutions (default: float16 on CUDA, else float32; on CPUs that "
        "have it bfloat16 is faster; tf32 is float32 with faster products on CUDA, which float32 never has)",
        choices=PRECISIONS,
        in_environment=True,
    )
    device: str = option("auto", "auto, cpu, cuda, cuda:N or mps", metavar="NAME", may_change=True)
    save_every: int = option(
        50, "keep a checkpoint every N epochs", metavar="N", in_environment=True, may_change=True
    )
    overwrite: bool = option(
        False, "replace an earlier run of the fold", in_environment=True, may_change=True
    )
    force_unlock: bool = option(
        False,
        "train although another training holds the lock of the fold; only if there is none",
        in_environment=True,
        may_change=True,
    )
    npz: bool = option(
        False, "save the probabilities of the final validation, for ensembling", may_change=True
    )
    skip_validation: bool = option(
        False,
        "end with the last epoch; with fold all the validation would predict the training cases",
        may_change=True,
    )
    tensorboard: bool = option(
        False,
        "write event files for TensorBoard into the folder tensorboard of the fold; "
        "needs pip install 'swin-umamba[tensorboard]'",
        flags=("--tensorboard", "--no-tensorboard"),
        in_environment=True,
        may_change=True,
    )

    def __post_init__(self) -> None:
        counts = ("epochs", "iterations_per_epoch", "validation_iterations", "save_every", "batch_size")
        self._check_numbers(counts, lambda value: value >= 1, "give a whole number of at least 1")
        self._check_numbers(("frozen_epochs", "workers", "seed"), lambda value: value >= 0, "give 0 or more")
        self._check_numbers(("seed",), lambda value: value < 2**32, "give a number below 2**32")
        rates = ("learning_rate", "encoder_learning_rate")
        self._check_numbers(rates, lambda value: 0 < value < 1, "give a number between 0 and 1")
        if self.deterministic and self.seed is None:
            raise UsageError("deterministic training needs a seed", hint="give one: --seed 1")
        if self.schedule not in SCHEDULES:
            raise UsageError(
                f"unknown schedule {self.schedule!r}", hint="give one of: " + ", ".join(SCHEDULES)
            )
        if self.precision is not None and self.precision not in PRECISIONS:
            raise UsageError(
                f"unknown precision {self.precision!r}", hint="give one of: " + ", ".join(PRECISIONS)
            )
        if self.fold != "all" and not (isinstance(self.fold, int) and self.fold >= 0):
            raise UsageError(f"fold is {self.fold!r}", hint="give 0, 1, 2, 3, 4 or all")
        if self.configuration != "2d":
            raise UsageError(
                f"configuration {self.configuration!r} cannot be trained", hint="the networks are 2D: give 2d"
            )
        if self.patch_size is not None:
            check_patch_size(self.patch_size)
        if self.adapt_first_convolution and self.pretrained == "none":
            raise UsageError(
                "adapt_first_convolution adapts pretrained weights, but there are none",
                hint="leave it out, or give --pretrained",
            )


@dataclass(frozen=True)
class TrainRequest(TrainingOptions):
    """A request to ``train``: the options of a run, and how it starts."""

    backbone: str | None = option(
        None,
        "encoder of the network, one that weights list names or your own, for the trainers of the dagger's "
        "decoder; it becomes part of the trainer's name and the model folder's (default: the trainer's own, "
        "vmamba_tiny)",
        metavar="NAME",
    )
    plans_name: str = option(PLANS_NAME, "name of the plans file", flags=())
    devices: Sequence[str] | None = option(
        None,
        "several devices: a number of them, or their names: cuda:0 cuda:1 ...; on a CPU, a number of "
        "processes",
        metavar="N",
    )
    folds_parallel: int | None = option(
        None,
        "with several folds on one device, train N at a time, each in a process of its own; without "
        "OMP_NUM_THREADS each gets an equal share of the cores as threads",
        metavar="N",
    )
    continue_training: bool = option(
        False, "resume from the newest checkpoint with the options of the first run", flags=("--continue",)
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.devices is not None:
            check_devices(self.devices, self.device)
        self._check_numbers(("folds_parallel",), lambda value: value >= 1, "give a number of folds")
        if self.devices is not None and self.folds_parallel is not None:
            raise UsageError(
                "--devices and --folds-parallel both say how many folds are trained at a time",
                hint="give --devices for one fold on each, or --folds-parallel for several on one device",
            )

    def for_the_run(self) -> TrainingOptions:
        """Return only the options of the run."""
        return TrainingOptions.of(self)

    def given_for_the_run(self) -> dict[str, Any]:
        """Return the options of the run that were given."""
        names = [each.name for each in declared_options(TrainingOptions)]
        return {name: value for name, value in self.given.items() if name in names}


def options_from_environment(environment: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return the options that ``SWIN_UMAMBA_...`` variables set, for runs of nnU-Net's own command.

    Logs a warning for unknown variables with this prefix: the run would not be the intended one.
    """
    environment = os.environ if environment is None else environment
    options = {
        f"{ENVIRONMENT_PREFIX}{each.name.upper()}": each
        for each in declared_options(TrainingOptions)
        if each.in_environment
    }
    others = [f"{ENVIRONMENT_PREFIX}{name}" for name in OTHER_VARIABLES]
    for variable in sorted(environment):
        if variable.startswith(ENVIRONMENT_PREFIX) and variable not in (*options, *others):
            names = [each.name.upper() for each in options.values()]
            close = similar_names(variable.removeprefix(ENVIRONMENT_PREFIX), names)
            meant = f"; did you mean {ENVIRONMENT_PREFIX}{close[0]}?" if close else ""
            logger.warning("%s is not an option and is ignored%s", variable, meant)
    return {
        option.name: _from_variable(variable, option, text)
        for variable, option in options.items()
        if (text := environment.get(variable))
    }


def check_patch_size(patch_size: tuple[int, int]) -> None:
    """Raise ``UsageError`` unless the patch has two sides that are positive multiples of 32."""
    if len(patch_size) != 2 or any(side < 32 or side % 32 for side in patch_size):
        raise UsageError(
            f"patch size {tuple(patch_size)}",
            hint="give height and width in pixels, both multiples of 32, the stride of the coarsest stage",
        )


def _from_variable(variable: str, option: Option, text: str) -> Any:
    try:
        return option.from_text(text)
    except ValueError as error:
        raise UsageError(
            f"{text!r} is not a number", where=variable, hint="give a number or unset it"
        ) from error
