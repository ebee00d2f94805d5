"""Several folds at a time, each in a process of its own that takes the next one when it is done."""

from __future__ import annotations

import logging
import os
from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from swin_umamba.child import Child, first_done, stop_all
from swin_umamba.distributed.processes import num_started
from swin_umamba.errors import SwinUMambaError, TrainingError, UsageError
from swin_umamba.interrupt import terminate_as_interrupt
from swin_umamba.nnunet.environment import Dataset, environment_variable
from swin_umamba.nnunet.splits import SPLITS_FILE, keep_splits_in_step
from swin_umamba.nnunet.training.devices import resolve_devices
from swin_umamba.nnunet.training.options import TrainRequest
from swin_umamba.nnunet.training.train import TrainResult, read_planned, train
from swin_umamba.torch_settings import THREADS, processors, threads_for

logger = logging.getLogger(__name__)

LOADERS = "nnUNet_n_proc_DA"
"""Variable of nnU-Net's processes for augmentation."""


def places_for(request: TrainRequest) -> tuple[str | None, ...]:
    """Return the device of each fold that is trained at the same time; none if one follows the other.

    A device is None where the option ``device`` of the fold says it.

    Raises
    ------
    BackendError
        If this machine has no such devices.
    UsageError
        If torchrun has started this process: each of its processes would train all folds.
    """
    if request.devices is None and request.folds_parallel is None:
        return ()
    if num_started() > 1:
        raise UsageError(
            "torchrun has started this command, which starts a process for each fold itself",
            where="--devices" if request.devices is not None else "--folds-parallel",
            hint="give the command without torchrun, or one fold with it",
        )
    if request.devices is not None:
        return tuple(str(device) for device in resolve_devices(request.devices, request.device))
    return (None,) * (request.folds_parallel or 0)


def train_in_parallel(
    dataset: Dataset,
    model: Path,
    jobs: Mapping[int, Mapping[str, Any]],
    places: Sequence[str | None],
    request: TrainRequest,
) -> dict[int, TrainResult]:
    """Train folds, as many at a time as there are places.

    The cores of the machine are divided among them: threads by ``OMP_NUM_THREADS``, processes for
    augmentation by ``workers``, unless the user has set these.

    Parameters
    ----------
    dataset, model
        Planned data set, and the folder of the folds.
    jobs
        Options of ``train`` for each fold.
    places
        Device of each process, see ``places_for``; the next fold goes to the first one that is free.
    request
        All options.

    Raises
    ------
    TrainingError
        If a fold fails, or its process is killed; after the others are trained.
    KeyboardInterrupt
        After Ctrl-C or SIGTERM, once all have saved their states.
    """
    waiting, free = list(jobs), list(places)
    running: dict[int, tuple[Child[TrainResult], str | None]] = {}
    results: dict[int, TrainResult] = {}
    failures: dict[int, SwinUMambaError] = {}
    threads, loaders = _shares(min(len(places), len(jobs)))
    with (
        terminate_as_interrupt(),
        environment_variable(THREADS, threads),
        environment_variable(LOADERS, loaders),
        ExitStack() as stack,
    ):
        stack.callback(lambda: stop_all([child for child, _ in running.values()]))
        while waiting or running:
            while waiting and free:
                fold, place = waiting.pop(0), free.pop(0)
                options = {**jobs[fold], "fold": fold} | ({} if place is None else {"device": place})
                child = Child(f"fold {fold}", _train, dataset, options, threads)
                running[fold] = (child, place)
                child.start()
                logger.info(
                    "fold %d begins%s; %d more to come", fold, f" on {place}" if place else "", len(waiting)
                )
            ended = first_done([child for child, _ in running.values()])
            for fold in [fold for fold, (child, _) in running.items() if child in ended]:
                child, place = running[fold]
                try:
                    results[fold] = child.result()
                    logger.info("fold %d is done", fold)
                except SwinUMambaError as error:
                    failures[fold] = error
                    logger.error("fold %d failed: %s", fold, error)
                del running[fold]
                free.append(place)
    if failures:
        raise _what_is_missing(failures, jobs, model)
    return results


def _what_is_missing(
    failures: Mapping[int, SwinUMambaError], jobs: Mapping[int, Any], model: Path
) -> SwinUMambaError:
    """Return the error about the folds that have failed: the error itself if all failed for one reason."""
    reasons = {str(error) for error in failures.values()}
    if len(reasons) == 1 and len(failures) == len(jobs) > 1:
        return next(iter(failures.values()))
    told = "; ".join(f"fold {fold}: {failures[fold].what}" for fold in sorted(failures))
    return TrainingError(
        f"{len(failures)} of {len(jobs)} folds are missing: {told}",
        where=model,
        hint="mend what failed, then give the same command with --continue: it trains what is missing",
    )


def _shares(processes: int) -> tuple[int | None, int | None]:
    """Return the threads and the loaders of each of several processes; None for what the user has set."""
    from nnunetv2.utilities.default_n_proc_DA import get_allowed_n_proc_DA

    share = max(1, processors() // processes)
    loaders = None if LOADERS in os.environ else min(share, get_allowed_n_proc_DA())
    return threads_for(processes), loaders


def write_what_all_read(dataset: Dataset, folds: Collection[int], model: Path, request: TrainRequest) -> None:
    """Write the splits, and unpack the data: of two processes one would read what the other is writing.

    Raises
    ------
    UsageError
        If the splits lack one of the folds.
    TrainingError, DataError
        If the data are not planned, or the splits are damaged or of other cases.
    """
    from nnunetv2.training.dataloading.nnunet_dataset import infer_dataset_class

    dataset.folders.export()
    plans, _ = read_planned(dataset, request.plans_name)
    identifier = plans["configurations"][request.configuration]["data_identifier"]
    folder = dataset.preprocessed_folder / identifier
    kind = infer_dataset_class(str(folder))
    splits, cases = dataset.preprocessed_folder / SPLITS_FILE, kind.get_identifiers(str(folder))
    keep_splits_in_step(splits, cases, model, folds)
    kind.unpack_dataset(str(folder), overwrite_existing=False, num_processes=1, verify=True)


def _train(dataset: Dataset, options: Mapping[str, Any], threads: int | None) -> TrainResult:
    """Train a fold in its own process."""
    import torch

    if threads is not None:
        torch.set_num_threads(threads)
    return train(dataset, **options)
