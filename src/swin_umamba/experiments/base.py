"""What an experiment of the paper is made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from swin_umamba.data.datasets import DATASETS, ChallengeDataset
from swin_umamba.paper import EXPERIMENTS, MICROSCOPY, PaperExperiment


@dataclass(frozen=True)
class PaperRecipe(PaperExperiment):
    """One of the three experiments, and where its data come from.

    Attributes
    ----------
    source
        What its data set is made of.
    image_folders, reference_folders
        Where test images and their references may lie, in our data set or in the authors' download.
    """

    source: ChallengeDataset
    image_folders: tuple[str, ...] = ("imagesTs",)
    reference_folders: tuple[str, ...] = ("labelsTs",)


# The authors' download calls the test images and their instance maps otherwise.
_FOLDERS: dict[str, Any] = {
    MICROSCOPY.name: {
        "image_folders": ("imagesTs", "imagesVal"),
        "reference_folders": ("instancesTs", "labelsVal-instance-mask"),
    }
}
RECIPES = {
    paper.name: PaperRecipe(**vars(paper), source=DATASETS[paper.name], **_FOLDERS.get(paper.name, {}))
    for paper in EXPERIMENTS
}
