"""The options of pretraining a backbone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from swin_umamba.errors import UsageError
from swin_umamba.options import continue_options

REFERENCE_BATCH = 1024
REFERENCE_LEARNING_RATE = 1e-3
EPOCHS_PER_WARMUP_EPOCH = 15
STRIDE = 32

CHANGEABLE_FIELDS = ("workers", "device")
"""What may differ when a run goes on."""


@dataclass(frozen=True)
class PretrainOptions:
    """Everything that can be chosen; the defaults are the recipe of VMamba-Tiny, which is that of Swin.

    Attributes
    ----------
    in_channels
        1 for grey images, 3 for colour.
    image_size
        Edge of the crops in pixels, a multiple of 32.
    epochs
        Number of epochs.
    warmup_epochs
        Epochs over which the learning rate grows linearly; None takes a 15th of all (20 of 300).
    batch_size
        Images per process and forward pass.
    accumulate
        Forward passes per optimizer step.
    learning_rate
        The maximum; None takes 1e-3 for each 1024 images that one step sees.
    weight_decay
        Of matrices and kernels; biases, norms and the parameters of the state space are not decayed.
    drop_path_rate
        Stochastic-depth rate of the last block.
    label_smoothing
        Share of a target that is spread over all classes.
    mixup, cutmix
        Beta parameters, see ``mix``; 0 switches a method off.
    ema_decay
        Decay of the moving average of the weights, which is what is validated and written; 0 switches it off.
    smallest_crop, colour_jitter
        See ``training_crop``.
    validation_fraction
        Part of each class held out if there is no folder ``val``.
    seed
        Of weights, order and augmentation.
    workers
        Loader processes of each process.
    device
        ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
    mixed_precision
        Run in half precision on CUDA.

    References
    ----------
    Liu et al., "Swin Transformer", arXiv 2103.14030, appendix A2.1; Liu et al., "VMamba", arXiv 2401.10166,
    section 5.1.
    """

    in_channels: int = 3
    image_size: int = 224
    epochs: int = 300
    warmup_epochs: int | None = None
    batch_size: int = 128
    accumulate: int = 1
    learning_rate: float | None = None
    weight_decay: float = 0.05
    drop_path_rate: float = 0.1
    label_smoothing: float = 0.1
    mixup: float = 0.8
    cutmix: float = 1.0
    ema_decay: float = 0.9999
    smallest_crop: float = 0.08
    colour_jitter: float = 0.4
    validation_fraction: float = 0.1
    seed: int = 0
    workers: int = 4
    device: str = "auto"
    mixed_precision: bool = True

    def __post_init__(self) -> None:
        for name in ("in_channels", "epochs", "batch_size", "accumulate"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} is {getattr(self, name)}", cure="give a whole number of at least 1")
        for name in ("warmup_epochs", "workers", "seed", "weight_decay", "mixup", "cutmix"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < float("inf"):
                raise UsageError(f"{name} is {value}", cure="give 0 or more")
        for name in ("drop_path_rate", "label_smoothing", "ema_decay", "colour_jitter"):
            if not 0 <= getattr(self, name) < 1:
                raise UsageError(f"{name} is {getattr(self, name)}", cure="give a number from 0 to below 1")
        for name in ("learning_rate", "validation_fraction"):
            value = getattr(self, name)
            if value is not None and not 0 < value < 1:
                raise UsageError(f"{name} is {value}", cure="give a number between 0 and 1")
        if not 0 < self.smallest_crop <= 1:
            raise UsageError(
                f"smallest_crop is {self.smallest_crop}", cure="give a part of the area, up to 1"
            )
        if self.image_size < STRIDE or self.image_size % STRIDE:
            raise UsageError(
                f"image_size is {self.image_size}", cure="give a multiple of 32, the stride of the last stage"
            )
        if self.warmup_epochs is not None and self.warmup_epochs >= self.epochs:
            raise UsageError(
                f"{self.warmup_epochs} epochs of warm-up leave nothing of {self.epochs} epochs",
                cure="give fewer",
            )

    def warmup(self) -> int:
        """Return the number of epochs of warm-up."""
        return self.epochs // EPOCHS_PER_WARMUP_EPOCH if self.warmup_epochs is None else self.warmup_epochs

    def maximal_learning_rate(self, num_processes: int) -> float:
        """Return the learning rate after warm-up."""
        if self.learning_rate is not None:
            return self.learning_rate
        return REFERENCE_LEARNING_RATE * self.batch_size * self.accumulate * num_processes / REFERENCE_BATCH

    def as_dict(self) -> dict[str, Any]:
        """Return the options as plain values."""
        return asdict(self)

    @classmethod
    def from_stored(cls, stored: Mapping[str, Any]) -> PretrainOptions:
        """Return the options that ``as_dict`` has stored, ignoring fields of other versions."""
        known = {field.name for field in fields(cls)}
        return cls(**{name: value for name, value in stored.items() if name in known})

    def continued_with(self, given: Mapping[str, Any]) -> PretrainOptions:
        """Return these stored options with those of ``given`` that may change when a run goes on.

        Raises
        ------
        UsageError
            If ``given`` contradicts a stored option that may not change.
        """
        return continue_options(self, given, CHANGEABLE_FIELDS)
