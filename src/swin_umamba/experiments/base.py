"""What an experiment of the paper is made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from swin_umamba.data.datasets.conversion import Conversion
from swin_umamba.paper import PaperExperiment


@dataclass(frozen=True)
class PaperRecipe(PaperExperiment):
    """One of the three experiments, and where its data come from.

    Attributes
    ----------
    description
        Its ``dataset.json`` without the number of cases.
    convert
        Makes the data set from the challenge's data: ``convert(source, folder, **options)``.
    image_folders, reference_folders
        Where test images and their references may lie, in our data set or in the authors' download.
    """

    description: Mapping[str, Any]
    convert: Callable[..., Conversion]
    image_folders: tuple[str, ...] = ("imagesTs",)
    reference_folders: tuple[str, ...] = ("labelsTs",)
