"""Segment many images: each on its own, so that one bad file costs one result."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from swin_umamba.data.formats import number_suffix
from swin_umamba.data.image_io import (
    Image,
    image_stem,
    read_case,
    read_labels,
    write_image,
    write_labels,
    write_probabilities,
)
from swin_umamba.errors import OutputError, SwinUMambaError
from swin_umamba.files import check_output_folder
from swin_umamba.inference.case_result import CaseResult, summary_of
from swin_umamba.inference.cases import Case, find_cases, output_paths
from swin_umamba.inference.options import FolderOptions
from swin_umamba.inference.records import PredictionRecords
from swin_umamba.progress import progress
from swin_umamba.report.preview import write_preview

if TYPE_CHECKING:
    from swin_umamba.inference.predictor import Prediction, Predictor

logger = logging.getLogger(__name__)

# Folders of their own: pictures among the label maps would be taken for label maps.
PREVIEWS = "previews"
ENTROPY = "entropy"


def predict_folder(
    predictor: Predictor,
    inputs: str | Path | Sequence[str | Path],
    output: str | Path,
    options: FolderOptions,
) -> list[CaseResult]:
    """Segment all images of a folder and write their label maps.

    A folder of results gets a record ``predictions.jsonl`` of every case; see ``inference.records``.

    Parameters
    ----------
    predictor
        The model.
    inputs
        A folder, a file or several files; see ``find_cases`` for how files make cases.
    output
        Folder for the label maps; for a single case also a file name. See ``output_paths``.
    options
        What else to write.

    Returns
    -------
    list of CaseResult
        One per case, in the order of their names. A case that fails does not stop the others.

    Raises
    ------
    DataError
        If there are no images.
    UsageError
        If two cases would be written to the same file, or a result over an input; nothing is written then.
    OutputError
        If a result cannot be written: it would be the same with all that follow.
    """
    cases = find_cases(inputs, len(predictor.channel_names))
    paths = output_paths(cases, output, str(predictor.model.dataset_json.get("file_ending", "")))
    check_output_folder(paths[0].parent)
    # A single file may lie anywhere; nobody expects a second one beside it.
    records = PredictionRecords(paths[0].parent) if paths[0].parent == Path(output) else None
    results = []
    for case, path in progress(list(zip(cases, paths, strict=True)), "predicting", total=len(cases)):
        result = _predict_case(predictor, case, path, options)
        if records is not None:
            if result.status == "kept":
                result = replace(result, confidence=records.confidence_of(case.name))
            else:
                records.add(result, predictor)
        results.append(result)
    return results


def _predict_case(predictor: Predictor, case: Case, path: Path, options: FolderOptions) -> CaseResult:
    wanted = {
        path: True,
        path.parent / f"{image_stem(path)}.npz": options.probabilities,
        entropy_path(path): options.confidence,
    }
    preview_path = path.parent / PREVIEWS / f"{image_stem(path)}.png"
    keep = not options.overwrite and all(file.exists() for file, needed in wanted.items() if needed)
    if keep and (preview_path.exists() or not options.preview):
        return CaseResult(case.name, case.files, path, "kept")
    start = time.perf_counter()
    confidence = None
    try:
        if keep:
            image = read_case(case.files, nonfinite=options.nonfinite, series=options.series)
            labels = read_labels(path).data[0]
        else:
            prediction = predictor.predict(
                case.files,
                probabilities=options.probabilities,
                confidence=options.confidence,
                nonfinite=options.nonfinite,
                series=options.series,
            )
            assert prediction.image is not None
            image, labels = prediction.image, prediction.labels
            confidence = _write(prediction, image, path)
        if options.preview:
            write_preview(preview_path, image, labels)
    except OutputError:
        raise
    except SwinUMambaError as error:
        failure = error
    except Exception as error:
        logger.debug("case %s", case.name, exc_info=True)
        failure = SwinUMambaError(
            f"unexpected {type(error).__name__}: {error}", where=case.files[0], cure="look at it with --debug"
        )
    else:
        status: Literal["written", "kept"] = "kept" if keep else "written"
        seconds = time.perf_counter() - start
        return CaseResult(case.name, case.files, path, status, seconds, confidence=confidence)
    return CaseResult(case.name, case.files, path, "failed", time.perf_counter() - start, failure)


def entropy_path(labels: Path) -> Path:
    """Return where the entropy of the prediction with the label map ``labels`` is written."""
    return labels.parent / ENTROPY / f"{image_stem(labels)}{number_suffix(labels)}"


def _write(prediction: Prediction, image: Image, path: Path) -> Mapping[str, Any] | None:
    """Write what a prediction holds, the label map last: a case with a label map is complete."""
    if prediction.probabilities is not None:
        write_probabilities(path.parent / f"{image_stem(path)}.npz", prediction.probabilities)
    if prediction.confidence is not None:
        write_image(entropy_path(path), image.with_data(prediction.confidence.entropy[None]))
    write_labels(path, prediction.labels, like=image)
    return None if prediction.confidence is None else summary_of(prediction.confidence)
