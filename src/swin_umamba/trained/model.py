"""Read a trained model: an nnU-Net model folder, one of its folds, or a single checkpoint file."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from torch import Tensor

from swin_umamba.errors import CheckpointError
from swin_umamba.evaluation.postprocessing import ComponentStep
from swin_umamba.instances.decoding import Decoding
from swin_umamba.json_files import parse_json
from swin_umamba.nnunet.dataset_json import check_description
from swin_umamba.nnunet.plans_table import check_plan_values
from swin_umamba.schema import Provenance, shown
from swin_umamba.trained.calibration_file import FoldCalibration, calibration_of_weights
from swin_umamba.trained.model_files import (
    COPY_AGAIN,
    FINAL_CHECKPOINT,
    find_checkpoints,
    read_description,
)
from swin_umamba.trained.postprocessing_file import postprocessing_of
from swin_umamba.weights.checkpoint import load_checkpoint

logger = logging.getLogger(__name__)

_NEEDED = ("network_weights", "trainer_name", "init_args", "inference_allowed_mirroring_axes")
"""What prediction needs of a checkpoint."""


@dataclass(frozen=True)
class TrainedModel:
    """The parts of a trained model that prediction needs.

    Parameters
    ----------
    path
        Path that the model was read from.
    checkpoints
        The checkpoint files, one per fold.
    plans, dataset_json
        nnU-Net's descriptions of preprocessing, network and labels.
    configuration
        Name of the configuration within the plans, for example ``"2d"``.
    trainer_name
        Name of the trainer class.
    mirror_axes
        Spatial axes along which the training mirrored, so that prediction may mirror, too.
    parameters
        State dicts of the network, one per fold, on the CPU.
    calibrations
        Calibration of each fold (see ``calibrate``), None for one that was not calibrated; empty if
        none was.
    postprocessing
        Steps that helped on the validation cases of the folds (see ``postprocess``).
    """

    path: Path
    checkpoints: tuple[Path, ...]
    plans: dict[str, Any]
    dataset_json: dict[str, Any]
    configuration: str
    trainer_name: str
    mirror_axes: tuple[int, ...]
    parameters: tuple[dict[str, Tensor], ...]
    calibrations: tuple[FoldCalibration | None, ...] = ()
    postprocessing: tuple[ComponentStep, ...] = ()

    @property
    def temperature(self) -> float | None:
        """Divisor that calibrates the mean logits of all folds; None if that of a fold is unknown.

        It is the geometric mean over the folds: no case is new to all of them, so the ensemble cannot be
        calibrated itself.
        """
        known = [each.temperature for each in self.calibrations if each is not None]
        if not known or len(known) < len(self.parameters):
            return None
        return math.exp(fmean(map(math.log, known)))

    @property
    def quality_exponent(self) -> float | None:
        """Exponent of the agreement of the ensemble members that estimates the Dice; None if it is unknown.

        It is fitted to the views of one fold. Several folds disagree differently, and no case is new to all
        of them.
        """
        only = self.calibrations[0] if len(self.calibrations) == 1 else None
        return None if only is None else only.quality_exponent

    @property
    def decoding(self) -> Decoding:
        """How objects are made of classes: of several folds the one in the middle; the default if unknown."""
        found = [None if each is None else each.decoding for each in self.calibrations]
        known = [each for each in found if each is not None]
        if not known or len(known) < len(self.parameters):
            return Decoding()
        known.sort(key=lambda each: (each.outer_rim, each.split_distance or math.inf))
        return known[len(known) // 2]


def load_trained_model(
    path: str | Path, *, folds: Sequence[int | str] | None = None, checkpoint: str = FINAL_CHECKPOINT
) -> TrainedModel:
    """Read a trained model without running any code from its files.

    Parameters
    ----------
    path
        A model folder (``TRAINER__PLANS__CONFIGURATION`` with ``plans.json``, ``dataset.json`` and
        ``fold_*``), a fold folder in one, or a checkpoint file. A checkpoint file outside a model folder must
        be self-contained, with plans and data set description.
    folds
        Folds to average, numbers or ``"all"``; by default all numbered folds found, else ``fold_all``.
    checkpoint
        File name within each fold. If the default is missing, the best or latest checkpoint stands in for it.

    Raises
    ------
    CheckpointError
        If a file is missing, damaged, unsafe to load or not from nnU-Net.
    """
    path = Path(path)
    files, description_folder = find_checkpoints(path, folds, checkpoint)
    contents = [_read_nnunet_checkpoint(file) for file in files]
    _check_folds_belong_together(files, contents)
    init_args = contents[0]["init_args"]
    if description_folder is not None:
        plans = read_description(description_folder / "plans.json")
        dataset_json = read_description(description_folder / "dataset.json")
    else:
        plans, dataset_json = init_args.get("plans"), init_args.get("dataset_json")
        if not isinstance(plans, dict) or not isinstance(dataset_json, dict):
            raise CheckpointError(
                "the checkpoint file carries no plans and data set description",
                where=files[0],
                hint="keep it in its model folder, beside plans.json and dataset.json",
            )
        plans, dataset_json = (_as_read_from_json(each, files[0]) for each in (plans, dataset_json))
    configuration = str(init_args.get("configuration"))
    check_descriptions(plans, dataset_json, configuration, description_folder or files[0])
    weights = tuple(content["network_weights"] for content in contents)
    return TrainedModel(
        path=path,
        checkpoints=tuple(files),
        plans=plans,
        dataset_json=dataset_json,
        configuration=configuration,
        trainer_name=str(contents[0]["trainer_name"]),
        mirror_axes=tuple(contents[0].get("inference_allowed_mirroring_axes") or ()),
        parameters=weights,
        calibrations=tuple(map(calibration_of_weights, files, weights)),
        postprocessing=()
        if description_folder is None
        else postprocessing_of(description_folder, files, weights),
    )


def _read_nnunet_checkpoint(path: Path) -> dict[str, Any]:
    content = load_checkpoint(path, only=_NEEDED)  # not the optimizer's state, twice as large
    expected = {"network_weights": dict, "trainer_name": str, "init_args": dict}
    missing = [key for key, kind in expected.items() if not isinstance(content.get(key), kind)]
    if missing:
        raise CheckpointError(
            f"this is not a checkpoint of an nnU-Net training: it has no {', '.join(missing)}",
            where=path,
            hint="give a checkpoint of a training; bare weights cannot predict by themselves",
        )
    weights, axes = content["network_weights"], content.get("inference_allowed_mirroring_axes")
    if not all(isinstance(key, str) and isinstance(value, Tensor) for key, value in weights.items()):
        raise CheckpointError(
            "its network_weights are not a state dict: not every entry is a tensor with a name",
            where=path,
            hint="copy the checkpoint again from where the model was trained",
        )
    if not isinstance(axes, (tuple, list, type(None))):
        raise CheckpointError(
            f"its inference_allowed_mirroring_axes are {shown(axes)} and not a list",
            where=path,
            hint="copy the checkpoint again from where the model was trained",
        )
    return content


def _check_folds_belong_together(files: list[Path], contents: list[dict[str, Any]]) -> None:
    kinds = [(content["trainer_name"], content["init_args"].get("configuration")) for content in contents]
    for file, kind in zip(files, kinds, strict=True):
        if kind != kinds[0]:
            raise CheckpointError(
                f"the folds are not of one model: {kinds[0]} and {kind}",
                where=file,
                hint="choose folds that belong together, or copy the model again",
            )


def check_descriptions(plans: Any, dataset_json: Any, configuration: str, where: Path) -> None:
    """Check the values in the descriptions of a model; dotted names are checked by ``plans_check``.

    Raises
    ------
    CheckpointError
        If a value is invalid; the message names its key.
    """
    sources = (
        Provenance(where, COPY_AGAIN, CheckpointError, f"{name} is incomplete or damaged: ")
        for name in ("plans.json", "dataset.json")
    )
    check_plan_values(plans, configuration, next(sources))
    check_description(dataset_json, next(sources))


def _as_read_from_json(description: Any, path: Path) -> dict[str, Any]:
    """Return the JSON content in a checkpoint, where lists may have become tuples, and keys numbers."""
    try:
        text = json.dumps(description)
    except (TypeError, ValueError, RecursionError) as error:
        what = f"the checkpoint's plans or data set description are not JSON: {error}"
        raise CheckpointError(what, where=path, hint=COPY_AGAIN) from error
    return parse_json(text, dict, where=path, error=CheckpointError, hint=COPY_AGAIN, nan=True)
