"""Fingerprint and preprocessing: nnU-Net's own computations on each case, in our own loop.

nnU-Net runs them in eight processes and names no case when one fails. Here the loop runs in the calling
process or in a few spawned ones, and an error names its case.
"""

from __future__ import annotations

import multiprocessing
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from nnunetv2.experiment_planning.dataset_fingerprint.fingerprint_extractor import DatasetFingerprintExtractor

from swin_umamba.data.image_io import read_case
from swin_umamba.data.tissue import background_share
from swin_umamba.errors import DataError, OutputError
from swin_umamba.files import atomic_folder, copy_file
from swin_umamba.json_files import write_json
from swin_umamba.nnunet.checked_reader import CheckedPlans, checked, stock_reader
from swin_umamba.nnunet.environment import Dataset
from swin_umamba.nnunet.planning.integrity import TrainingCase
from swin_umamba.nnunet.plans_table import BACKGROUND_SHARE
from swin_umamba.nnunet.preprocessed import write_origin
from swin_umamba.options import Nonfinite
from swin_umamba.progress import progress

# Number of foreground voxels that are drawn from the data set for the intensity statistics. nnU-Net draws ten
# times as many, which takes gigabytes and changes nothing: only CT normalization uses them, and about three
# digits are enough.
FOREGROUND_SAMPLES = 10_000_000


def extract_fingerprint(
    dataset: Dataset, cases: Sequence[TrainingCase], workers: int, nonfinite: Nonfinite = "refuse"
) -> None:
    """Write ``dataset_fingerprint.json``: the shapes, spacings and foreground intensities of all cases.

    Parameters
    ----------
    dataset
        The data set; the file goes to its preprocessed folder.
    cases
        The training cases.
    workers
        Number of processes; with 0 or 1, only this process is used.
    nonfinite
        Treatment of NaN and infinite voxels.
    """
    description = dataset.description()
    reader = checked(stock_reader(description, cases[0].images[0]), nonfinite)
    samples = FOREGROUND_SAMPLES // len(cases)
    tasks = [([str(path) for path in case.images], str(case.label), reader, samples) for case in cases]
    results = list(_each_case(_analyze, cases, tasks, workers, "reading shapes and intensities"))
    shapes, spacings, intensities, _, relative_sizes, shares = zip(*results, strict=True)
    backgrounds = [share for share in shares if share is not None]
    fingerprint = {
        "spacings": [[float(value) for value in spacing] for spacing in spacings],
        "shapes_after_crop": [[int(value) for value in shape] for shape in shapes],
        "foreground_intensity_properties_per_channel": {
            str(channel): _statistics(np.concatenate([each[channel] for each in intensities]), dataset)
            for channel in range(len(description["channel_names"]))
        },
        "median_relative_size_after_cropping": float(np.median(relative_sizes)),
        BACKGROUND_SHARE: float(np.mean(backgrounds)) if backgrounds else None,
    }
    write_json(dataset.preprocessed_folder / "dataset_fingerprint.json", fingerprint)


def preprocess(
    dataset: Dataset,
    cases: Sequence[TrainingCase],
    plans_name: str,
    workers: int,
    nonfinite: Nonfinite = "refuse",
) -> Path:
    """Resample and normalize all cases for the 2D configuration and copy their labels.

    The cases are first written to a separate folder, and replace older ones only when all are done.

    Returns
    -------
    Path
        The folder of the preprocessed cases.
    """
    plans_manager = CheckedPlans(str(dataset.preprocessed_folder / f"{plans_name}.json"), nonfinite)
    configuration = plans_manager.get_configuration("2d")
    folder = dataset.preprocessed_folder / str(configuration.data_identifier)
    unfinished = folder.with_name(folder.name + ".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    description = dataset.description()
    tasks = [
        (
            str(unfinished / case.name),
            [str(path) for path in case.images],
            str(case.label),
            plans_manager,
            configuration,
            description,
        )
        for case in cases
    ]
    preprocessor = configuration.preprocessor_class(verbose=False)
    try:
        for _ in _each_case(preprocessor.run_case_save, cases, tasks, workers, "preprocessing"):
            pass
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    shutil.rmtree(folder, ignore_errors=True)
    unfinished.rename(folder)
    # The validation at the end of the training compares with these; the raw data may have moved by then.
    with atomic_folder(dataset.preprocessed_folder / "gt_segmentations") as references:
        for case in cases:
            copy_file(case.label, references / f"{case.name}{description['file_ending']}")
    files = {case.name: (*case.images, case.label) for case in cases}
    write_origin(folder, plans_manager.plans, "2d", files, dataset.raw_folder)
    return folder


def _analyze(images: list[str], *more: Any) -> tuple[Any, ...]:
    """Return what nnU-Net finds of a case, and the fraction of background in its image."""
    found = DatasetFingerprintExtractor.analyze_case(images, *more)
    return *found, background_share(read_case(images, nonfinite="zero").data)


def _statistics(intensities: np.ndarray, dataset: Dataset) -> dict[str, float]:
    if intensities.size == 0:
        raise DataError(
            "no training label holds any foreground",
            where=dataset.raw_folder,
            hint="check that labelsTr holds the right files",
        )
    low, median, high = np.percentile(intensities, (0.5, 50.0, 99.5))
    return {
        "mean": float(np.mean(intensities)),
        "median": float(median),
        "std": float(np.std(intensities)),
        "min": float(np.min(intensities)),
        "max": float(np.max(intensities)),
        "percentile_99_5": float(high),
        "percentile_00_5": float(low),
    }


def _each_case(
    function: Callable[..., Any],
    cases: Sequence[TrainingCase],
    tasks: Sequence[tuple[Any, ...]],
    workers: int,
    description: str,
) -> Iterator[Any]:
    """Yield ``function(*task)`` for each case in order; an error names the failed case."""
    with _submitter(workers) as submit:
        futures = [submit(function, *task) for task in tasks]
        for case, future in zip(progress(cases, description, total=len(cases)), futures, strict=True):
            try:
                yield future() if callable(future) else future.result()
            except OSError as error:
                # The images were read before, in the check of the data.
                raise OutputError(
                    f"{description} failed: {error.strerror or error}",
                    where=error.filename or f"case {case.name} ({case.images[0]})",
                    hint="check free space and permissions of the preprocessed folder, then this case",
                ) from error
            except (ValueError, RuntimeError, AssertionError, IndexError) as error:
                raise DataError(
                    f"{description} failed: {type(error).__name__}: {error}",
                    where=f"case {case.name} ({case.images[0]})",
                    hint="check this case; with --workers 1 and --debug the full traceback is shown",
                ) from error


@contextmanager
def _submitter(workers: int) -> Iterator[Callable[..., Future[Any] | Callable[[], Any]]]:
    if workers <= 1:
        yield lambda function, *task: lambda: function(*task)
        return
    executor = ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"))
    try:
        yield executor.submit
    finally:
        executor.shutdown(wait=True, cancel_futures=True)
