"""One training of a comparison: train, predict the test cases, score them."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swin_umamba.child import ProcessEnded, run_apart
from swin_umamba.compare.results import RunResult, read_cost
from swin_umamba.data.image_io import image_stem, list_images
from swin_umamba.errors import DataError, TrainingError
from swin_umamba.evaluation.cases import CaseFiles
from swin_umamba.evaluation.classes import LabelClasses
from swin_umamba.evaluation.results import plain_scores
from swin_umamba.nnunet.environment import Dataset
from swin_umamba.nnunet.preprocessed import preprocessed_name
from swin_umamba.nnunet.splits import SPLITS_FILE, validation_cases
from swin_umamba.progress import progress

logger = logging.getLogger(__name__)

RESULT_FILE = "result.json"


@dataclass(frozen=True)
class TrainingJob:
    """The work of one process.

    Attributes
    ----------
    network
        Name of the network, which is also the name of its plans.
    seed
        Seed of the training.
    dataset
        Planned data set; its results folder is this training's own.
    folder
        Folder for the predictions and ``result.json``.
    fold
        ``"all"``, or the fold whose validation cases are the test cases.
    epochs
        Number of epochs into which the budget in the plans is divided.
    images, references
        Folders of the test cases.
    protocol
        Name of one of the paper's protocols; None scores every class by Dice, NSD and HD95.
    tolerance
        Tolerance of the NSD, in mm (pixels for pictures).
    pretrained
        File of ImageNet weights, or None.
    workers
        Number of processes that augment data.
    device
        Device, as for training.
    """

    network: str
    seed: int
    dataset: Dataset
    folder: Path
    fold: int | str
    epochs: int
    images: Path
    references: Path
    protocol: str | None
    tolerance: float
    pretrained: str | None
    workers: int
    device: str


def run_in_process(job: TrainingJob) -> RunResult:
    """Run a job in a separate process, so that its peak memory is its own.

    Raises
    ------
    TrainingError
        If the process dies.
    SwinUMambaError
        If anything fails in the process.
    """
    name = f"{job.network}, seed {job.seed}"
    try:
        return run_apart(name, run_job, job)
    except ProcessEnded as error:
        hint = "compare again, which repeats nothing that is finished; with a smaller batch if memory ran out"
        raise TrainingError(f"{name}: {error}", where=job.folder, hint=hint) from error


def run_job(job: TrainingJob) -> RunResult:
    """Train, predict and score; write ``result.json`` last, so that it exists only if all is done."""
    from swin_umamba.compare.trainer import COST_FILE, nnUNetTrainerComparison
    from swin_umamba.nnunet.training.options import TrainRequest
    from swin_umamba.nnunet.training.train import train_with

    request = TrainRequest(
        plans_name=job.network,
        fold=job.fold,
        epochs=job.epochs,
        validation_iterations=1,
        seed=job.seed,
        workers=job.workers,
        device=job.device,
        pretrained=job.pretrained,
        skip_validation=True,
        overwrite=True,
    )
    trained = train_with(nnUNetTrainerComparison, job.dataset, request)
    cost = read_cost(trained.fold_folder / COST_FILE)
    start = time.perf_counter()
    predictions = _predict(job, trained.fold_folder.parent)
    seconds = time.perf_counter() - start
    scores = _score(job, predictions)
    result = RunResult(job.network, job.seed, {**cost, "prediction_seconds": seconds}, scores)
    result.write(job.folder / RESULT_FILE)
    return result


def _predict(job: TrainingJob, model: Path) -> dict[str, Path]:
    """Predict the test cases without mirroring, as in the paper; return the label map of each."""
    from swin_umamba.inference.cases import find_cases
    from swin_umamba.inference.predictor import Predictor

    predictor = Predictor.from_folder(model, device=job.device, mirroring=False)
    cases = find_cases(job.images, len(predictor.channel_names))
    if job.fold != "all":
        held_out = _held_out_cases(job)
        cases = [case for case in cases if preprocessed_name(case.name) in held_out]
    files = [file for case in cases for file in case.files]
    outcomes = predictor.predict_folder(files, job.folder / "predictions", overwrite=True)
    for outcome in outcomes:
        if outcome.error is not None:
            raise outcome.error
    return {outcome.case: outcome.output for outcome in outcomes}


def _held_out_cases(job: TrainingJob) -> frozenset[str]:
    path = job.dataset.preprocessed_folder / SPLITS_FILE
    return validation_cases(path, int(job.fold), hint="compare again, in an empty folder")


def _score(job: TrainingJob, predictions: Mapping[str, Path]) -> dict[str, Any]:
    """Return the scores of every test case, in the corrected form of the protocol if there is one."""
    from swin_umamba.evaluation import evaluate, evaluate_protocol
    from swin_umamba.evaluation.protocols import find_protocol

    ending = "" if job.protocol is None else find_protocol(job.protocol)().reference_ending
    references = {image_stem(path).removesuffix(ending): path for path in list_images(job.references)}
    check_references(predictions.keys(), references, job.references)
    classes = LabelClasses.from_dataset_json(job.dataset.raw_folder / "dataset.json")
    scores = {}
    for case, path in progress(sorted(predictions.items()), "scoring"):
        files = CaseFiles(case, path, references[case])
        if job.protocol is None:
            found = evaluate.evaluate_case(files, classes, job.tolerance)
            scores[case] = plain_scores(found.classes)
        else:
            forms = evaluate_protocol.evaluate_case(files, find_protocol(job.protocol)(), ("corrected",))
            scores[case] = plain_scores(forms["corrected"].scores)
    return scores


def check_references(cases: Sequence[str] | Any, references: Mapping[str, Path], folder: Path) -> None:
    """Raise ``DataError`` naming the cases that cannot be scored."""
    missing = sorted(set(cases) - references.keys())
    if missing:
        raise DataError(
            f"{len(missing)} test cases have no label map: {', '.join(missing)}",
            where=folder,
            hint="add them, or remove the images",
        )
