"""Calibrate a trained model on cases it has not seen.

Temperature scaling (Guo et al. 2017) divides all logits by one number, chosen to maximise the likelihood of
labelled cases. Labels do not change; probabilities come to match how often they are right. Likewise, one
exponent maps the agreement of mirrored images to the true Dice of the cases.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from swin_umamba.confidence.case_quality import (
    CaseAgreement,
    EstimatedCase,
    estimated_cases,
    quality_exponent,
)
from swin_umamba.confidence.labelled_pixels import (
    CalibrationCurves,
    LabelledPixels,
    calibration_curves,
    draw_pixels,
    temperature_of,
)
from swin_umamba.confidence.temperature import HIGHEST_TEMPERATURE, LOWEST_TEMPERATURE, Reliability
from swin_umamba.data.image_io import image_stem, list_images, on_grid_of, read_labels
from swin_umamba.errors import DataError, UsageError
from swin_umamba.evaluation.cases import check_declared
from swin_umamba.evaluation.classes import LabelClasses
from swin_umamba.evaluation.metrics import dice
from swin_umamba.evaluation.results import none_for_nan
from swin_umamba.files import check_output_folder
from swin_umamba.inference.cases import Case, find_cases
from swin_umamba.inference.decoding_fit import DecodingScore, decoding_fit
from swin_umamba.inference.prediction import Prediction
from swin_umamba.inference.predictor import Predictor
from swin_umamba.nnunet.environment import Folders
from swin_umamba.nnunet.preprocessed import preprocessed_name
from swin_umamba.nnunet.resume.same_experiment import validates_on
from swin_umamba.nnunet.splits import SPLITS_FILE, validation_cases
from swin_umamba.progress import progress
from swin_umamba.pseudonyms import shown
from swin_umamba.trained.calibration_file import FoldCalibration, write_calibration
from swin_umamba.trained.model_files import MODEL_FILE_SUFFIX
from swin_umamba.trained.model_plans import ModelPlans
from swin_umamba.weights.checkpoint import load_checkpoint

logger = logging.getLogger(__name__)

# Pixels sampled for the fit: enough to keep its error far below what matters, few enough for memory.
PIXELS_OF_A_CASE = 100_000
PIXELS_OF_ALL = 2_000_000


@dataclass(frozen=True)
class CalibrationResult:
    """Result of a calibration.

    Attributes
    ----------
    calibration
        Temperature, above 1 if the model was overconfident, and exponent, above 1 if its members agree with
        each other better than with the truth.
    curves
        Reliability before and after.
    cases
        Estimated and true Dice of the cases where both are known.
    failures
        Cases that could not be used, and why.
    file
        File the calibration was written to.
    decodings
        Scores of all decodings that were tried, best first; empty without objects.
    """

    calibration: FoldCalibration
    curves: CalibrationCurves
    cases: tuple[EstimatedCase, ...]
    failures: tuple[tuple[str, str], ...]
    file: Path
    decodings: tuple[DecodingScore, ...] = ()


def calibrate(
    predictor: Predictor,
    *,
    images: str | Path | None = None,
    references: str | Path | None = None,
    instances: str | Path | None = None,
) -> CalibrationResult:
    """Find the temperature and exponent of one fold of a model and write them beside its checkpoint.

    For an object model, which has a boundary class, also find the best way to turn its classes into objects.

    Parameters
    ----------
    predictor
        Predictor of one fold of a model folder, with the options it will be used with.
    images, references
        Folders of labelled cases the fold was not trained on. By default the validation cases of the fold, if
        nnU-Net's folders exist.
    instances
        Folder of the true instance maps of these cases; by default ``instancesTr`` beside ``labelsTr``.

    Raises
    ------
    UsageError
        If the predictor does not have exactly one fold, or there are no cases it was not trained on.
    DataError
        If no case can be used.
    OutputError
        If the checkpoint's folder is not writable; nothing is predicted then.
    """
    _check_model(predictor)
    plans, checkpoint = predictor.plans, predictor.model.checkpoints[0]
    if (images is None) != (references is None):
        raise UsageError(
            "labelled cases need both folders", where="--images, --references", hint="give both or neither"
        )
    check_output_folder(checkpoint.parent)  # before hours of predictions
    wanted = None
    if images is None or references is None:
        images, references, wanted = _validation_cases(checkpoint)
    pairs = _labelled(find_cases(images, len(plans.channel_names)), Path(references), wanted)
    drawn, agreements, failures = [], [], []
    fit = decoding_fit(predictor.labels, Path(references), instances)
    wants_depth = fit is not None and predictor.knows_depth
    budget = min(PIXELS_OF_A_CASE, max(1, PIXELS_OF_ALL // len(pairs)))
    for number, (case, reference) in enumerate(progress(pairs, "calibrating", total=len(pairs))):
        try:
            prediction = predictor.predict(
                case.files, probabilities=True, confidence=True, instances=wants_depth
            )
            truth = _truth(reference, prediction, plans)
        except DataError as error:
            logger.warning("case %s is left out: %s", case.shown, error)
            failures.append((case.shown, str(error)))
            continue
        agreements.append(_agreement(case.shown, prediction, truth, plans))
        drawn.append(_draw(prediction, truth, plans, budget, number))
        if fit is not None:
            fit.add(case.name, prediction.labels, prediction.depth)
    drawn = [each for each in drawn if each.near_structure.size]
    if not drawn:
        raise DataError(
            "no case could be used for the calibration", where=images, hint="see the messages above"
        )
    decodings = () if fit is None else fit.scores()
    best = decodings[0].decoding if decodings else None
    calibration = FoldCalibration(temperature_of(drawn), quality_exponent(agreements), best)
    curves, estimated = calibration_curves(drawn), estimated_cases(agreements)
    if not LOWEST_TEMPERATURE * 1.01 < calibration.temperature < HIGHEST_TEMPERATURE / 1.01:
        logger.warning(
            "the temperature is at the end of its range, %.2g: check that the labels belong to the images",
            calibration.temperature,
        )
    file = write_calibration(
        checkpoint,
        predictor.model.parameters[0],
        calibration,
        {
            "mirroring": predictor.mirroring,
            "pixels": sum(each.near_structure.size for each in drawn),
            "reliability": {each.name: _as_json(getattr(curves, each.name)) for each in fields(curves)},
            "cases": [asdict(each) for each in estimated],
            "decodings": [each.as_dict() for each in decodings],
        },
    )
    return CalibrationResult(calibration, curves, tuple(estimated), tuple(failures), file, decodings)


def _check_model(predictor: Predictor) -> None:
    if predictor.model.path.suffix == MODEL_FILE_SUFFIX:
        raise UsageError(
            "an exported model is not calibrated by itself",
            where=predictor.model.path,
            hint="calibrate the model folder that it was made of, and export it again",
        )
    if len(predictor.model.checkpoints) != 1:
        raise UsageError("folds are calibrated one by one", where=predictor.model.path, hint="name one fold")


def _validation_cases(checkpoint: Path) -> tuple[Path, Path, frozenset[str]]:
    """Return folders of images and labels, and the cases there that the fold was validated on."""
    hint = "give labelled cases that it has not been trained on with --images and --references"
    fold = checkpoint.resolve().parent
    number = fold.name.removeprefix("fold_")
    if not number.isdecimal():
        raise UsageError(
            f"{fold.name} has no cases of its own that it was not trained on", where=fold, hint=hint
        )
    model = fold.parent
    for folders in Folders.of_model(model):
        raw = folders.raw / model.parent.name
        splits = folders.preprocessed / model.parent.name / SPLITS_FILE
        if not (splits.is_file() and (raw / "imagesTr").is_dir() and (raw / "labelsTr").is_dir()):
            continue
        names = validation_cases(splits, int(number), error=UsageError, hint=hint)
        if not validates_on(load_checkpoint(checkpoint), names):
            raise UsageError(
                f"the splits have changed since {fold.name} was trained: it may have been trained on its "
                "validation cases of today",
                where=splits,
                hint=f"bring back the splits of the training, or {hint}",
            )
        return raw / "imagesTr", raw / "labelsTr", names
    raise UsageError(
        "the raw data set and splits_final.json of this model are not there",
        where=model,
        hint=f"set nnU-Net's folders, or {hint}",
    )


def _labelled(
    cases: Sequence[Case], references: Path, wanted: frozenset[str] | None
) -> list[tuple[Case, Path]]:
    """Return the cases with their label maps; every wanted case must have one."""
    files = {image_stem(path): path for path in list_images(references)}
    chosen = [
        case
        for case in cases
        if case.name in files and (wanted is None or preprocessed_name(case.name) in wanted)
    ]
    absent = sorted((wanted or frozenset()) - {preprocessed_name(case.name) for case in chosen})
    if absent or not chosen:
        raise DataError(
            f"no image and label map of {', '.join(map(shown, absent[:5])) or 'any case'}",
            where=references,
            hint="label maps have the names of the images, without channel numbers",
        )
    return [(case, files[case.name]) for case in chosen]


def _truth(reference: Path, prediction: Prediction, plans: ModelPlans) -> np.ndarray:
    """Read the true labels of a case on the grid of its prediction."""
    assert prediction.image is not None
    labels = on_grid_of(prediction.image, read_labels(reference))
    check_declared(labels.data, LabelClasses(plans.classes, plans.ignore).declared, reference)
    channel: np.ndarray = labels.data[0]
    return channel


def _agreement(name: str, prediction: Prediction, truth: np.ndarray, plans: ModelPlans) -> CaseAgreement:
    known = truth != (-1 if plans.ignore is None else plans.ignore)
    scores = {
        each: dice(np.isin(prediction.labels, values) & known, np.isin(truth, values))
        for each, values in plans.classes.items()
    }
    assert prediction.confidence is not None
    return CaseAgreement(
        name,
        prediction.confidence.class_agreement,
        {each: none_for_nan(score) for each, score in scores.items()},
    )


def _draw(
    prediction: Prediction, truth: np.ndarray, plans: ModelPlans, number: int, seed: int
) -> LabelledPixels:
    assert prediction.probabilities is not None
    return draw_pixels(
        prediction.probabilities,
        truth,
        plans.classes,
        regions=plans.has_regions,
        ignore=plans.ignore,
        number=number,
        random=np.random.default_rng(seed),
    )


def _as_json(curve: Reliability) -> dict[str, Any]:
    return {
        "expected_calibration_error": none_for_nan(curve.expected_calibration_error),
        "counts": curve.counts.tolist(),
        "confidence": [none_for_nan(value) for value in curve.confidence.tolist()],
        "accuracy": [none_for_nan(value) for value in curve.accuracy.tolist()],
    }
