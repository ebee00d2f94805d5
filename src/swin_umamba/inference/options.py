"""The options of a prediction: for the model, the network's passes, and the results of a folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from swin_umamba.errors import UsageError
from swin_umamba.exchange.options import SegmentationOptions
from swin_umamba.inference.blocks.options import BlockOptions
from swin_umamba.inference.studies.options import StudyOptions
from swin_umamba.instances.defaults import MIN_SIZE
from swin_umamba.nnunet.training.options import parse_fold
from swin_umamba.options import PRECISIONS, Nonfinite, Options, option
from swin_umamba.trained.model_files import FINAL_CHECKPOINT


@dataclass(frozen=True)
class PredictorOptions(Options):
    """How a model is run."""

    device: str = option("auto", "auto (CUDA, else MPS, else CPU), cpu, cuda, cuda:N or mps", metavar="NAME")
    mirroring: bool = option(
        True,
        "no mean over mirrored images: four times faster in 2D; the published results of Swin-UMamba were "
        "made so",
        flags=("--no-mirroring",),
    )
    step_size: float = option(0.5, "distance of neighbouring tiles as a part of the patch size", metavar="X")
    postprocessing: bool = option(
        True,
        "leave out the removal of components and filling of holes that the model was found to gain by, see "
        "swin-umamba postprocess",
        flags=("--no-postprocessing",),
    )
    backend: str | None = option(None, "scan backend (default: the best for the device)", metavar="NAME")
    precision: str = option(
        "float32",
        "precision of matrix products and convolutions; float32 gives the same numbers on every device up to "
        "its rounding, the others are faster on GPUs: tf32 from compute capability 8.0 on",
        choices=PRECISIONS,
    )

    def __post_init__(self) -> None:
        if not 0 < self.step_size <= 1:
            raise UsageError(f"step size {self.step_size}", hint="give a number above 0 and up to 1")


@dataclass(frozen=True)
class ModelOptions(PredictorOptions):
    """Which weights of a trained model are run, and how."""

    folds: Sequence[int | str] | None = option(
        None,
        "folds to take, whose logits are averaged where there are several (default: all that were trained)",
        flags=("--fold",),
        metavar="N",
        parse=parse_fold,
    )
    checkpoint: str = option(FINAL_CHECKPOINT, "file in each fold", metavar="NAME")
    trainer: str | None = option(
        None,
        "your own trainer that the model was trained with, as for train: its file is loaded for the backbone "
        "that it registers, which a model never does by itself",
        metavar="NAME",
    )

    def for_predictor(self) -> PredictorOptions:
        """Return only the options of how the model is run."""
        return PredictorOptions.of(self)


@dataclass(frozen=True)
class ObjectOptions(Options):
    """How the objects of an image are derived from its label map, and measured."""

    min_size: int = option(MIN_SIZE, "leave out objects of fewer pixels (voxels)", metavar="N")
    split_distance: int | None = option(
        None,
        "cut objects that are joined at a neck, with at least N pixels between two centres; 0 cuts nothing "
        "(default: what calibrate found, else 0)",
        metavar="N",
    )
    solidity: bool = option(False, "measure the solidity of each object, too; takes longer than the rest")

    def __post_init__(self) -> None:
        if self.min_size < 1:
            raise UsageError(f"a smallest size of {self.min_size} pixels", hint="give 1 or more")
        if self.split_distance is not None and self.split_distance < 0:
            raise UsageError(f"a split distance of {self.split_distance} pixels", hint="give 0 or more")


@dataclass(frozen=True)
class FolderOptions(BlockOptions, ObjectOptions, SegmentationOptions, StudyOptions):
    """Files to write for each case of a folder besides its label map, and when."""

    probabilities: bool = option(
        False, "write the class probabilities, too, as CASE.npz with the array 'probabilities'"
    )
    confidence: bool = option(
        False,
        "estimate the Dice of each case, and write the entropy of its pixels (0 for certain, 1 for all "
        "classes alike) as entropy/CASE, too",
    )
    instances: bool = option(
        False,
        "find the objects (cells, nuclei, lesions): a map with a number for each as instances/CASE.tif, and "
        "objects.csv with their sizes, places, shapes and intensities; see docs/objects.md",
    )
    objects: Sequence[str] | None = option(
        None,
        "their outlines, too: geojson for QuPath, rois for ImageJ",
        choices=("geojson", "rois"),
    )
    preview: bool = option(False, "draw each result over its image, as previews/CASE.png, too")
    overwrite: bool = option(False, "replace existing results; else they are kept")
    part: str | None = option(
        None,
        "predict only part I of N of the cases, for the jobs of an array; large images that are fewer than N "
        "are divided, too; auto takes I and N from Slurm's variables; the last part to end joins all",
        metavar="I/N",
    )
    merge: bool = option(
        False, "predict nothing: join records and objects of parts that have ended, and say what is missing"
    )
    nonfinite: Nonfinite = option(
        "refuse",
        "what to do about NaN and infinite voxels: refuse the image, or take them for zero",
    )
    series: str | None = option(
        None,
        "series to take from DICOM folders with several, or UID:NAME=VALUE for one volume of a series "
        "(without it, an error lists them); of studies, the series of this number of each",
        metavar="UID|NUMBER",
    )

    def __post_init__(self) -> None:
        BlockOptions.__post_init__(self)
        ObjectOptions.__post_init__(self)
        SegmentationOptions.__post_init__(self)
        if self.format is not None and self.in_blocks:
            raise UsageError(
                "images in blocks are not written as DICOM segmentations", hint="leave out --format"
            )
        StudyOptions.__post_init__(self)
        if self.part is not None and self.merge:
            raise UsageError(
                "--merge joins all parts, and --part predicts one", hint="give --merge after the parts"
            )

    @property
    def with_objects(self) -> bool:
        """Whether objects are requested, as maps or outlines."""
        return self.instances or bool(self.objects)
