"""The final validation of a fold, in the training process and in the precision of the training.

nnU-Net starts eight processes for it, each of which imports torch again; for few cases, that takes longer
than the predictions. It sums logits in float16, in which they end at 65504; here the sums are float32. The
files are the same: one prediction per case and ``summary.json``, with ``.npz`` and ``.pkl`` if probabilities
are requested, as finding the best configuration and ensembling need them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from nnunetv2.evaluation.evaluate_predictions import compute_metrics, save_summary_json
from nnunetv2.inference.export_prediction import export_prediction_from_logits
from nnunetv2.utilities.json_export import recursive_fix_for_json_export
from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager, PlansManager
from torch import Tensor, nn

from swin_umamba.distributed.processes import Processes
from swin_umamba.errors import TrainingError
from swin_umamba.files import atomic_write
from swin_umamba.memory import is_out_of_memory, out_of_memory
from swin_umamba.nnunet.checked_reader import CheckedReader
from swin_umamba.progress import Progress
from swin_umamba.tiling.bands import all_finite
from swin_umamba.tiling.sliding_window import SlidingWindow


@dataclass(frozen=True)
class FoldValidation:
    """Predicts the validation cases of a fold and scores them.

    Attributes
    ----------
    plans, configuration
        nnU-Net's views of the plans and of one of their configurations.
    dataset_json
        Content of ``dataset.json``.
    mirror_axes
        Axes that the training mirrored along.
    device, precision
        Device of the network, and the precision that it was trained in.
    open_cases
        Function that returns nnU-Net's data set of the preprocessed cases with the given names.
    references
        Folder of the true label maps.
    folder
        Output folder of label maps, probabilities and ``summary.json``.
    save_probabilities
        Whether to also write the probabilities.
    """

    plans: PlansManager
    configuration: ConfigurationManager
    dataset_json: dict[str, Any]
    mirror_axes: tuple[int, ...] | None
    device: torch.device
    precision: str
    open_cases: Callable[[list[str]], Any]
    references: Path
    folder: Path
    save_probabilities: bool = False

    def predict(self, network: nn.Module, keys: list[str], processes: Processes) -> None:
        """Predict the preprocessed cases ``keys`` with sliding window and mirroring; write the label maps.

        Parameters
        ----------
        network
            Network in evaluation mode, without deep supervision.
        keys
            Names of the cases of all processes.
        processes
            This process and the others, each of which predicts a share of the cases.

        Raises
        ------
        TrainingError
            If a case does not fit into memory, or the output of the network is not finite.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        mine = keys[processes.rank :: processes.size]
        cases = self.open_cases(mine)
        with Progress("validating", total=len(mine), unit="case") as shown:
            for key in mine:
                data, _, _, properties = cases.load_case(key)
                export_prediction_from_logits(
                    self._logits(network, key, np.array(data[:], dtype=np.float32), shown.within),
                    properties,
                    self.configuration,
                    self.plans,
                    self.dataset_json,
                    str(self.folder / key),
                    self.save_probabilities,
                    num_threads_torch=torch.get_num_threads(),
                )
                shown.update()
        processes.barrier()

    def _logits(
        self, network: nn.Module, key: str, image: np.ndarray, on_progress: Callable[[float], None]
    ) -> Tensor:
        """Return the logits (classes, Z, Y, X) of an image (channels, Z, Y, X)."""
        window = SlidingWindow(
            patch_size=tuple(self.configuration.patch_size),
            num_classes=self.plans.get_label_manager(self.dataset_json).num_segmentation_heads,
            mirror_axes=tuple(self.mirror_axes or ()),
            device=self.device,
            precision=self.precision,
        )
        size = " x ".join(map(str, image.shape))
        try:
            logits = window.logits(network, torch.from_numpy(image), on_progress=on_progress)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            raise out_of_memory(
                error,
                sizes=f"the validation of {key}, {size} voxels, on {self.device}",
                where=self.folder,
                hint="validate where there is more memory: train with --continue",
                kind=TrainingError,
            ) from error
        if not all_finite(logits):
            raise TrainingError(
                f"the output of the network for {key} is not finite in {self.precision}",
                where=self.folder,
                hint="train again with --precision bfloat16 or float32, in which larger numbers fit"
                if self.precision == "float16"
                else "look for NaN in the images, or train again with a lower --learning-rate",
            )
        return logits

    def summarize(self, keys: list[str]) -> dict[str, Any]:
        """Compare the predictions with the references; write and return nnU-Net's summary."""
        labels = self.plans.get_label_manager(self.dataset_json)
        return summarize(
            self.folder,
            self.references,
            keys,
            reader=CheckedReader(self.plans.image_reader_writer_class),
            ending=self.dataset_json["file_ending"],
            regions=labels.foreground_regions if labels.has_regions else labels.foreground_labels,
            ignore_label=labels.ignore_label,
        )


def summarize(
    folder: Path,
    references: Path,
    keys: list[str],
    *,
    reader: CheckedReader,
    ending: str,
    regions: Sequence[Any],
    ignore_label: int | None,
) -> dict[str, Any]:
    """Score the label maps of a folder and write ``summary.json`` into it, as nnU-Net does.

    Parameters
    ----------
    folder, references
        Folders of the predicted and of the true label maps.
    keys
        Names of the cases.
    reader, ending
        Reader and ending of the files, which are called ``{key}{ending}``.
    regions
        Label values, or tuples of the values of a region.
    ignore_label
        Value of unannotated pixels; None if there is none.
    """
    cases = [
        compute_metrics(
            str(references / f"{key}{ending}"), str(folder / f"{key}{ending}"), reader, regions, ignore_label
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
    """Return the mean of the values except NaN (a structure absent in both); NaN if there is none."""
    finite = [value for value in values if not np.isnan(value)]
    return float(np.mean(finite)) if finite else float("nan")
