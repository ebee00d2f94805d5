"""Crop and normalize an image as nnU-Net's default preprocessor does, to the last bit, without importing it.

Z-scores over all pixels are the exception: their mean and deviation are exact (see ``intensities``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from swin_umamba.errors import DataError
from swin_umamba.nnunet.plans_table import CT, INTENSITIES_OF
from swin_umamba.trained.configuration import Z_SCORE, Configuration
from swin_umamba.trained.intensities import SMALLEST_DEVIATION, moments_of, normalized, z_score
from swin_umamba.trained.model import TrainedModel
from swin_umamba.trained.volume import Volume

PREPROCESSOR = "DefaultPreprocessor"
RESCALED, COLOURS, NOTHING = "RescaleTo01Normalization", "RGBTo01Normalization", "NoNormalization"
SCHEMES = (Z_SCORE, CT, RESCALED, COLOURS, NOTHING)
LARGEST_COLOUR = 255


def preprocess(
    volume: Volume, spacing: Sequence[float], model: TrainedModel, configuration: Configuration
) -> tuple[np.ndarray, dict[str, Any]]:
    """Crop, normalize and resample; return ``(channels, Z, Y, X)`` and how to undo it for the labels.

    Parameters
    ----------
    volume
        The image.
    spacing
        Spacing along its axes, in mm.
    model, configuration
        The trained model and its configuration.

    Raises
    ------
    DataError
        A channel is meant to be a colour, and has values below 0 or above 255.
    """
    schemes, masked = configuration.normalization_schemes, configuration.use_mask_for_norm
    if configuration.configuration["preprocessor_name"] != PREPROCESSOR or not set(schemes) <= set(SCHEMES):
        return _by_nnunet(volume, spacing, model, configuration)
    axes = model.plans["transpose_forward"]
    data = volume.data.astype(np.float32).transpose(0, *(axis + 1 for axis in axes))
    properties: dict[str, Any] = {"spacing": list(spacing), "shape_before_cropping": data.shape[1:]}
    box = box_of_content(data)
    inside = (slice(None), *(slice(first, last) for first, last in box))
    data = data[inside]
    properties |= {
        "bbox_used_for_cropping": box,
        "shape_after_cropping_and_before_resampling": data.shape[1:],
    }
    normalize_crop(volume, data, schemes, masked, intensities_of(model.plans))
    current = [spacing[axis] for axis in axes]
    wanted = configuration.spacing
    wanted = [*current[: 3 - len(wanted)], *wanted]  # slices stay where they are
    shape = [
        round(before / after * size)
        for before, after, size in zip(current, wanted, data.shape[1:], strict=True)
    ]
    return np.asarray(configuration.resampled("data", data, shape, current, wanted)), properties


def intensities_of(plans: Mapping[str, Any]) -> Mapping[str, Mapping[str, float]]:
    """Return nnU-Net's statistics of the training images' foreground, for each channel by its number."""
    return next(plans[name] for name in INTENSITIES_OF if name in plans)


def _by_nnunet(
    volume: Volume, spacing: Sequence[float], model: TrainedModel, configuration: Configuration
) -> tuple[np.ndarray, dict[str, Any]]:
    """Have nnU-Net do it: its plans name a class of the user's own nnU-Net."""
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    manager = PlansManager(model.plans)
    its_configuration = manager.get_configuration(model.configuration)
    preprocessor = its_configuration.preprocessor_class(verbose=False)
    preprocessor._normalize = partial(
        normalized, volume, configuration.z_scored_channels, preprocessor._normalize
    )
    data, _, properties = preprocessor.run_case_npy(
        volume.data, None, {"spacing": list(spacing)}, manager, its_configuration, model.dataset_json
    )
    return data, properties


def box_of_content(data: np.ndarray) -> list[list[int]]:
    """Return the first index and the one after the last that is not zero in every channel, for each axis.

    An image of zeros is kept as a whole.

    Parameters
    ----------
    data
        The image, ``(channels, Z, Y, X)``.
    """
    inside = _content(data)
    box = []
    for axis in range(inside.ndim):
        others = tuple(each for each in range(inside.ndim) if each != axis)
        found = np.flatnonzero(inside.any(axis=others))
        box.append([int(found[0]), int(found[-1]) + 1] if found.size else [0, inside.shape[axis]])
    return box


def _content(data: np.ndarray) -> np.ndarray:
    inside: np.ndarray = data[0] != 0
    for channel in data[1:]:
        inside |= channel != 0
    return inside


def normalize_crop(
    volume: Volume,
    data: np.ndarray,
    schemes: list[str],
    masked: list[bool],
    intensities: Mapping[str, Mapping[str, float]],
) -> None:
    """Normalize the channels of a cropped image in place.

    Parameters
    ----------
    volume
        The image before it was cropped, which only removed zeros.
    data
        The cropped image in float32, ``(channels, Z, Y, X)``.
    schemes
        One of ``SCHEMES`` for each channel.
    masked
        For each channel, whether zeros around the content are left out of its z-score and kept.
    intensities
        For each channel by its number, statistics of the training images' foreground.

    Raises
    ------
    DataError
        A channel is meant to be a colour, and has values below 0 or above 255.
    """
    wants_mask = any(scheme == Z_SCORE and each for scheme, each in zip(schemes, masked, strict=True))
    inside = _filled(data) if wants_mask else None
    for channel, (image, scheme, by_mask) in enumerate(zip(data, schemes, masked, strict=True)):
        if scheme != Z_SCORE:
            normalize_channel(scheme, image, intensities[str(channel)], volume.path)
        elif by_mask and inside is not None:
            _z_score_inside(image, inside)
        else:
            z_score(image, *moments_of(volume.data[channel]).mean_and_deviation(image.size))


def _filled(data: np.ndarray) -> np.ndarray:
    """Return where an image has content, or is enclosed by it."""
    from scipy.ndimage import binary_fill_holes

    filled: np.ndarray = binary_fill_holes(_content(data))
    return filled


def _z_score_inside(image: np.ndarray, inside: np.ndarray) -> None:
    values = image[inside]
    if values.size:
        image[inside] = (values - values.mean()) / max(values.std(), SMALLEST_DEVIATION)


def normalize_channel(
    scheme: str, image: np.ndarray, intensities: Mapping[str, float], where: Path | None
) -> None:
    """Normalize float32 numbers in place by a scheme that is not a z-score; arguments as above.

    Raises
    ------
    DataError
        They are meant to be a colour, and there are values below 0 or above 255.
    """
    if scheme == CT:
        np.clip(image, intensities["percentile_00_5"], intensities["percentile_99_5"], out=image)
        image -= intensities["mean"]
        image /= max(intensities["std"], SMALLEST_DEVIATION)
    elif scheme == RESCALED:
        image -= image.min()
        image /= np.clip(image.max(), SMALLEST_DEVIATION, None)
    elif scheme == COLOURS:
        _check_colours(image, where)
        image /= float(LARGEST_COLOUR)


def _check_colours(image: np.ndarray, where: Any) -> None:
    least, most = image.min(), image.max()
    if not (least >= 0 and most <= LARGEST_COLOUR):
        raise DataError(
            f"the model was trained on colours from 0 to {LARGEST_COLOUR}; the image has values from "
            f"{least:g} to {most:g}",
            where=where,
            hint="give the image as colours of 8 bits",
        )
