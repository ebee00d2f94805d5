"""Labels out of logits, band by band."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from torch import Tensor

from swin_umamba.errors import CheckpointError
from swin_umamba.tiling.bands import Band, all_finite
from swin_umamba.trained.label_map import LabelMap


def labels_of_bands(bands: Iterable[Band], labels: LabelMap, model: Path) -> np.ndarray:
    """Fill a label map from bands of logits, of which only one is ever there, and return it.

    Raises
    ------
    CheckpointError
        See :func:`check_finite`.
    """
    for band in bands:
        check_finite(band.logits, model)
        for place, logits in band.parts():
            labels.put_logits(place, logits)
    return labels.finished()


def check_finite(logits: Tensor, model: Path) -> None:
    """Raise ``CheckpointError`` if a logit of a model is NaN or infinite."""
    if not all_finite(logits):
        raise CheckpointError(
            "the network's output is not finite: its weights hold or produce NaN or infinity",
            where=model,
            hint="use another checkpoint of this training",
        )
