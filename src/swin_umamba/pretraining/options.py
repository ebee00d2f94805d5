"""The options of pretraining a backbone."""

from __future__ import annotations

from dataclasses import dataclass

from swin_umamba.errors import UsageError
from swin_umamba.options import Options, option

REFERENCE_BATCH = 1024
REFERENCE_LEARNING_RATE = 1e-3
EPOCHS_PER_WARMUP_EPOCH = 15
STRIDE = 32


@dataclass(frozen=True)
class PretrainOptions(Options):
    """All options; the defaults are the recipe of VMamba-Tiny, which is that of Swin.

    References
    ----------
    Liu et al., "Swin Transformer", arXiv 2103.14030, appendix A2.1; Liu et al., "VMamba", arXiv 2401.10166,
    section 5.1.
    """

    backbone: str = option(
        "vmamba_tiny", "backbone to train: one that weights list names, or your own", metavar="NAME"
    )
    in_channels: int = option(3, "3 for colour, 1 for grey", metavar="N")
    image_size: int = option(224, "edge of the crops in pixels, a multiple of 32", metavar="N")
    epochs: int = option(300, "number of epochs", metavar="N")
    warmup_epochs: int | None = option(
        None, "epochs over which the learning rate grows linearly (default: a 15th of all)", metavar="N"
    )
    batch_size: int = option(128, "images per process and forward pass", metavar="N")
    accumulate: int = option(1, "forward passes per optimizer step", metavar="N")
    learning_rate: float | None = option(
        None, "maximal learning rate (default: 1e-3 for each 1024 images that one step sees)", metavar="LR"
    )
    weight_decay: float = option(
        0.05,
        "weight decay of matrices and kernels; biases, norms and the state space's parameters have none",
        metavar="X",
    )
    drop_path_rate: float | None = option(
        None,
        "stochastic-depth rate of the last block (default: the backbone's own, but 0.1 for vmamba_tiny)",
        metavar="P",
    )
    label_smoothing: float = option(0.1, "share of a target that is spread over all classes", metavar="X")
    mixup: float = option(0.8, "beta parameter of mixup; 0 for none", metavar="ALPHA")
    cutmix: float = option(1.0, "beta parameter of cutmix; 0 for none", metavar="ALPHA")
    ema_decay: float = option(
        0.9999,
        "decay of the moving average of the weights, which is what is validated and written; 0 for none",
        metavar="X",
    )
    smallest_crop: float = option(0.08, "smallest part of the image's area that a crop has", metavar="X")
    colour_jitter: float = option(0.4, "strength of the colour jitter; 0 for none", metavar="X")
    validation_fraction: float = option(
        0.1, "part of each class that is held out if there is no folder val", metavar="X"
    )
    seed: int = option(0, "seed of weights, order and augmentation", metavar="N")
    workers: int = option(4, "processes that read images, for each process", metavar="N", may_change=True)
    device: str = option("auto", "auto, cpu, cuda, cuda:N or mps", metavar="NAME", may_change=True)
    mixed_precision: bool = option(
        True, "run in single precision on CUDA, too", flags=("--no-mixed-precision",)
    )

    def __post_init__(self) -> None:
        counts = ("in_channels", "epochs", "batch_size", "accumulate")
        self._check_numbers(counts, lambda value: value >= 1, "give a whole number of at least 1")
        amounts = ("warmup_epochs", "workers", "seed", "weight_decay", "mixup", "cutmix")
        self._check_numbers(amounts, lambda value: 0 <= value < float("inf"), "give 0 or more")
        rates = ("drop_path_rate", "label_smoothing", "ema_decay", "colour_jitter")
        self._check_numbers(rates, lambda value: 0 <= value < 1, "give a number from 0 to below 1")
        parts = ("learning_rate", "validation_fraction")
        self._check_numbers(parts, lambda value: 0 < value < 1, "give a number between 0 and 1")
        if not 0 < self.smallest_crop <= 1:
            raise UsageError(
                f"smallest_crop is {self.smallest_crop}", hint="give a part of the area, up to 1"
            )
        if self.image_size < STRIDE or self.image_size % STRIDE:
            raise UsageError(
                f"image_size is {self.image_size}", hint="give a multiple of 32, the stride of the last stage"
            )
        if self.warmup_epochs is not None and self.warmup_epochs >= self.epochs:
            raise UsageError(
                f"{self.warmup_epochs} epochs of warm-up leave nothing of {self.epochs} epochs",
                hint="give fewer",
            )

    def warmup(self) -> int:
        """Return the number of epochs of warm-up."""
        return self.epochs // EPOCHS_PER_WARMUP_EPOCH if self.warmup_epochs is None else self.warmup_epochs

    def maximal_learning_rate(self, num_processes: int) -> float:
        """Return the learning rate after warm-up."""
        if self.learning_rate is not None:
            return self.learning_rate
        return REFERENCE_LEARNING_RATE * self.batch_size * self.accumulate * num_processes / REFERENCE_BATCH


@dataclass(frozen=True)
class StartOptions(Options):
    """Options of how a run starts, which are not stored with it."""

    continue_training: bool = option(
        False, "resume from the last complete epoch with the options of the first run", flags=("--continue",)
    )
    overwrite: bool = option(False, "replace an earlier run")
