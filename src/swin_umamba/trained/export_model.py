"""Pack a trained model into one file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from swin_umamba.errors import UsageError
from swin_umamba.nnunet.plans_table import CONFIGURATION, MAY_HAVE, NETWORK, PLANS, PLANS_MAY_HAVE
from swin_umamba.trained.model import TrainedModel, load_trained_model
from swin_umamba.trained.model_file import fold_names, write_model_file
from swin_umamba.trained.model_files import FINAL_CHECKPOINT, MODEL_FILE_SUFFIX
from swin_umamba.trained.network import check_model, current_plans

# Entries that prediction and the model card read from ``dataset.json``; for plans, see ``plans_table``.
DATASET_KEYS = (
    "channel_names",
    "modality",
    "labels",
    "regions_class_order",
    "file_ending",
    "numTraining",
    "segments",
)


def export_model(
    source: str | Path,
    output: str | Path,
    *,
    folds: Sequence[int | str] | None = None,
    checkpoint: str = FINAL_CHECKPOINT,
) -> tuple[TrainedModel, str]:
    """Write weights, plans, labels and a model card of a trained model to one ``.safetensors`` file.

    The model is fully checked before anything is written: a model that cannot predict is not exported.
    Entries of ``dataset.json`` and the plans that prediction does not need are left out, since they may
    contain names and paths of the training cases, and free text.

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
            f"{Path(output).name!r} does not end in {MODEL_FILE_SUFFIX}", where=output, hint="name it so"
        )
    model = load_trained_model(source, folds=folds, checkpoint=checkpoint)
    model = replace(
        model,
        plans=_plans_of(model),
        dataset_json=_only(DATASET_KEYS, model.dataset_json),
    )
    card = _model_card(model, check_model(model).channel_names, fold_names(model))
    return model, write_model_file(model, card, output)


def _plans_of(model: TrainedModel) -> dict[str, Any]:
    plans = _only(sorted({**PLANS, **PLANS_MAY_HAVE}), current_plans(model))
    known = {"architecture", *CONFIGURATION, *MAY_HAVE}
    configuration = _only(sorted(known), plans["configurations"][model.configuration])
    configuration["architecture"] = _only(NETWORK, configuration["architecture"])
    return {**plans, "configurations": {model.configuration: configuration}}


def _only(keys: Iterable[str], entries: Mapping[str, Any]) -> dict[str, Any]:
    return {key: entries[key] for key in keys if key in entries}


def _model_card(model: TrainedModel, channel_names: Sequence[str], folds: Sequence[str]) -> str:
    """Return a description in Markdown, with the metadata that model hubs read."""
    configuration = model.plans["configurations"][model.configuration]
    network = configuration["architecture"]["network_class_name"].rsplit(".", 1)[-1].removeprefix("Planned")
    parameters = sum(value.numel() for value in model.parameters[0].values())
    labels = model.dataset_json["labels"]
    return "\n".join(
        [
            "---",
            "library_name: swin-umamba",
            "pipeline_tag: image-segmentation",
            "tags: [medical-imaging, nnU-Net]",
            "---",
            "",
            f"# {network} trained on {_plain(model.plans.get('dataset_name'))}",
            "",
            f"- Network: {network}, {parameters:,} parameters, trained by {_plain(model.trainer_name)}",
            f"- Weights: {', '.join(folds)}" + (" (logits are averaged)" if len(folds) > 1 else ""),
            f"- Input: {model.configuration}, channels {', '.join(map(_plain, channel_names))}",
            f"- Preprocessing: spacing {configuration['spacing']}, patch {configuration['patch_size']}, "
            f"normalisation {', '.join(configuration['normalization_schemes'])}",
            f"- Training images: {_plain(model.dataset_json.get('numTraining', 'number unknown'))}",
            "",
            "| label | value |",
            "| --- | --- |",
            *(f"| {_plain(name)} | {_plain(value)} |" for name, value in labels.items()),
            "",
            "Use it:",
            "",
            "```",
            "swin-umamba predict -m model.safetensors -i IMAGES -o LABELS",
            "```",
            "",
            "Limits: the quality on other scanners, protocols and populations than those of the training "
            "data is unknown. Not a medical device. The licence of the weights is for those who trained "
            "them to say.",
            "",
        ]
    )


def _plain(value: Any) -> str:
    """Return text that cannot change the structure of the Markdown around it."""
    return " ".join(str(value).split()).replace("|", "\\|").replace("<", "&lt;").replace("`", "'")
