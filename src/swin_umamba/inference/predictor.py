"""Segment images with a trained nnU-Net model, in one process and without nnU-Net's folders."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from nnunetv2.inference.export_prediction import convert_predicted_logits_to_segmentation_with_correct_shape
from nnunetv2.utilities.label_handling.label_handling import determine_num_input_channels
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
from torch import Tensor

from swin_umamba.data.image_io import Image
from swin_umamba.errors import CheckpointError, SwinUMambaError, UsageError
from swin_umamba.inference.folder import CaseResult, predict_folder
from swin_umamba.inference.inputs import FLAT_SPACING_FACTOR, Volume, as_volume
from swin_umamba.inference.model_file import MODEL_FILE_SUFFIX, read_model_file
from swin_umamba.inference.network import build_network, set_scan_backend
from swin_umamba.inference.plans_check import check_plans
from swin_umamba.inference.sliding_window import SlidingWindow
from swin_umamba.inference.trained_model import FINAL_CHECKPOINT, TrainedModel, load_trained_model
from swin_umamba.ops.backend import choose_backend, resolve_device
from swin_umamba.ops.precision import check_precision

logger = logging.getLogger(__name__)

# Tiles go through the network together up to this many pixels: as much memory as one tile of 512x512, the
# largest patch of the paper. Below, calls cost more than work.
PIXELS_PER_BATCH = 512 * 512


@dataclass(frozen=True)
class Prediction:
    """A segmented image.

    Attributes
    ----------
    labels
        ``(Y, X)`` or ``(Z, Y, X)``, uint8 (uint16 from 255 classes on), on the grid of the input.
    probabilities
        ``(classes, Y, X)`` or ``(classes, Z, Y, X)``, float32: sums to 1 over the classes, or one independent
        probability per region. None unless asked for.
    image
        The image that was read, for its geometry; None if an array was given.
    """

    labels: np.ndarray
    probabilities: np.ndarray | None = None
    image: Image | None = None


class Predictor:
    """Segments images with a trained model.

    Parameters
    ----------
    model
        The trained model.
    device
        ``auto`` (CUDA, else MPS, else the CPU), ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
    mirroring
        Average over mirrored images, if the training mirrored too: four times slower (eight in 3D) and often
        a little better. The published results of Swin-UMamba were made without.
    step_size
        Distance of neighbouring tiles as a part of the patch size.
    backend
        Backend of the scans; None for the best one for the device.
    precision
        ``float32``, or ``bfloat16`` or ``float16`` for matrix products and convolutions where the device has
        them: faster, with slightly other numbers.

    Attributes
    ----------
    channel_names
        Names of the channels that the model takes, in order.
    labels
        Name of each label, with its number or, for a region, the numbers that it unites.
    has_regions
        True if classes may overlap: probabilities are then independent of each other.

    Raises
    ------
    CheckpointError
        If the model is incomplete, inconsistent or names code that it must not.
    UsageError
        If an option is out of its range.
    BackendError
        If the device or backend is missing here.
    """

    def __init__(
        self,
        model: TrainedModel,
        *,
        device: str = "auto",
        mirroring: bool = True,
        step_size: float = 0.5,
        backend: str | None = None,
        precision: str = "float32",
    ) -> None:
        if not 0 < step_size <= 1:
            raise UsageError(f"step size {step_size}", cure="give a number above 0 and up to 1")
        self.model = model
        self.device = resolve_device(device)
        check_precision(precision, self.device)
        backend = choose_backend(self.device, torch.float32, backend)
        try:
            self._read_descriptions()
        except SwinUMambaError:
            raise
        except Exception as error:
            # nnU-Net reads the JSON files without checks: what is missing in them shows as any kind of error.
            raise CheckpointError(
                "plans.json or dataset.json is incomplete or does not fit this nnU-Net "
                f"({type(error).__name__}: {error})",
                where=model.path,
                cure="check that both files are those that the model was trained with",
            ) from error
        self._window = SlidingWindow(
            patch_size=self._patch_size,
            num_classes=self._label_manager.num_segmentation_heads,
            step_size=step_size,
            mirror_axes=self._mirror_axes() if mirroring else (),
            tiles_per_batch=max(1, PIXELS_PER_BATCH // math.prod(self._patch_size)),
            device=self.device,
            precision=precision,
        )
        self._network = build_network(
            model, self._configuration, len(self.channel_names), self._window.num_classes
        ).to(self.device)
        set_scan_backend(self._network, backend)

    @classmethod
    def from_folder(
        cls,
        path: str | Path,
        *,
        folds: Sequence[int | str] | None = None,
        checkpoint: str = FINAL_CHECKPOINT,
        device: str = "auto",
        mirroring: bool = True,
        step_size: float = 0.5,
        backend: str | None = None,
        precision: str = "float32",
    ) -> Predictor:
        """Return a predictor for a model folder, a fold folder, a checkpoint file or an exported file.

        Parameters
        ----------
        path
            See ``load_trained_model`` and, for ``.safetensors``, ``read_model_file``.
        folds
            Folds whose logits are averaged; all that were trained by default.
        checkpoint
            Name of the checkpoint file in each fold.
        device, mirroring, step_size, backend, precision
            As for the class.

        Raises
        ------
        CheckpointError
            If the model is missing, incomplete, damaged or not safe to load.
        UsageError
            If a checkpoint of an exported file is named.
        """
        if Path(path).suffix == MODEL_FILE_SUFFIX:
            if checkpoint != FINAL_CHECKPOINT:
                raise UsageError(
                    "an exported model has no named checkpoints",
                    where=path,
                    cure="leave the name of the checkpoint out",
                )
            model = read_model_file(path, folds=folds)
        else:
            model = load_trained_model(path, folds=folds, checkpoint=checkpoint)
        return cls(
            model,
            device=device,
            mirroring=mirroring,
            step_size=step_size,
            backend=backend,
            precision=precision,
        )

    @torch.inference_mode()
    def predict(
        self,
        image: np.ndarray | str | Path | Sequence[str | Path],
        *,
        spacing: Sequence[float] | None = None,
        probabilities: bool = False,
        nonfinite: Literal["refuse", "zero"] = "refuse",
        on_progress: Callable[[float], None] | None = None,
    ) -> Prediction:
        """Segment one image.

        Parameters
        ----------
        image
            A file, a list of single-channel files in the order of ``channel_names``, or an array: (Y, X),
            (C, Y, X), (C, Z, Y, X), or (Y, X, C) where the first axis cannot be the channels.
        spacing
            Distance of neighbouring pixels along (Y, X) or (Z, Y, X) in mm. By default what the file says;
            for an array the spacing that the model works at, so that nothing is resampled.
        probabilities
            Return probabilities, too.
        nonfinite
            Refuse images with NaN or infinite values, or take those values for zero.
        on_progress
            Called after each batch of tiles with the part of the network's work that is done, up to 1. What
            it raises ends the prediction.

        Raises
        ------
        DataError
            If the image cannot be read, holds NaN or infinity, or has the wrong channels.
        """
        volume = as_volume(image, spacing, self.channel_names, nonfinite)
        data, properties = self._preprocess(volume)
        logits = self._logits(torch.from_numpy(data), on_progress)
        labels, classes = self._to_labels(logits, properties, probabilities)
        if volume.flat:
            labels, classes = labels[0], None if classes is None else classes[:, 0]
        return Prediction(labels, classes, volume.source)

    def predict_folder(
        self,
        inputs: str | Path | Sequence[str | Path],
        output: str | Path,
        *,
        probabilities: bool = False,
        preview: bool = False,
        overwrite: bool = False,
        nonfinite: Literal["refuse", "zero"] = "refuse",
    ) -> list[CaseResult]:
        """Segment all images of a folder and write their labels; see ``inference.folder.predict_folder``."""
        return predict_folder(
            self,
            inputs,
            output,
            probabilities=probabilities,
            preview=preview,
            overwrite=overwrite,
            nonfinite=nonfinite,
        )

    def _read_descriptions(self) -> None:
        model = self.model
        self._plans_manager = PlansManager(model.plans)
        self._configuration = self._plans_manager.get_configuration(model.configuration)
        check_plans(model.plans, self._configuration.configuration, model.path)
        self._patch_size = tuple(int(size) for size in self._configuration.patch_size)
        if sorted(self._plans_manager.transpose_forward) != [0, 1, 2]:
            raise ValueError(f"transpose_forward is {self._plans_manager.transpose_forward}")
        self._label_manager = self._plans_manager.get_label_manager(model.dataset_json)
        self.has_regions = bool(self._label_manager.has_regions)
        self.labels: dict[str, Any] = dict(model.dataset_json["labels"])
        names = model.dataset_json.get("channel_names") or model.dataset_json["modality"]
        self.channel_names = [str(name) for _, name in sorted(names.items(), key=lambda item: int(item[0]))]
        inputs = determine_num_input_channels(self._plans_manager, self._configuration, model.dataset_json)
        if inputs != len(self.channel_names):
            raise CheckpointError(
                f"{model.configuration} is the second stage of a cascade, which is not supported",
                where=model.path,
                cure="predict with nnU-Net's own command, or with another configuration",
            )
        if str(model.plans["image_reader_writer"]).endswith("WithReorient"):
            raise CheckpointError(
                f"the model was trained on reoriented images ({model.plans['image_reader_writer']}), "
                "which is not supported",
                where=model.path,
                cure="predict with nnU-Net's own command",
            )

    def _mirror_axes(self) -> tuple[int, ...]:
        axes = self.model.mirror_axes
        if not all(isinstance(axis, int) and 0 <= axis < len(self._patch_size) for axis in axes):
            raise CheckpointError(
                f"the checkpoint allows mirroring along axes {axes} of a {len(self._patch_size)}D patch",
                where=self.model.path,
                cure="switch mirroring off, or check that plans and checkpoint belong together",
            )
        return axes

    def _preprocess(self, volume: Volume) -> tuple[np.ndarray, dict[str, Any]]:
        properties: dict[str, Any] = {"spacing": list(volume.spacing or self._own_spacing(volume.flat))}
        preprocessor = self._configuration.preprocessor_class(verbose=False)
        data, _, properties = preprocessor.run_case_npy(
            volume.data, None, properties, self._plans_manager, self._configuration, self.model.dataset_json
        )
        return data, properties

    def _own_spacing(self, flat: bool) -> list[float]:
        """Return the model's spacing in the order of the image's axes."""
        spacing = [float(value) for value in self._configuration.spacing]
        if len(spacing) == 2:
            across = max(spacing) * FLAT_SPACING_FACTOR
            if not flat:
                across = float(self._plans_manager.original_median_spacing_after_transp[0])
            spacing = [across, *spacing]
        return [spacing[axis] for axis in self._plans_manager.transpose_backward]

    def _logits(self, data: Tensor, on_progress: Callable[[float], None] | None) -> Tensor:
        total: Tensor | None = None
        folds = len(self.model.parameters)
        for fold, parameters in enumerate(self.model.parameters):
            if folds > 1:
                self._network.load_state_dict(parameters)
            report = None if on_progress is None else partial(_progress_of_fold, on_progress, fold, folds)
            logits = self._window.logits(self._network, data, on_progress=report)
            total = logits if total is None else total.add_(logits)
        assert total is not None
        if not torch.isfinite(total).all():
            raise CheckpointError(
                "the network's output is not finite: its weights hold or produce NaN or infinity",
                where=self.model.path,
                cure="use another checkpoint of this training",
            )
        return total.div_(folds)

    def _to_labels(
        self, logits: Tensor, properties: dict[str, Any], probabilities: bool
    ) -> tuple[np.ndarray, np.ndarray | None]:
        result = convert_predicted_logits_to_segmentation_with_correct_shape(
            logits,
            self._plans_manager,
            self._configuration,
            self._label_manager,
            properties,
            return_probabilities=probabilities,
            num_threads_torch=torch.get_num_threads(),
        )
        return result if probabilities else (result, None)


def _progress_of_fold(report: Callable[[float], None], fold: int, folds: int, part: float) -> None:
    report((fold + part) / folds)
