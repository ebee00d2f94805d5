"""Pack a trained model into one file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from swin_umamba.errors import UsageError
from swin_umamba.trained.current_plans import current_plans
from swin_umamba.trained.model import FINAL_CHECKPOINT, TrainedModel, load_trained_model
from swin_umamba.trained.model_card import model_card
from swin_umamba.trained.model_file import MODEL_FILE_SUFFIX, fold_names, write_model_file
from swin_umamba.trained.network import check_model

# What prediction reads of the two files, besides our own evaluation and model card.
DATASET_KEYS = ("channel_names", "modality", "labels", "regions_class_order", "file_ending", "numTraining")
PLANS_KEYS = (
    "configurations",
    "dataset_name",
    "experiment_planner_used",
    "foreground_intensity_properties_by_modality",
    "foreground_intensity_properties_per_channel",
    "image_reader_writer",
    "label_manager",
    "original_median_shape_after_transp",
    "original_median_spacing_after_transp",
    "plans_name",
    "transpose_backward",
    "transpose_forward",
)

CONFIGURATION_KEYS = (
    "architecture",
    "batch_dice",
    "batch_size",
    "data_identifier",
    "median_image_size_in_voxels",
    "next_stage",
    "normalization_schemes",
    "patch_size",
    "preprocessor_name",
    "previous_stage",
    "resampling_fn_data",
    "resampling_fn_data_kwargs",
    "resampling_fn_probabilities",
    "resampling_fn_probabilities_kwargs",
    "resampling_fn_seg",
    "resampling_fn_seg_kwargs",
    "spacing",
    "use_mask_for_norm",
)
ARCHITECTURE_KEYS = ("network_class_name", "arch_kwargs", "_kw_requires_import")


def export_model(
    source: str | Path,
    output: str | Path,
    *,
    folds: Sequence[int | str] | None = None,
    checkpoint: str = FINAL_CHECKPOINT,
) -> tuple[TrainedModel, str]:
    """Write weights, plans, labels and a model card of a trained model to one ``.safetensors`` file.

    The model is checked in full before anything is written: what cannot predict is not exported. Neither is
    anything of ``dataset.json`` and the plans that prediction does not need: nnU-Net allows names and paths
    of the training cases there, and free texts.

    Parameters
    ----------
    source, folds, checkpoint
        See ``load_trained_model``.
    output
        The file, ``NAME.safetensors``.

    Returns
    -------
    tuple
        The model as it was written, and the hash of the content.

    Raises
    ------
    CheckpointError
        If the model is incomplete, damaged, unsafe to load or inconsistent.
    UsageError
        If the name of the file has another ending.
    OutputError
        If the file cannot be written.
    """
    if Path(output).suffix != MODEL_FILE_SUFFIX:
        raise UsageError(
            f"{Path(output).name!r} does not end in {MODEL_FILE_SUFFIX}", where=output, cure="name it so"
        )
    model = load_trained_model(source, folds=folds, checkpoint=checkpoint)
    model = replace(
        model,
        plans=_plans_of(model),
        dataset_json=_only(DATASET_KEYS, model.dataset_json),
    )
    card = model_card(model, check_model(model).channel_names, fold_names(model))
    return model, write_model_file(model, card, output)


def _plans_of(model: TrainedModel) -> dict[str, Any]:
    plans = _only(PLANS_KEYS, current_plans(model))
    configuration = _only(CONFIGURATION_KEYS, plans["configurations"][model.configuration])
    configuration["architecture"] = _only(ARCHITECTURE_KEYS, configuration["architecture"])
    return {**plans, "configurations": {model.configuration: configuration}}


def _only(keys: Iterable[str], entries: Mapping[str, Any]) -> dict[str, Any]:
    return {key: entries[key] for key in keys if key in entries}
