"""The model card of an exported model: its description for people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from swin_umamba.trained.model import TrainedModel


def model_card(model: TrainedModel, channel_names: Sequence[str], folds: Sequence[str]) -> str:
    """Return a description in Markdown, with the metadata that model hubs read.

    Parameters
    ----------
    model
        The model, with plans in their current form (see ``current_plans``).
    channel_names
        Names of the model's input channels.
    folds
        Names of the folds in the model.
    """
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
