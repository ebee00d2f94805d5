"""The error of a prediction for which there is not enough memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from swin_umamba.errors import DataError, SwinUMambaError
from swin_umamba.memory import out_of_memory
from swin_umamba.trained.volume import Volume

if TYPE_CHECKING:
    from swin_umamba.inference.predictor import Predictor


def full(predictor: Predictor, error: BaseException, volume: Volume) -> SwinUMambaError:
    """Return the error that says what did not fit, and what to do."""
    plans = predictor.plans
    size = " x ".join(map(str, volume.data.shape))
    spacing = " x ".join(f"{value:g}" for value in plans.configuration.spacing)
    sizes = f"an image of {size} voxels, {plans.num_classes} classes, resampled to {spacing}"
    hint = "predict it with --blocks, crop the image, or check its spacing"
    if isinstance(error, torch.cuda.OutOfMemoryError):
        patch = " x ".join(map(str, plans.patch_size))
        sizes = f"a single patch of {patch} on {predictor.device}, with the sums of the image elsewhere"
        hint = "end other programs that use the GPU, take a larger one, or predict with --device cpu"
    where = None if volume.source is None else volume.source.path
    return out_of_memory(error, sizes=sizes, where=where, hint=hint, kind=DataError)
