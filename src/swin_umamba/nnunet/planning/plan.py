"""The first step of working with nnU-Net: check, plan and preprocess a data set."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swin_umamba.errors import UsageError
from swin_umamba.files import check_output_folder
from swin_umamba.nnunet.environment import PLANS_NAME, Dataset, environment_variable
from swin_umamba.nnunet.stdout import stdout_to_log
from swin_umamba.nnunet.training.options import check_patch_size
from swin_umamba.options import Nonfinite

DEFAULT_WORKERS = 2


@dataclass(frozen=True)
class PlanResult:
    """Results of ``plan``.

    Attributes
    ----------
    plans_file
        The plans.
    preprocessed_folder
        The preprocessed cases.
    num_cases
        Number of cases.
    patch_size
        (height, width) in pixels.
    batch_size
        Number of patches per step.
    """

    plans_file: Path
    preprocessed_folder: Path
    num_cases: int
    patch_size: tuple[int, int]
    batch_size: int


def plan(
    dataset: Dataset,
    *,
    patch_size: tuple[int, int] | None = None,
    batch_size: int | None = None,
    plans_name: str = PLANS_NAME,
    workers: int | None = None,
    nonfinite: Nonfinite = "refuse",
) -> PlanResult:
    """Check a raw data set, decide on patch and batch size, and preprocess it.

    Parameters
    ----------
    dataset
        Data set, from ``find_dataset``.
    patch_size
        (height, width) in pixels, multiples of 32; by default the rule of the paper's plans.
    batch_size
        Patches per step; by default by the same rule.
    plans_name
        Name of the plans file.
    workers
        Number of processes; by default two, but not more than there are processors.
    nonfinite
        Treatment of NaN and infinite voxels: refuse the image, or read them as zero.

    Raises
    ------
    DataError
        If there is a problem with the data; then nothing is written.
    UsageError
        If an option is impossible.
    OutputError
        If the preprocessed folder cannot be written to.
    """
    from swin_umamba.nnunet.planning.integrity import check_dataset

    if batch_size is not None and batch_size < 1:
        raise UsageError(f"batch size is {batch_size}", hint="give a whole number of at least 1")
    if workers is not None and workers < 0:
        raise UsageError(f"workers is {workers}", hint="give 0 or more")
    if patch_size is not None:
        check_patch_size(patch_size)
    check_output_folder(dataset.preprocessed_folder)
    cases = check_dataset(dataset, nonfinite)
    dataset.folders.export()
    workers = min(DEFAULT_WORKERS, os.cpu_count() or 1) if workers is None else workers
    # nnU-Net's planner uses the number of augmentation processes as a number of threads, and fails if it is
    # 0.
    with stdout_to_log(), environment_variable("nnUNet_n_proc_DA", 1):
        from swin_umamba.nnunet.planning.preprocessing import extract_fingerprint, preprocess

        extract_fingerprint(dataset, cases, workers, nonfinite)
        plans = _make_plans(dataset, [case.name for case in cases], plans_name, patch_size, batch_size)
        folder = preprocess(dataset, cases, plans_name, workers, nonfinite)
    configuration = plans["configurations"]["2d"]
    height, width = configuration["patch_size"]
    return PlanResult(
        plans_file=dataset.preprocessed_folder / f"{plans_name}.json",
        preprocessed_folder=folder,
        num_cases=len(cases),
        patch_size=(height, width),
        batch_size=configuration["batch_size"],
    )


def _make_plans(
    dataset: Dataset,
    cases: list[str],
    plans_name: str,
    patch_size: tuple[int, int] | None,
    batch_size: int | None,
) -> dict[str, Any]:
    from swin_umamba.nnunet.planning.planner import SwinUMambaPlanner

    # nnU-Net copies dataset.json with its permissions; a read-only one could not be overwritten.
    (dataset.preprocessed_folder / "dataset.json").unlink(missing_ok=True)
    planner = SwinUMambaPlanner(
        dataset.name, cases=cases, patch_size=patch_size, batch_size=batch_size, plans_name=plans_name
    )
    plans: dict[str, Any] = planner.plan_experiment()
    return plans
