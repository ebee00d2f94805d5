"""Equal wall time: how many steps each network takes in it, by steps that are timed side by side.

A training that stops when a clock says so has other weights each time, and suffers from whatever else the
machine does meanwhile. So steps of all networks are timed in one process, in turns, and a budget of time
becomes a number of steps for each network, which its folder remembers.
"""

from __future__ import annotations

import logging
import statistics
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from swin_umamba.child import run_apart
from swin_umamba.compare.trainer import nnUNetTrainerComparison
from swin_umamba.json_files import read_contract, write_contract
from swin_umamba.nnunet.environment import Dataset, Folders
from swin_umamba.nnunet.resume.training_state import reproducibility
from swin_umamba.nnunet.stdout import stdout_to_log
from swin_umamba.nnunet.training.options import TrainRequest
from swin_umamba.nnunet.training.train import read_planned
from swin_umamba.ops.backend import current_device, resolve_device
from swin_umamba.ops.precision import rounding_of_float32
from swin_umamba.schema import Provenance, named, number, table

logger = logging.getLogger(__name__)

NetworkPlans = Mapping[str, dict[str, Any]]
"""Plans of networks by their names."""
STEP_TIMES_FILE = "step_times.json"
UNTIMED, TIMED = 2, 7
"""Steps of each network: the first ones compile kernels and fill caches."""

STEP_TIMES = table({"seconds": named(number(above=0))})
"""Name of a network to the seconds of a step, loading of its batch included."""

_HINT = "compare in another folder, or remove the file to measure again"


def step_times(
    path: Path, dataset: Dataset, plans: NetworkPlans, fold: int | str, device: str, workers: int
) -> dict[str, float]:
    """Return the seconds of a training step of each network, from a file or measured and stored there.

    Networks that the file lacks are timed beside those that it has, and scaled to these: the machine may be
    slower or faster today.

    Parameters
    ----------
    path
        The file.
    dataset
        Planned data set.
    plans
        Plans of each network by its name, of a training of ``UNTIMED + TIMED`` steps.
    fold, device
        As for training.
    workers
        Number of processes that augment data; with none, the time for it is part of a step.

    Raises
    ------
    DataError
        If the file is damaged.
    SwinUMambaError
        If a network cannot be trained.
    """
    known = read_step_times(path) if path.is_file() else {}
    if not plans.keys() <= known.keys():
        logger.info("timing steps of %s, side by side", ", ".join(plans))
        measured = run_apart("step times", _measure, dataset, plans, fold, device, workers)
        known = merged(known, measured)
        write_contract("step-times", path, {"seconds": known})
    return {name: known[name] for name in plans}


def read_step_times(path: Path) -> dict[str, float]:
    """Return the seconds of a step of each network in a file.

    Raises
    ------
    DataError
        If the file is damaged.
    """
    stored = read_contract(path, hint=_HINT)
    Provenance(path, _HINT).check(stored, STEP_TIMES)
    return dict(stored["seconds"])


def merged(known: Mapping[str, float], measured: Mapping[str, float]) -> dict[str, float]:
    """Add measured times to known ones, on the scale of the known ones.

    Examples
    --------
    >>> merged({"a": 1.0}, {"a": 2.0, "b": 3.0})
    {'a': 1.0, 'b': 1.5}
    """
    ratios = [known[name] / measured[name] for name in known.keys() & measured.keys()]
    scale = statistics.median(ratios) if ratios else 1.0
    return {name: seconds * scale for name, seconds in measured.items()} | dict(known)


def _measure(
    dataset: Dataset, plans: NetworkPlans, fold: int | str, device: str, workers: int
) -> dict[str, float]:
    place = resolve_device(device)
    request = TrainRequest(epochs=1, validation_iterations=1, seed=0, workers=0, device=device, fold=fold)
    with TemporaryDirectory() as results, ExitStack() as stack:
        folders = Folders(dataset.folders.raw, dataset.folders.preprocessed, Path(results))
        folders.export()
        for each in (stdout_to_log(), current_device(place), reproducibility(request.for_the_run(), place)):
            stack.enter_context(each)
        stack.enter_context(rounding_of_float32(place, "float32"))
        _, description = read_planned(dataset, request.plans_name)
        trainers = {}
        for name, own in plans.items():
            trainers[name] = _ready(own, description, request, place)
            stack.callback(trainers[name].record.close)
            stack.callback(trainers[name].close_data_loaders)
        for _ in range(UNTIMED + TIMED):
            for trainer in trainers.values():
                trainer.train_step(trainer.next_batch(trainer.dataloader_train))
        # All networks load the same batches. Of equal steps, those that took longer had to wait for others.
        loading = [seconds for trainer in trainers.values() for seconds in trainer.loading_seconds[UNTIMED:]]
        shared = 0.0 if workers else statistics.median(loading)
        return {name: shared + min(trainer.step_seconds[UNTIMED:]) for name, trainer in trainers.items()}


def _ready(
    plans: dict[str, Any], description: dict[str, Any], request: TrainRequest, device: torch.device
) -> nnUNetTrainerComparison:
    trainer = nnUNetTrainerComparison(plans, request.configuration, request.fold, description, device)
    trainer.configure(request.for_the_run())
    trainer.on_train_start()
    trainer.on_train_epoch_start()
    return trainer
