"""The three stages of a prediction: an image is prepared, goes through the network, and is decided on.

Only the second needs the network, so that the others can be done beside it for other images of a folder; see
``inference.pipeline``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from swin_umamba.confidence.estimate import estimate_confidence
from swin_umamba.confidence.members import MemberDecisions
from swin_umamba.data.image_io import MAX_VOXELS
from swin_umamba.errors import CheckpointError, DataError, SwinUMambaError
from swin_umamba.evaluation.postprocessing import apply_steps
from swin_umamba.inference.objects import chosen_decoding, measure_objects
from swin_umamba.inference.options import ObjectOptions
from swin_umamba.inference.prediction import Prediction
from swin_umamba.instances.decoding import ObjectClasses
from swin_umamba.instances.table import ObjectTable
from swin_umamba.memory import is_out_of_memory, out_of_memory
from swin_umamba.ops.backend import current_device
from swin_umamba.tiling.bands import Band, all_finite
from swin_umamba.trained.label_map import LabelMap, foreground_of
from swin_umamba.trained.volume import Volume

if TYPE_CHECKING:
    from swin_umamba.inference.predictor import Predictor


@dataclass(frozen=True)
class Wanted:
    """What a prediction is to hold besides the labels.

    Attributes
    ----------
    probabilities, confidence
        Whether it holds these.
    objects
        How objects are found; None for no objects.
    """

    probabilities: bool = False
    confidence: bool = False
    objects: ObjectOptions | None = None


@dataclass(frozen=True)
class Prepared:
    """An image as the network takes it.

    Attributes
    ----------
    volume
        The image itself.
    data
        ``(channels, Z, Y, X)``, float32: cropped, resampled and normalized.
    properties
        What undoes that for the labels.
    """

    volume: Volume
    data: Tensor
    properties: dict[str, Any]


@dataclass(frozen=True)
class Passed:
    """An image that the network has seen.

    Attributes
    ----------
    volume, properties
        As of ``Prepared``.
    labels
        The label map ``(Z, Y, X)``, if nothing else was wanted and it is on the grid of the image.
    logits
        ``(classes, Z, Y, X)`` on the grid of the network, else.
    depth
        ``(1, Z, Y, X)`` on that grid, if the network has learnt it.
    members
        The decisions of the ensemble, if wanted.
    """

    volume: Volume
    properties: dict[str, Any]
    labels: np.ndarray | None = None
    logits: Tensor | None = None
    depth: Tensor | None = None
    members: MemberDecisions | None = None


def prepare(predictor: Predictor, volume: Volume, max_voxels: int = MAX_VOXELS) -> Prepared:
    """Crop, resample and normalize an image.

    Raises
    ------
    DataError
        It does not fit into memory, or as ``ModelPlans.preprocess`` says.
    """
    with _telling_what_was_full(predictor, volume):
        data, properties = predictor.plans.preprocess(volume, max_voxels)
    return Prepared(volume, torch.from_numpy(data), properties)


@torch.inference_mode()
def pass_through(
    predictor: Predictor,
    prepared: Prepared,
    wanted: Wanted,
    on_progress: Callable[[float], None] | None = None,
) -> Passed:
    """Run the network on a prepared image.

    Raises
    ------
    DataError
        It does not fit into memory.
    CheckpointError
        The network's output is not finite.
    """
    image, properties, plans = prepared.data, prepared.properties, predictor.plans
    nothing_else = not (wanted.probabilities or wanted.objects or wanted.confidence)
    networks, window = predictor.networks, predictor.window
    one_band = not networks.all_at_hand
    with _telling_what_was_full(predictor, prepared.volume), current_device(predictor.device):
        if nothing_else and plans.keeps_shape(image.shape[1:], properties):
            # Only a band of the logits is ever there.
            bands = window.bands(networks, image, on_progress=on_progress, one_band=one_band)
            labels = labels_of_bands(bands, plans.label_map(properties), predictor.model.path)
            return Passed(prepared.volume, properties, labels=labels)
        members = MemberDecisions(independent=predictor.has_regions) if wanted.confidence else None
        with networks.returning_depth(wanted.objects is not None and predictor.knows_depth) as num_extra:
            logits = replace(window, num_extra=num_extra).logits(
                networks, image, members=members, on_progress=on_progress, one_band=one_band
            )
        check_finite(logits, predictor.model.path)
    depth = logits[-1:] if num_extra else None
    classes = logits[:-1] if num_extra else logits
    return Passed(prepared.volume, properties, logits=classes, depth=depth, members=members)


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
        See ``check_finite``.
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


@torch.inference_mode()
def conclude(predictor: Predictor, passed: Passed, wanted: Wanted) -> Prediction:
    """Return the prediction of an image that the network has seen.

    Raises
    ------
    DataError
        It does not fit into memory.
    """
    volume = passed.volume
    with _telling_what_was_full(predictor, volume):
        labels, classes, foreground, depth = _on_the_grid(predictor, passed, wanted)
        if predictor.postprocessing:
            spacing = predictor.plans.spacing_of(volume)
            pixel = math.prod(spacing[1:] if volume.flat else spacing)
            labels = apply_steps(
                labels, predictor.postprocessing, 1.0 if predictor.plans.counts_pixels else pixel
            )
    sureness = None
    if passed.members is not None and classes is not None:
        sureness = estimate_confidence(
            classes,
            passed.members,
            classes=list(predictor.plans.classes),
            has_regions=predictor.has_regions,
            temperature=predictor.model.temperature,
            quality_exponent=predictor.model.quality_exponent,
        )
    found: tuple[np.ndarray | None, ObjectTable | None] = None, None
    if wanted.objects is not None and foreground is not None:
        of_objects, how = ObjectClasses.of(predictor.labels), wanted.objects
        decoding = chosen_decoding(predictor.model.decoding, how)
        found = measure_objects(labels, foreground, volume, of_objects, decoding, how, depth)
    return Prediction(
        labels, classes if wanted.probabilities else None, volume.source, sureness, *found, depth
    )


def _on_the_grid(
    predictor: Predictor, passed: Passed, wanted: Wanted
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None, np.ndarray | None]:
    """Return labels, probabilities, foreground and depth, as far as they are wanted."""
    plans, logits, properties = predictor.plans, passed.logits, passed.properties
    foreground, depth = None, None
    if logits is None:
        assert passed.labels is not None
        labels, classes = passed.labels, None
    else:
        if passed.depth is not None:
            depth = plans.to_grid(passed.depth, properties)[0]
        if wanted.objects is not None:
            foreground = plans.to_foreground(logits, properties)
        labels, classes = plans.to_labels(logits, properties, wanted.probabilities or wanted.confidence)
    if passed.volume.flat:
        labels, classes = labels[0], None if classes is None else classes[:, 0]
        foreground, depth = (None if each is None else each[0] for each in (foreground, depth))
    return labels, classes, foreground, depth


@contextmanager
def _telling_what_was_full(predictor: Predictor, volume: Volume) -> Iterator[None]:
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if is_out_of_memory(error):
            raise _what_was_full(predictor, error, volume) from error
        raise


def _what_was_full(predictor: Predictor, error: BaseException, volume: Volume) -> SwinUMambaError:
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
    return out_of_memory(error, sizes=sizes, where=volume.path, hint=hint, kind=DataError)
