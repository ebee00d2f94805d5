"""Labels out of logits, band by band."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from torch import Tensor

from swin_umamba.errors import CheckpointError
from swin_umamba.tiling.bands import Band, all_finite
from swin_umamba.trained.label_map import LabelMap, foreground_of


def labels_of_bands(
    bands: Iterable[Band],
    labels: LabelMap,
    model: Path,
    foreground: np.ndarray | None = None,
    depth: np.ndarray | None = None,
) -> np.ndarray:
    """Fill a label map from bands of logits, of which only one is ever there, and return it.

    Parameters
    ----------
    bands
        Where ``depth`` is given, they hold it after the logits.
    labels
        The label map.
    model
        The model, for errors.
    foreground, depth
        What objects are found and measured by, ``(z, y, x)``, float32, to fill if it is wanted: the
        probability of not being background, and the depth.

    Raises
    ------
    CheckpointError
        See :func:`check_finite`.
    """
    for band in bands:
        check_finite(band.logits, model)
        for place, values in band.parts():
            if depth is not None:
                depth[place] = values[-1].numpy()
                values = values[:-1]
            labels.put_logits(place, values)
            if foreground is not None:
                foreground[place] = foreground_of(values)
    return labels.finished()


def check_finite(logits: Tensor, model: Path) -> None:
    """Raise ``CheckpointError`` if a logit of a model is NaN or infinite."""
    if not all_finite(logits):
        raise CheckpointError(
            "the network's output is not finite: its weights hold or produce NaN or infinity",
            where=model,
            hint="use another checkpoint of this training",
        )
