"""``postprocessing.json`` in a model folder: steps that helped on the validation cases, and of which weights.

nnU-Net keeps its own in a pickle, which is never read: it could run anything.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import Tensor

from swin_umamba.errors import CheckpointError
from swin_umamba.evaluation.postprocessing import ComponentStep, Postprocessing, steps_from_json
from swin_umamba.evaluation.results import none_for_nan
from swin_umamba.json_files import read_contract, write_contract
from swin_umamba.trained.calibration_file import weights_hash

logger = logging.getLogger(__name__)

POSTPROCESSING_FILE = "postprocessing.json"
FORMAT = "swin-umamba-postprocessing-1"
_HINT = "delete the file, or write it again with swin-umamba postprocess"


def write_postprocessing(
    folder: Path,
    chosen: Postprocessing,
    weights: Mapping[str, Mapping[str, Tensor]],
    details: Mapping[str, Any],
) -> Path:
    """Write the steps for a model into its folder, atomically, and return the file.

    Parameters
    ----------
    folder
        The model folder.
    chosen
        The steps and what they bring.
    weights
        State dict of each fold whose validation cases they were chosen on.
    details
        Further entries.
    """
    path = folder / POSTPROCESSING_FILE
    content = {
        "format": FORMAT,
        "weights_sha256": {fold: weights_hash(parameters) for fold, parameters in weights.items()},
        "steps": [asdict(step) for step in chosen.steps],
        "dice": {
            "before": {name: none_for_nan(value) for name, value in chosen.before.items()},
            "after": {name: none_for_nan(value) for name, value in chosen.after.items()},
        },
        **details,
    }
    write_contract("postprocessing", path, content)
    return path


def postprocessing_of(
    folder: Path, checkpoints: Sequence[Path], parameters: Sequence[Mapping[str, Tensor]]
) -> tuple[ComponentStep, ...]:
    """Return the steps for the folds of a model, none if there are none for all of these weights.

    Parameters
    ----------
    folder
        The model folder.
    checkpoints, parameters
        Checkpoint file and state dict of each fold.

    Raises
    ------
    CheckpointError
        If the file is damaged: results with it are others than results without it.
    """
    path = folder / POSTPROCESSING_FILE
    if not path.is_file():
        return ()
    content = read_contract(path, error=CheckpointError, hint=_HINT)
    try:
        if content.get("format") != FORMAT:
            raise ValueError(f"it is not of the format {FORMAT}")
        steps = steps_from_json(content.get("steps"))
        hashes = dict(content["weights_sha256"])
    except (ValueError, TypeError, KeyError) as error:
        raise CheckpointError(
            f"the post-processing cannot be read: {error}", where=path, hint=_HINT
        ) from error
    for checkpoint, weights in zip(checkpoints, parameters, strict=True):
        if hashes.get(checkpoint.parent.name) != weights_hash(weights):
            logger.warning(
                "%s was not chosen on the weights of %s and is not used; run swin-umamba postprocess again",
                path,
                checkpoint,
            )
            return ()
    return steps
