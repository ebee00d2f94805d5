"""``studies.csv`` and ``studies.json``: what became of each series of a tree of DICOM studies, and why."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from swin_umamba import __version__
from swin_umamba.csv_files import write_csv
from swin_umamba.data.image_io import read_labels
from swin_umamba.errors import DataError, SwinUMambaError
from swin_umamba.evaluation.statistics import class_volumes_ml
from swin_umamba.exchange.segmentation import Kind
from swin_umamba.inference.segmentation_files import SUFFIX, recorded_volumes
from swin_umamba.inference.studies.choice import ListedSeries, StudyList
from swin_umamba.json_files import write_contract
from swin_umamba.pseudonyms import current, hidden, shown_uid

if TYPE_CHECKING:
    from swin_umamba.inference.case_result import CaseResult
    from swin_umamba.inference.predictor import Predictor

logger = logging.getLogger(__name__)

TABLE_FILE, MANIFEST_FILE = "studies.csv", "studies.json"
_MODALITY = re.compile(r"[A-Z0-9]{2,3}")
_COLUMNS = (
    "case",
    "status",
    "reason",
    "hint",
    "result",
    "patient",
    "study",
    "study_uid",
    "series_uid",
    "number",
    "modality",
    "description",
    "images",
    "plane",
    "folder",
    "estimated_dice",
)


def manifest_of(
    studies: StudyList, results: Sequence[CaseResult] = (), predictor: Predictor | None = None
) -> dict[str, Any]:
    """Return the manifest of a tree.

    Parameters
    ----------
    studies
        Its series.
    results
        What became of those that were chosen. A chosen series without a result is ``chosen``.
    predictor
        The model; None if nothing has been predicted.
    """
    of_case = {result.case: result for result in results}
    root = studies.tree.root
    return {
        "input": hidden(str(root)),
        "patients": len(studies.tree.patients),
        "studies": len(studies.tree.studies),
        "series": [
            _described(each, studies) | _outcome(each, of_case.get(each.case.shown), predictor, studies.kind)
            for each in studies.series
        ],
        "other_files": dict(studies.tree.others),
        "problems": [_problem(error, root) for error in studies.tree.problems],
        "model": None if predictor is None else predictor.fingerprint,
        "swin_umamba": __version__,
    }


def write_manifest(
    folder: Path, studies: StudyList, results: Sequence[CaseResult], predictor: Predictor
) -> None:
    """Write the manifest of a tree into the folder of its results, as JSON and as a table.

    Raises
    ------
    OutputError
        If a file cannot be written.
    """
    content = manifest_of(studies, results, predictor)
    write_contract("studies", folder / MANIFEST_FILE, content)
    write_csv(folder / TABLE_FILE, _rows(content))


def _described(listed: ListedSeries, studies: StudyList) -> dict[str, Any]:
    """Return what is known of a series beforehand; with pseudonyms, no free text and no UID of its own."""
    found, series, tree = listed.found, listed.found.series, studies.tree
    free = current() is None
    is_plain = _MODALITY.fullmatch(series.modality) is not None
    return {
        "case": listed.case.shown,
        "patient": tree.patients[series.patient],
        "study": tree.studies[series.study],
        "study_uid": shown_uid(series.study) if series.study else None,
        "series_uid": shown_uid(series.uid) if series.uid else None,
        "number": series.number if free or series.number.isdecimal() else None,
        "modality": series.modality if free or is_plain else None,
        "description": series.description if free else None,
        "images": found.num_images,
        "plane": found.plane,
        "folder": found.folder.relative_to(tree.root).as_posix() if free else None,
    }


def _outcome(
    listed: ListedSeries, result: CaseResult | None, predictor: Predictor | None, kind: Kind | None
) -> dict[str, Any]:
    outcome: dict[str, Any] = {
        "status": "chosen",
        "reason": None,
        "hint": None,
        "result": None,
        "volumes_ml": None,
        "estimated_dice": None,
        "class_estimated_dice": None,
    }
    if listed.reason:
        return outcome | {"status": "left_out", "reason": listed.reason}
    if result is None:
        problem = listed.why_not(kind) if predictor is None else None
        return outcome if problem is None else outcome | {"status": "failed", **_said(problem)}
    outcome["status"] = result.status
    if result.error is not None:
        return outcome | _said(result.error)
    if result.status in ("written", "kept"):
        assert predictor is not None
        outcome |= {"result": result.output.name, "volumes_ml": _volumes(result.output, predictor)}
    if result.confidence is not None:
        outcome["estimated_dice"] = result.confidence.get("quality")
        outcome["class_estimated_dice"] = result.confidence.get("class_quality")
    return outcome


def _said(error: SwinUMambaError) -> dict[str, str | None]:
    parts = error.parts()
    return {"reason": parts["what"], "hint": parts["hint"]}


def _volumes(labels: Path, predictor: Predictor) -> dict[str, float] | None:
    """Return the volumes in a result, read from its file: a label map may have been corrected by hand."""
    try:
        if labels.name.endswith(SUFFIX):
            return recorded_volumes(labels)
        return class_volumes_ml(read_labels(labels), predictor.plans.classes)
    except DataError:
        logger.warning("%s: its volumes cannot be measured", labels)
        return None


def _problem(error: DataError, root: Path) -> dict[str, str | None]:
    parts = error.parts()
    path = parts["where"]
    if current() is None and error.where is not None and Path(error.where).is_relative_to(root):
        path = Path(error.where).relative_to(root).as_posix()
    return {"path": path, "reason": parts["what"], "hint": parts["hint"]}


def _rows(content: Mapping[str, Any]) -> Iterator[list[Any]]:
    series = content["series"]
    volumes = list(dict.fromkeys(name for each in series for name in each["volumes_ml"] or ()))
    dice = list(dict.fromkeys(name for each in series for name in each["class_estimated_dice"] or ()))
    yield [
        *_COLUMNS,
        *(f"volume_ml_{name}" for name in volumes),
        *(f"estimated_dice_{name}" for name in dice),
    ]
    for each in series:
        yield [
            *(each[column] for column in _COLUMNS),
            *((each["volumes_ml"] or {}).get(name) for name in volumes),
            *((each["class_estimated_dice"] or {}).get(name) for name in dice),
        ]
    for each in content["problems"]:
        row = dict.fromkeys(_COLUMNS) | {"status": "problem", "folder": each["path"]}
        row |= {"reason": each["reason"], "hint": each["hint"]}
        yield [*row.values(), *[None] * (len(volumes) + len(dice))]
