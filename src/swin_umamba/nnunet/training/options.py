"""The options of a training run: what can be chosen, what is stored, and what may change when it goes on."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from swin_umamba.errors import UsageError, similar_names
from swin_umamba.ops.precision import PRECISIONS
from swin_umamba.options import continue_options

logger = logging.getLogger(__name__)

ENVIRONMENT_PREFIX = "SWIN_UMAMBA_"

ENVIRONMENT_FIELDS = (
    "pretrained",
    "adapt_first_convolution",
    "epochs",
    "iterations_per_epoch",
    "validation_iterations",
    "learning_rate",
    "encoder_learning_rate",
    "frozen_epochs",
    "schedule",
    "precision",
    "seed",
    "deterministic",
    "save_every",
    "overwrite",
    "tensorboard",
)
"""What nnU-Net's own command has no switch for; it takes them as SWIN_UMAMBA_EPOCHS=100 and so on."""

OTHER_VARIABLES = ("BACKEND", "CACHE", "OFFLINE")
"""What else begins with the prefix: not of a training, read where it is used."""

CHANGEABLE_FIELDS = (
    "epochs",
    "workers",
    "device",
    "save_every",
    "npz",
    "skip_validation",
    "overwrite",
    "tensorboard",
)
"""What may differ when a run goes on; anything else would make it another experiment."""

SCHEDULES = ("paper", "annealed")


@dataclass(frozen=True)
class TrainingOptions:
    """Everything that a user can choose for a training run; the defaults are the recipe of the paper.

    Attributes
    ----------
    trainer
        Class name of the trainer.
    configuration
        Configuration of the plans; the networks are 2D.
    fold
        0 to 4, or ``"all"``: train and validate on every case.
    epochs
        Number of epochs. The results of the paper are from epoch 100 (AbdomenMR), 250 (Endoscopy) and 350
        (Microscopy) of a schedule made for 1000.
    iterations_per_epoch, validation_iterations
        Batches per epoch.
    learning_rate
        At the start of the schedule; None keeps the trainer's own (1e-4 for Swin-UMamba).
    encoder_learning_rate
        The same for the encoder without its patch embedding, that is for what can be frozen; None gives it
        the learning rate of the rest, in one parameter group.
    batch_size, patch_size
        Replace those of the plans. The patch is (height, width) in pixels.
    frozen_epochs
        Epochs with a frozen encoder; None keeps the trainer's own (10 with pretrained weights, otherwise 0).
    pretrained
        What the network starts from: an ImageNet checkpoint of VMamba-Tiny (a file or a name of the
        catalogue), a trained model (a file or a folder), or ``"none"``.
    adapt_first_convolution
        For images with another number of channels than ImageNet's: make the first convolution of
        Swin-UMamba-dagger from the ImageNet one instead of leaving it random, as the published code does.
    schedule
        ``"paper"``: the cosine reaches its end at epoch 1000, however many are trained;
        ``"annealed"``: at the last epoch.
    precision
        ``"float32"``, ``"bfloat16"`` or ``"float16"`` for matrix products and convolutions; None takes
        nnU-Net's choice, float16 on CUDA and float32 elsewhere.
    seed
        Seed of weights, sampling and augmentation. Equal seeds give equal batches, whatever ``workers`` is.
    deterministic
        Use only operators that give equal bits for equal inputs, so that a run with a seed can be repeated
        exactly on the CPU, interrupted or not, with as many threads. Needs a seed.
    workers
        Processes that augment data; 0 does it in the training process, None takes nnU-Net's choice.
    device
        ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
    save_every
        Epochs between two kept checkpoints ``checkpoint_{epoch}.pth``.
    overwrite
        Start anew in a folder that holds checkpoints.
    npz
        Save the probabilities of the final validation, which ensembling needs.
    skip_validation
        End with the last epoch, without predicting the validation cases. With ``fold="all"`` these are the
        training cases.
    tensorboard
        Write event files for TensorBoard; needs the extra ``tensorboard``.
    """

    trainer: str = "nnUNetTrainerSwinUMamba"
    configuration: str = "2d"
    fold: int | str = 0
    epochs: int = 1000
    iterations_per_epoch: int = 250
    validation_iterations: int = 50
    learning_rate: float | None = None
    encoder_learning_rate: float | None = None
    batch_size: int | None = None
    patch_size: tuple[int, int] | None = None
    frozen_epochs: int | None = None
    pretrained: str | None = None
    adapt_first_convolution: bool = False
    schedule: str = "paper"
    precision: str | None = None
    seed: int | None = None
    deterministic: bool = False
    workers: int | None = None
    device: str = "auto"
    save_every: int = 50
    overwrite: bool = False
    npz: bool = False
    skip_validation: bool = False
    tensorboard: bool = False

    def __post_init__(self) -> None:
        for name in ("epochs", "iterations_per_epoch", "validation_iterations", "save_every", "batch_size"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UsageError(f"{name} is {value}", cure="give a whole number of at least 1")
        for name in ("frozen_epochs", "workers", "seed"):
            value = getattr(self, name)
            if value is not None and value < 0:
                raise UsageError(f"{name} is {value}", cure="give 0 or more")
        if self.seed is not None and self.seed >= 2**32:
            raise UsageError(f"seed is {self.seed}", cure="give a number below 2**32")
        if self.deterministic and self.seed is None:
            raise UsageError("deterministic training needs a seed", cure="give one: --seed 1")
        for name in ("learning_rate", "encoder_learning_rate"):
            value = getattr(self, name)
            if value is not None and not 0 < value < 1:
                raise UsageError(f"{name} is {value}", cure="give a number between 0 and 1")
        if self.schedule not in SCHEDULES:
            raise UsageError(
                f"unknown schedule {self.schedule!r}", cure="give one of: " + ", ".join(SCHEDULES)
            )
        if self.precision is not None and self.precision not in PRECISIONS:
            raise UsageError(
                f"unknown precision {self.precision!r}", cure="give one of: " + ", ".join(PRECISIONS)
            )
        if self.fold != "all" and not (isinstance(self.fold, int) and self.fold >= 0):
            raise UsageError(f"fold is {self.fold!r}", cure="give 0, 1, 2, 3, 4 or all")
        if self.configuration != "2d":
            raise UsageError(
                f"configuration {self.configuration!r} cannot be trained", cure="the networks are 2D: give 2d"
            )
        if self.patch_size is not None:
            check_patch_size(self.patch_size)
        if self.adapt_first_convolution and self.pretrained == "none":
            raise UsageError(
                "adapt_first_convolution adapts pretrained weights, but there are none",
                cure="leave it out, or give --pretrained",
            )

    @classmethod
    def from_stored(cls, stored: Mapping[str, Any]) -> TrainingOptions:
        """Return the options that ``as_dict`` has stored, ignoring fields of other versions."""
        known = {field.name for field in fields(cls)}
        values = {name: value for name, value in stored.items() if name in known}
        if values.get("patch_size") is not None:
            values["patch_size"] = tuple(values["patch_size"])
        return cls(**values)

    def as_dict(self) -> dict[str, Any]:
        """Return the options as plain values that JSON and a safe checkpoint can hold."""
        values = asdict(self)
        values["patch_size"] = None if self.patch_size is None else list(self.patch_size)
        return values

    def continued_with(self, given: Mapping[str, Any]) -> TrainingOptions:
        """Return these stored options with those of ``given`` that may change when a run goes on.

        Raises
        ------
        UsageError
            If ``given`` contradicts a stored option that may not change.
        """
        return continue_options(self, given, CHANGEABLE_FIELDS)


def options_from_environment(environment: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return the options that ``SWIN_UMAMBA_...`` variables set, for runs of nnU-Net's own command.

    Warns of variables with this prefix that nothing reads: the run would be another than the one meant.
    """
    environment = os.environ if environment is None else environment
    _warn_of_unknown(environment)
    texts = {name: environment.get(ENVIRONMENT_PREFIX + name.upper()) for name in ENVIRONMENT_FIELDS}
    return {name: _parse(name, text) for name, text in texts.items() if text}


def check_patch_size(patch_size: tuple[int, int]) -> None:
    """Raise ``UsageError`` unless the patch has two sides that are positive multiples of 32."""
    if len(patch_size) != 2 or any(side < 32 or side % 32 for side in patch_size):
        raise UsageError(
            f"patch size {tuple(patch_size)}",
            cure="give height and width in pixels, both multiples of 32, the stride of the coarsest stage",
        )


def _warn_of_unknown(environment: Mapping[str, str]) -> None:
    known = [name.upper() for name in ENVIRONMENT_FIELDS]
    for variable in sorted(environment):
        name = variable.removeprefix(ENVIRONMENT_PREFIX)
        if name == variable or name in known or name in OTHER_VARIABLES:
            continue
        meant = similar_names(variable, [f"{ENVIRONMENT_PREFIX}{each}" for each in known])
        logger.warning("%s is no option and is ignored%s", variable, f"; {meant}" if meant else "")


def _parse(name: str, text: str) -> Any:
    if name in ("pretrained", "schedule", "precision"):
        return text
    if name in ("overwrite", "adapt_first_convolution", "deterministic", "tensorboard"):
        return text.lower() in ("1", "true", "yes")
    try:
        return float(text) if name.endswith("learning_rate") else int(text)
    except ValueError as error:
        raise UsageError(
            f"{text!r} is no number",
            where=ENVIRONMENT_PREFIX + name.upper(),
            cure="give a number or unset it",
        ) from error
