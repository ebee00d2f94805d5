"""The final validation of a fold, in the training process.

nnU-Net starts eight processes for it, each of which imports torch anew; on few cases that takes longer than
the predictions. The files are the same: one prediction per case and ``summary.json``, with ``.npz`` and
``.pkl`` if probabilities are wanted, as finding the best configuration and ensembling need them.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from nnunetv2.evaluation.evaluate_predictions import compute_metrics, save_summary_json
from nnunetv2.inference.export_prediction import export_prediction_from_logits
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.utilities.json_export import recursive_fix_for_json_export
from torch import distributed

from swin_umamba.errors import TrainingError
from swin_umamba.files import atomic_write
from swin_umamba.nnunet.checked_reader import CheckedReader
from swin_umamba.progress import progress

if TYPE_CHECKING:
    from swin_umamba.nnunet.training.robust_trainer import RobustTrainer

CASES_BETWEEN_BARRIERS = 20
"""NCCL gives up on a process that waits too long for the others."""


def validate(trainer: RobustTrainer, save_probabilities: bool) -> dict[str, Any] | None:
    """Predict the validation cases of a fold, write them and their scores.

    Parameters
    ----------
    trainer
        A trained, initialized trainer; its network must be in evaluation mode without deep supervision.
    save_probabilities
        Also write the probabilities.

    Returns
    -------
    dict or None
        The content of ``summary.json``; None in all but the first process of a distributed training.
    """
    folder = Path(trainer.output_folder) / "validation"
    folder.mkdir(parents=True, exist_ok=True)
    _, keys = trainer.do_split()
    if not keys:
        raise TrainingError("the fold has no validation cases", where=trainer.output_folder)
    predict_cases(trainer, sorted(keys), folder, save_probabilities)
    if trainer.is_ddp:
        distributed.barrier()
    return summarize(trainer, sorted(keys), folder) if trainer.local_rank == 0 else None


def predict_cases(trainer: RobustTrainer, keys: list[str], folder: Path, save_probabilities: bool) -> None:
    """Predict the preprocessed cases ``keys`` with sliding window and mirroring, and write the label maps."""
    predictor = nnUNetPredictor(
        perform_everything_on_device=trainer.device.type == "cuda", device=trainer.device, allow_tqdm=False
    )
    predictor.manual_initialization(
        trainer.network,
        trainer.plans_manager,
        trainer.configuration_manager,
        None,
        trainer.dataset_json,
        type(trainer).__name__,
        trainer.inference_allowed_mirroring_axes,
    )
    world_size = distributed.get_world_size() if trainer.is_ddp else 1
    mine = keys[trainer.local_rank :: world_size] if trainer.is_ddp else keys
    cases = trainer.dataset_class(trainer.preprocessed_dataset_folder, mine)
    for number, key in enumerate(progress(mine, "validating", total=len(mine)), start=1):
        data, _, _, properties = cases.load_case(key)
        logits = predictor.predict_sliding_window_return_logits(torch.from_numpy(np.array(data[:])))
        export_prediction_from_logits(
            logits.cpu(),
            properties,
            trainer.configuration_manager,
            trainer.plans_manager,
            trainer.dataset_json,
            str(folder / key),
            save_probabilities,
            num_threads_torch=torch.get_num_threads(),
        )
        # Every process has at least this many cases, so that none waits for a barrier that never comes.
        if trainer.is_ddp and number % CASES_BETWEEN_BARRIERS == 0 and number <= len(keys) // world_size:
            distributed.barrier()


def summarize(trainer: RobustTrainer, keys: list[str], folder: Path) -> dict[str, Any]:
    """Compare the predictions with the labels and write ``summary.json`` as nnU-Net does."""
    labels = trainer.label_manager
    regions = labels.foreground_regions if labels.has_regions else labels.foreground_labels
    ending = trainer.dataset_json["file_ending"]
    reader = CheckedReader(trainer.plans_manager.image_reader_writer_class)
    truth = Path(trainer.preprocessed_dataset_folder_base) / "gt_segmentations"
    cases = [
        compute_metrics(
            str(truth / f"{key}{ending}"),
            str(folder / f"{key}{ending}"),
            reader,
            regions,
            labels.ignore_label,
        )
        for key in keys
    ]
    mean = {
        region: {
            metric: _mean_of_finite([case["metrics"][region][metric] for case in cases])
            for metric in cases[0]["metrics"][region]
        }
        for region in regions
    }
    foreground = {
        metric: float(np.mean([values[metric] for values in mean.values()])) for metric in mean[regions[0]]
    }
    summary = {"metric_per_case": cases, "mean": mean, "foreground_mean": foreground}
    for part in (*cases, mean, foreground):
        recursive_fix_for_json_export(part)
    with atomic_write(folder / "summary.json") as temporary:
        save_summary_json(summary, str(temporary))
    return summary


def _mean_of_finite(values: list[float]) -> float:
    """Return the mean of the values that are not NaN (a structure absent in both), NaN if there is none."""
    finite = [value for value in values if not np.isnan(value)]
    return float(np.mean(finite)) if finite else float("nan")
