"""Segment many images: each on its own, so that one bad file costs one result."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from swin_umamba.data.image_io import image_stem, read_case, read_labels, write_labels, write_probabilities
from swin_umamba.errors import OutputError, SwinUMambaError
from swin_umamba.files import check_output_folder
from swin_umamba.inference.cases import Case, find_cases, output_paths
from swin_umamba.progress import progress
from swin_umamba.report.preview import write_preview

if TYPE_CHECKING:
    from swin_umamba.inference.predictor import Predictor

logger = logging.getLogger(__name__)

# A folder of their own: pictures among the label maps would be taken for label maps.
PREVIEWS = "previews"


@dataclass(frozen=True)
class CaseResult:
    """What became of one case.

    Attributes
    ----------
    case
        Its name.
    files
        Its image files.
    output
        The label file.
    status
        ``written``; ``kept``, if the label file was there before; or ``failed``.
    seconds
        Time taken.
    error
        Why it failed.
    """

    case: str
    files: tuple[Path, ...]
    output: Path
    status: Literal["written", "kept", "failed"]
    seconds: float = 0.0
    error: SwinUMambaError | None = None


def predict_folder(
    predictor: Predictor,
    inputs: str | Path | Sequence[str | Path],
    output: str | Path,
    *,
    probabilities: bool = False,
    preview: bool = False,
    overwrite: bool = False,
    nonfinite: Literal["refuse", "zero"] = "refuse",
) -> list[CaseResult]:
    """Segment all images of a folder and write their label maps.

    Parameters
    ----------
    predictor
        The model.
    inputs
        A folder, a file or several files; see ``find_cases`` for how files make cases.
    output
        Folder for the label maps; for a single case also a file name. See ``output_paths``.
    probabilities
        Write ``CASE.npz`` beside each label map, with the array ``probabilities``.
    preview
        Draw each label map over its image, as ``previews/CASE.png`` beside it.
    overwrite
        Predict cases anew whose results exist; they are kept by default.
    nonfinite
        Fail the cases with NaN or infinite voxels, or take those voxels for zero.

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
    pairs = list(zip(cases, paths, strict=True))
    return [
        _predict_case(predictor, case, path, probabilities, preview, overwrite, nonfinite)
        for case, path in progress(pairs, "predicting", total=len(pairs))
    ]


def _predict_case(
    predictor: Predictor,
    case: Case,
    path: Path,
    probabilities: bool,
    preview: bool,
    overwrite: bool,
    nonfinite: Literal["refuse", "zero"],
) -> CaseResult:
    probabilities_path = path.parent / f"{image_stem(path)}.npz"
    preview_path = path.parent / PREVIEWS / f"{image_stem(path)}.png"
    keep = not overwrite and path.exists() and (probabilities_path.exists() or not probabilities)
    if keep and (preview_path.exists() or not preview):
        return CaseResult(case.name, case.files, path, "kept")
    start = time.perf_counter()
    try:
        if keep:
            image = read_case(case.files, nonfinite=nonfinite)
            labels = read_labels(path).data[0]
        else:
            prediction = predictor.predict(case.files, probabilities=probabilities, nonfinite=nonfinite)
            assert prediction.image is not None
            image, labels = prediction.image, prediction.labels
            if prediction.probabilities is not None:
                write_probabilities(probabilities_path, prediction.probabilities)
            write_labels(path, labels, like=image)
        if preview:
            write_preview(preview_path, image.data, labels, spacing=image.spacing)
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
        return CaseResult(case.name, case.files, path, status, time.perf_counter() - start)
    return CaseResult(case.name, case.files, path, "failed", time.perf_counter() - start, failure)
