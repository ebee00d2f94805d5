"""Data sets: conversion from a source's own layout to nnU-Net's raw layout.

The table of challenges is plain data, so the command line needs nothing heavy for its help.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from swin_umamba.options import Options, option

if TYPE_CHECKING:
    from swin_umamba.data.datasets.conversion import Conversion


@dataclass(frozen=True)
class AbdomenMROptions(Options):
    """The choice of a test set for AMOS, which has none with labels."""

    test: Path | None = option(
        None,
        "folder with imagesTs, labelsTs and dataset.json: AMOS itself has no test labels",
        flags=("--test-data",),
        metavar="DIR",
    )
    validation_as_test: bool = option(
        False, "train on the 40 training scans and test on the 20 of validation: not the paper's split"
    )


@dataclass(frozen=True)
class ChallengeDataset:
    """A data set that is converted from a challenge's files.

    Attributes
    ----------
    name
        Name on the command line.
    meaning
        Description of the input to give.
    module
        Name of a module with ``DATASET_NAME``, ``DESCRIPTION`` (its ``dataset.json`` without the number of
        cases) and ``convert_MODULE(source, folder, *, skip_damaged, needs_test)``, where MODULE is the last
        part of its name. In a user's own file it is ``__name__``.
    options
        Further keyword arguments of that function.
    image_folders, reference_folders
        Folders that may contain test images and their references, in our data set or in another with the same
        name.
    """

    name: str
    meaning: str
    module: str
    options: type[Options] = Options
    image_folders: tuple[str, ...] = ("imagesTs",)
    reference_folders: tuple[str, ...] = ("labelsTs",)

    def convert(self, source: Path, folder: Path, **options: Any) -> Conversion:
        """Convert ``source`` to a data set in ``folder``."""
        conversion: Conversion = self.load(f"convert_{self.module.rpartition('.')[2]}")(
            source, folder, **options
        )
        return conversion

    def load(self, name: str) -> Any:
        """Return the module's object with the given name."""
        return getattr(importlib.import_module(self.module), name)


DATASETS = {
    dataset.name: dataset
    for dataset in (
        ChallengeDataset(
            "abdomen-mr",
            "AMOS 2022: the folder with imagesTr, labelsTr, imagesVa, labelsVa",
            f"{__name__}.abdomen_mr",
            AbdomenMROptions,
        ),
        ChallengeDataset(
            "endoscopy",
            "EndoVis 2017: a folder with instrument_dataset_N folders anywhere in it",
            f"{__name__}.endovis17",
        ),
        ChallengeDataset(
            "microscopy",
            "NeurIPS 2022 cells: the folder with Training-labeled and Tuning",
            f"{__name__}.neurips_cell",
            # The download from the paper's authors has other names for the test images and their instance
            # maps.
            image_folders=("imagesTs", "imagesVal"),
            reference_folders=("instancesTs", "labelsVal-instance-mask"),
        ),
    )
}
