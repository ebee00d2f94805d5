"""Scores a folder of predictions by the protocol of one of the paper's experiments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from swin_umamba.data.image_io import Image, on_one_grid, read_labels
from swin_umamba.errors import DataError, UsageError
from swin_umamba.evaluation.cases import CaseFiles, Missing, check_declared, evaluate_cases, pair_up
from swin_umamba.evaluation.protocol_results import FormScores, ProtocolEvaluation
from swin_umamba.evaluation.protocols.base import FORMS, Form, PaperProtocol, ProtocolScores


def evaluate_protocol(
    predictions: str | Path,
    references: str | Path,
    protocol: PaperProtocol,
    *,
    forms: Sequence[Form] = FORMS,
    missing: Missing = "error",
    num_workers: int = 1,
) -> ProtocolEvaluation:
    """Score every case as published, corrected, or both.

    Parameters
    ----------
    predictions, references
        Folders of label maps (or one file each); instance maps as references of the microscopy.
    protocol
        Protocol such as ``Endoscopy()``, see :mod:`swin_umamba.evaluation.protocols`.
    forms
        Forms to compute.
    missing
        Treatment of references without a prediction: refuse them, or give them the worst score (as published:
        leave them out).
    num_workers
        Number of parallel processes.

    Returns
    -------
    ProtocolEvaluation
        The scores, with a failure for each case that is damaged or inconsistent.

    Raises
    ------
    UsageError
        If ``forms`` is empty or ``num_workers`` out of range.
    DataError
        If a folder is empty, two files belong to the same case, or predictions are missing (all are listed).
    """
    if not forms or num_workers < 1:
        raise UsageError(f"forms must not be empty and num_workers at least 1, not {forms} and {num_workers}")
    ending = protocol.reference_ending
    files, extra = pair_up(predictions, references, missing=missing, reference_ending=ending)
    work = partial(evaluate_case, protocol=protocol, forms=tuple(forms))
    scored, failures = evaluate_cases(work, files, num_workers=num_workers)
    return ProtocolEvaluation(
        protocol=protocol.name,
        rules=protocol.rules,
        forms={
            form: FormScores(
                protocol.metrics[form],
                protocol.class_names,
                {case: outcome[form] for case, outcome in scored.items() if form in outcome},
            )
            for form in forms
        },
        missing=tuple(each.case for each in files if each.prediction is None),
        failures=failures,
        extra=extra,
    )


def evaluate_case(
    files: CaseFiles, protocol: PaperProtocol, forms: Sequence[Form]
) -> Mapping[Form, ProtocolScores]:
    """Score one case in each form; a missing prediction is scored as empty, in the corrected form only.

    Raises
    ------
    GeometryError
        If prediction and reference lie on different grids.
    DataError
        If a file is damaged, or not of the kind that the protocol scores.
    """
    truth = _read(files.reference, protocol, protocol.reference_values)
    if files.prediction is None:
        reference = truth.data[0]
        if "corrected" not in forms:
            return {}
        empty = np.zeros(reference.shape, np.uint8)
        return {"corrected": protocol.corrected(empty, reference, truth.spacing)}
    predicted = _read(files.prediction, protocol, protocol.prediction_values)
    predicted, truth = on_one_grid(predicted, truth)
    reference = truth.data[0]
    score = {"as-published": protocol.as_published, "corrected": protocol.corrected}
    return {form: score[form](predicted.data[0], reference, truth.spacing) for form in forms}


def _read(path: Path, protocol: PaperProtocol, values: frozenset[int] | None) -> Image:
    image = read_labels(path)
    if len(image.spatial_shape) != protocol.ndim:
        raise DataError(
            f"the protocol {protocol.name} scores label maps of {protocol.ndim} axes, "
            f"not of {len(image.spatial_shape)}",
            where=path,
        )
    if values is not None:
        check_declared(image.data[0], values, path)
    return image
