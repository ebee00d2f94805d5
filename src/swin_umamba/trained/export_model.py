"""Pack a trained model into one file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from swin_umamba.errors import UsageError
from swin_umamba.trained.current_plans import current_plans
from swin_umamba.trained.model import FINAL_CHECKPOINT, TrainedModel, load_trained_model
from swin_umamba.trained.model_card import model_card
from swin_umamba.trained.model_file import MODEL_FILE_SUFFIX, fold_names, write_model_file
from swin_umamba.trained.network import check_model


def export_model(
    source: str | Path,
    output: str | Path,
    *,
    folds: Sequence[int | str] | None = None,
    checkpoint: str = FINAL_CHECKPOINT,
) -> tuple[TrainedModel, str]:
    """Write weights, plans, labels and a model card of a trained model to one ``.safetensors`` file.

    The model is checked in full before anything is written: what cannot predict is not exported.

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
    model = replace(model, plans=current_plans(model))
    card = model_card(model, check_model(model).channel_names, fold_names(model))
    return model, write_model_file(model, card, output)
