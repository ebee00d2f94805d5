"""Numbers from the paper, Liu et al., "Swin-UMamba" (arXiv 2402.03302), and its published code.

Plain data, so that help and records can name them without torch; all other code takes them from here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from swin_umamba.trainer_names import SWIN_UMAMBA, SWIN_UMAMBA_D, SWIN_UMAMBA_D_SCRATCH, SWIN_UMAMBA_SCRATCH

SCHEDULE_EPOCHS = 1000
"""The cosine schedule ends here, however many epochs are trained."""
ITERATIONS_PER_EPOCH = 250
VALIDATION_ITERATIONS = 50
FROZEN_EPOCHS = 10
"""Epochs with a frozen encoder, if it is pretrained."""
LEARNING_RATE = 1e-4
FINAL_LEARNING_RATE = 1e-6
WEIGHT_DECAY = 5e-2
ADAM_EPS = 1e-5
DEFAULT_WEIGHTS = "vmamba_tiny_v0cls"
"""Name of the weights that trainings of the recipe start from, in ``weights/catalog.py``."""


@dataclass(frozen=True)
class PaperExperiment:
    """One of the three experiments.

    Attributes
    ----------
    name
        Name on the command line, and of its evaluation protocol.
    dataset_name
        Name of the data set's folder.
    patch_size, batch_size
        Sizes in the published plans; (height, width) in pixels.
    epochs
        Number of epochs of the published results, counted from 0 in the fork of nnU-Net that trained them.
    published_results
        Published value by trainer and metric.
    """

    name: str
    dataset_name: str
    patch_size: tuple[int, int]
    batch_size: int
    epochs: int
    published_results: Mapping[str, Mapping[str, float]]

    @property
    def checkpoint(self) -> str:
        """Checkpoint file that gave the published results."""
        return f"checkpoint_{self.epochs - 1}.pth"

    @property
    def steps(self) -> int:
        """Number of training steps in the paper."""
        return self.epochs * ITERATIONS_PER_EPOCH


ABDOMEN_MR = PaperExperiment(
    name="abdomen-mr",
    dataset_name="Dataset702_AbdomenMR",
    patch_size=(320, 320),
    batch_size=30,
    epochs=100,
    published_results={
        SWIN_UMAMBA: {"dice": 0.7760, "nsd": 0.8421},
        SWIN_UMAMBA_D: {"dice": 0.7705, "nsd": 0.8376},
        SWIN_UMAMBA_SCRATCH: {"dice": 0.7054, "nsd": 0.7647},
        SWIN_UMAMBA_D_SCRATCH: {"dice": 0.6653, "nsd": 0.7312},
    },
)
ENDOSCOPY = PaperExperiment(
    name="endoscopy",
    dataset_name="Dataset704_Endovis17",
    patch_size=(384, 640),
    batch_size=13,
    epochs=250,
    published_results={
        SWIN_UMAMBA: {"dice": 0.6767, "nsd": 0.6922},
        SWIN_UMAMBA_D: {"dice": 0.6783, "nsd": 0.6933},
        SWIN_UMAMBA_SCRATCH: {"dice": 0.5483, "nsd": 0.5632},
        SWIN_UMAMBA_D_SCRATCH: {"dice": 0.6402, "nsd": 0.6547},
    },
)
MICROSCOPY = PaperExperiment(
    name="microscopy",
    dataset_name="Dataset703_NeurIPSCell",
    patch_size=(512, 512),
    batch_size=12,
    epochs=350,
    published_results={
        SWIN_UMAMBA: {"f1": 0.5806},
        SWIN_UMAMBA_D: {"f1": 0.5982},
        SWIN_UMAMBA_SCRATCH: {"f1": 0.4561},
        SWIN_UMAMBA_D_SCRATCH: {"f1": 0.5186},
    },
)
EXPERIMENTS = {each.name: each for each in (ABDOMEN_MR, ENDOSCOPY, MICROSCOPY)}
