"""Cases of a folder predicted by several processes, or by the workers of a Dask cluster."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from swin_umamba.errors import OutputError, SwinUMambaError
from swin_umamba.inference.case_result import CaseResult
from swin_umamba.inference.case_run import result_of
from swin_umamba.inference.case_work import CaseWork
from swin_umamba.inference.cases import Case
from swin_umamba.inference.options import FolderOptions
from swin_umamba.inference.parts import Part, claim_of, records_for
from swin_umamba.inference.processes import MakeWork, run_in_processes
from swin_umamba.lock import HeldByAnother
from swin_umamba.progress import passing_bar
from swin_umamba.pseudonyms import Pseudonyms, current, in_use

if TYPE_CHECKING:
    from swin_umamba.inference.predictor import Predictor

logger = logging.getLogger(__name__)

_Outcome = tuple["_Task", CaseResult | SwinUMambaError | None]


@dataclass(frozen=True)
class _Task:
    case: Case
    path: Path

    def __str__(self) -> str:
        return f"case {self.case.shown}"


def predict_by_workers(work: Sequence[CaseWork], part: Part | None) -> dict[Path, CaseResult]:
    """Predict cases that are not in blocks with the workers that the options ask for.

    Parameters
    ----------
    work
        Cases of one folder, with its records.
    part
        The part that they are.

    Returns
    -------
    dict
        What became of them, by label map; without those that other commands predict, and empty if one process
        is to do everything.

    Raises
    ------
    OutputError
        If a result cannot be written, since all that follow would fail, too.
    """
    cases = {_Task(each.case, each.path): each for each in work if not each.case.in_blocks}
    if len(cases) < 2:
        return {}
    first = work[0]
    if first.options.merge or (first.options.workers < 2 and first.options.scheduler is None):
        return {}
    first.path.parent.mkdir(parents=True, exist_ok=True)
    found: dict[Path, CaseResult] = {}
    with passing_bar("predicting", total=len(cases), unit="case") as bar:
        for task, outcome in _outcomes(list(cases), first, part):
            bar.update(1)
            if isinstance(outcome, OutputError):
                raise outcome
            if isinstance(outcome, SwinUMambaError):
                found[task.path] = cases[task].failed(outcome)
            elif outcome is not None:
                found[task.path] = outcome
    return found


def _outcomes(tasks: Sequence[_Task], first: CaseWork, part: Part | None) -> Iterator[_Outcome]:
    predictor, options = first.predictor, first.options
    here = replace(options, workers=1, scheduler=None)

    def make(number: int) -> MakeWork[_Task, CaseResult | None]:
        return partial(
            _case_work, predictor.in_another_process(number), first.path.parent, here, part, current()
        )

    if options.scheduler is None:
        return run_in_processes(make, tasks, min(options.workers, len(tasks)))
    from swin_umamba.inference.cluster import run_on_cluster

    # Its records are those of this run, so that a worker does not go on with those of an earlier one.
    return run_on_cluster(make(0), tasks, uuid4().hex, options.scheduler, options.workers)


def _case_work(
    make: Callable[[], Predictor],
    folder: Path,
    options: FolderOptions,
    part: Part | None,
    pseudonyms: Pseudonyms | None,
) -> Callable[[_Task], CaseResult | None]:
    """Return what predicts a case in another process; None of a case that another command predicts."""
    predictor, records = make(), records_for(folder, part)

    def work(task: _Task) -> CaseResult | None:
        try:
            with in_use(pseudonyms), claim_of(task.path).held():
                return result_of(CaseWork(predictor, task.case, task.path, options, records))
        except HeldByAnother:
            return None

    return work
