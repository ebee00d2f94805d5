"""What an experiment of the paper is made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from swin_umamba.data.datasets.conversion import Conversion

ITERATIONS_PER_EPOCH = 250
VALIDATION_ITERATIONS = 50
FROZEN_EPOCHS = 10


@dataclass(frozen=True)
class PaperRecipe:
    """One of the three experiments.

    Attributes
    ----------
    name
        As the command line, and the protocol of its evaluation, are called.
    dataset_name
        The data set's folder.
    description
        Its ``dataset.json`` without the number of cases.
    convert
        Makes it from the challenge's data: ``convert(source, folder, **options)``.
    patch_size, batch_size
        Of the published plans; (height, width).
    epochs
        Trained until the published results.
    image_folders, reference_folders
        Where test images and their references may lie, in our data set or in the authors' download.
    published_results
        Trainer to metric to the published value (Liu et al., MICCAI 2024).
    """

    name: str
    dataset_name: str
    description: Mapping[str, Any]
    convert: Callable[..., Conversion]
    patch_size: tuple[int, int]
    batch_size: int
    epochs: int
    published_results: Mapping[str, Mapping[str, float]]
    image_folders: tuple[str, ...] = ("imagesTs",)
    reference_folders: tuple[str, ...] = ("labelsTs",)

    @property
    def steps(self) -> int:
        """Training steps of the paper."""
        return self.epochs * ITERATIONS_PER_EPOCH
