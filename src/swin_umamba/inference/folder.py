"""Segment many images, each on its own, so that one bad file costs only one result."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from swin_umamba.errors import UsageError
from swin_umamba.files import check_output_folder
from swin_umamba.inference.blocks.inputs import goes_in_blocks
from swin_umamba.inference.case_result import CaseResult
from swin_umamba.inference.case_run import recorded_result, result_of
from swin_umamba.inference.case_work import CaseWork
from swin_umamba.inference.case_workers import predict_by_workers
from swin_umamba.inference.cases import Case, find_cases, output_paths
from swin_umamba.inference.ensemble_files import describe_for_ensemble
from swin_umamba.inference.objects import write_all_objects
from swin_umamba.inference.options import FolderOptions
from swin_umamba.inference.parts import (
    Part,
    drop_claims_of_the_dead,
    merge_if_all_are_done,
    merge_parts,
    parse_part,
    records_for,
)
from swin_umamba.inference.pipeline import predict_overlapping
from swin_umamba.inference.records import PredictionRecords, removal_told
from swin_umamba.inference.segmentation_files import SUFFIX, check_segmentations
from swin_umamba.inference.studies.choice import StudyList, list_studies
from swin_umamba.inference.studies.manifest import write_manifest
from swin_umamba.instances.decoding import ObjectClasses

if TYPE_CHECKING:
    from swin_umamba.inference.predictor import Predictor

logger = logging.getLogger(__name__)


def predict_folder(
    predictor: Predictor,
    inputs: str | Path | Sequence[str | Path],
    output: str | Path,
    options: FolderOptions,
) -> list[CaseResult]:
    """Segment all images of a folder and write their label maps.

    A record of every case, ``predictions.jsonl``, goes into a folder of results; see ``inference.records``.
    Several processes that are given the same folders share the cases: see ``inference.parts``.

    Parameters
    ----------
    predictor
        The model.
    inputs
        A folder, a file or several files; see ``find_cases`` for how files are grouped into cases.
    output
        Folder for the label maps; for a single case also a file name. See ``output_paths``. Existing results
        are kept if they are finished, see ``inference.finished``.
    options
        Options of the prediction, among them what else to write.

    Returns
    -------
    list of CaseResult
        One per case, or per case of the part, ordered by name. A case that fails does not stop the others.

    Raises
    ------
    DataError
        If there are no images.
    UsageError
        If two cases would be written to one file, or a result over an input; nothing is written then. If the
        part does not exist, or another process predicts it.
    OutputError
        If a result cannot be written, since all that follow would fail, too.
    """
    if options.format is not None:
        check_segmentations(predictor, options)
    if options.with_objects:
        ObjectClasses.of(predictor.labels)  # refuse a model without objects before hours of prediction
    studies = list_studies(inputs, options) if options.with_studies else None
    cases = [
        replace(case, in_blocks=goes_in_blocks(case.files, options))
        for case in (
            find_cases(inputs, len(predictor.channel_names))
            if studies is None
            else studies.cases_for(predictor, Path(output))
        )
    ]
    ending = str(predictor.model.dataset_json.get("file_ending", ""))
    suffix = None if options.format is None else SUFFIX
    paths = output_paths(cases, output, ending, options, suffix)
    check_output_folder(paths[0].parent)
    part = None if options.part is None else parse_part(options.part)
    work = [CaseWork(predictor, case, path, options) for case, path in zip(cases, paths, strict=True)]
    if paths[0].parent == Path(output):
        return _predict_into(Path(output), work, part, studies)
    # A single file may go anywhere, and nobody expects a second one beside it.
    if part is not None or options.merge:
        raise UsageError("parts need a folder of results", where=output, hint="give a folder with -o")
    return [result_of(work[0])]


def _predict_into(
    folder: Path, work: Sequence[CaseWork], part: Part | None, studies: StudyList | None
) -> list[CaseResult]:
    """Predict all cases or those of a part, and write what belongs to the whole folder."""
    options, order = work[0].options, [each.case.shown for each in work]
    for file in merge_parts(folder, order) if part is None else ():
        logger.warning("%s is not joined yet: a process is predicting this part", folder / file)
    with part.held(folder) if part is not None else nullcontext():
        records = records_for(folder, part)
        _refuse_names([each.case for each in work], records)
        chosen, divides = (
            (work, False) if part is None else part.of_cases(work, lambda each: each.case.in_blocks)
        )
        chosen = [replace(each, records=records, part=part if divides else None) for each in chosen]
        with removal_told(folder):
            done = predict_by_workers(chosen, part)
            left = [each for each in chosen if each.path not in done]
            found = predict_overlapping(left) if left else []
            records.tidy(order)
        done |= {each.path: result for each, result in zip(left, found, strict=True)}
        results = [done[each.path] for each in chosen]
        drop_claims_of_the_dead(folder, (each.claimed for each in chosen))
    if part is None or merge_if_all_are_done(folder, order):
        if studies is not None:
            write_manifest(folder, studies, _results_of_all(work, results, folder), work[0].predictor)
        if options.with_objects:
            write_all_objects(folder, [each.path for each in work])
        if options.probabilities:
            describe_for_ensemble(work[0].path, work[0].predictor.plans)
    return results


def _results_of_all(
    work: Sequence[CaseWork], results: Sequence[CaseResult], folder: Path
) -> list[CaseResult]:
    """Return results, and those of other parts as the records of the folder tell them."""
    records, found = PredictionRecords(folder), {result.output: result for result in results}
    told = [found.get(each.path) or recorded_result(replace(each, records=records)) for each in work]
    return [each for each in told if each is not None]


def _refuse_names(cases: Sequence[Case], records: PredictionRecords) -> None:
    """Refuse a folder whose record names cases that are to get pseudonyms."""
    if any(case.shown != case.name and case.name in records.of_case for case in cases):
        raise UsageError(
            "the folder holds results of these cases under their names",
            where=records.path,
            hint="give another output folder, or leave out --anonymous",
        )
