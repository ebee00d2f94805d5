"""Choose a trained model's post-processing on the validation cases of its folds."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from swin_umamba.data.image_io import image_stem, list_images, on_one_grid, read_labels
from swin_umamba.errors import DataError, UsageError
from swin_umamba.evaluation.cases import check_declared
from swin_umamba.evaluation.classes import LabelClasses
from swin_umamba.evaluation.postprocessing import LabelledCase, Postprocessing, choose_steps
from swin_umamba.nnunet.environment import Folders
from swin_umamba.progress import progress
from swin_umamba.trained.model import load_trained_model
from swin_umamba.trained.model_plans import ModelPlans
from swin_umamba.trained.postprocessing_file import write_postprocessing

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PostprocessingResult:
    """The steps chosen, on how many cases of which folds, and the file they were written to."""

    chosen: Postprocessing
    num_cases: int
    folds: tuple[str, ...]
    file: Path


def choose_postprocessing(
    model_folder: str | Path, references: str | Path | None = None
) -> PostprocessingResult:
    """Choose the steps that help on the validation cases of all numbered folds; write them into the folder.

    Parameters
    ----------
    model_folder
        A model folder whose folds have been validated.
    references
        Folder of the true label maps; by default nnU-Net's ``gt_segmentations`` of the data set.

    Raises
    ------
    UsageError
        If no fold was validated, or the references are not found.
    DataError
        If a label map has no reference, or one that does not fit.
    CheckpointError
        If the model is incomplete or damaged.
    """
    folder = Path(model_folder)
    folds = [
        path.parent.name
        for path in sorted(folder.glob("fold_[0-9]*/validation"))
        if (path / "summary.json").is_file()
    ]
    if not folds:
        raise UsageError(
            "no fold of this model has been validated",
            where=folder,
            hint="give a model folder; train --continue validates a fold that is trained",
        )
    model = load_trained_model(folder, folds=[name.removeprefix("fold_") for name in folds])
    plans = ModelPlans(model)
    truths = {image_stem(path): path for path in list_images(references or _references(folder))}
    pairs = []
    for fold in folds:
        for path in list_images(folder / fold / "validation"):
            if image_stem(path) not in truths:
                raise DataError("the label map has no reference", where=path, hint="give --references")
            pairs.append((path, truths[image_stem(path)]))

    def cases() -> Iterator[LabelledCase]:
        for prediction, reference in progress(pairs, "choosing", total=len(pairs)):
            yield _case(prediction, reference, plans)

    chosen = choose_steps(cases, plans.classes, plans.ignore)
    weights = dict(zip(folds, model.parameters, strict=True))
    file = write_postprocessing(folder, chosen, weights, {"num_cases": len(pairs)})
    return PostprocessingResult(chosen, len(pairs), tuple(folds), file)


def _case(prediction: Path, reference: Path, plans: ModelPlans) -> LabelledCase:
    found, truth = on_one_grid(read_labels(prediction), read_labels(reference))
    check_declared(truth.data, LabelClasses(plans.classes, plans.ignore).declared, reference)
    counts_pixels = plans.counts_pixels or not found.has_spacing
    return LabelledCase(found.data[0], truth.data[0], 1.0 if counts_pixels else found.pixel_size)


def _references(folder: Path) -> Path:
    for folders in Folders.of_model(folder):
        place = folders.preprocessed / folder.absolute().parent.name / "gt_segmentations"
        if place.is_dir():
            return place
    raise UsageError(
        "the references of the validation cases are not there",
        where=folder,
        hint="give their folder with --references, or set nnU-Net's folders",
    )
