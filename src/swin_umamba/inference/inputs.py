"""Turn the input of a prediction into what nnU-Net's preprocessing expects."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from swin_umamba.data.dicom import ChosenSeries
from swin_umamba.data.image_io import Image, read_case
from swin_umamba.data.picture_checks import refuse_transparent
from swin_umamba.errors import DataError, UsageError
from swin_umamba.options import Nonfinite
from swin_umamba.trained.volume import FLAT_SPACING_FACTOR, Volume

Given = np.ndarray | Image | str | Path | Sequence[str | Path]
"""Anything that can be segmented."""

# Channel names of colour models; convert and the challenges' data sets use R, G and B.
_COLOUR_NAMES = (["r", "g", "b"], ["red", "green", "blue"], ["rgb_to_0_1"] * 3)


def as_volume(
    image: Given,
    spacing: Sequence[float] | None,
    channel_names: Sequence[str],
    nonfinite: Nonfinite = "refuse",
    series: ChosenSeries | None = None,
) -> Volume:
    """Read or reshape an image for a model that takes the channels ``channel_names``.

    Parameters
    ----------
    image
        An array (Y, X), (C, Y, X), (C, Z, Y, X), or (Y, X, C) if only its last axis can be the channels; a
        file; one file per channel; or an image already read. See :func:`fit_channels`; an array (Y, X, 4) or
        (Y, X, 2) of colours or grey may also have an alpha channel that is opaque everywhere.
    spacing
        Distance between neighbouring pixels along (Y, X) or (Z, Y, X); None to use the file's.
    channel_names
        Names of the model's channels, in order.
    nonfinite
        Whether to refuse NaN and infinite values or to replace them with zero.
    series
        UID, number or files of the series to take from a DICOM folder with several.

    Raises
    ------
    DataError
        If the image is damaged, or the model cannot take its shape, dtype or number of channels.
    TypeError
        If the input is anything else, such as a Pillow image, a tensor or a list of arrays.
    UsageError
        If ``spacing`` does not have one positive number per axis.
    """
    source, where = None, None
    if isinstance(image, np.ndarray):
        data = _channels_first(_plain(image), channel_names, nonfinite)
    else:
        source = (
            image
            if isinstance(image, Image)
            else read_case(_files(image), nonfinite=nonfinite, series=series)
        )
        data, where = source.data, source.path
        if spacing is None and source.has_spacing:
            spacing = source.spacing
    data = fit_channels(data, channel_names, where)
    flat = data.ndim == 3
    return Volume(
        data=data[:, None] if flat else data,
        spacing=None if spacing is None else _spacing_3d(spacing, flat),
        flat=flat,
        source=source,
    )


def fit_channels(data: np.ndarray, channel_names: Sequence[str], where: Path | None) -> np.ndarray:
    """Return an image ``(channels, ...)`` with the channels of a model.

    A colour model gets a grey image as three equal channels, which is how ``convert`` stores grey images
    among coloured ones.

    Raises
    ------
    DataError
        The model takes other channels.
    """
    if len(data) == 1 and takes_colours(channel_names):
        return np.repeat(data, len(channel_names), axis=0)
    if len(data) != len(channel_names):
        raise wrong_channels(len(data), channel_names, where)
    return data


def takes_colours(channel_names: Sequence[str]) -> bool:
    """Return whether a model's channels are red, green and blue, so that it also takes grey images."""
    return [name.lower() for name in channel_names] in _COLOUR_NAMES


def _files(image: object) -> list[str | Path]:
    if isinstance(image, (str, Path)):
        return [image]
    if isinstance(image, Sequence) and all(isinstance(each, (str, Path)) for each in image):
        return list(image)
    kind = type(image)
    inside = f" of {type(image[0]).__name__}" if isinstance(image, (list, tuple)) else ""
    raise TypeError(
        "an image is a path, a list of paths (one for each channel), or a NumPy array (Y, X), (C, Y, X), "
        f"(Y, X, C) or (C, Z, Y, X), not {kind.__module__}.{kind.__qualname__}{inside}; "
        "give numpy.asarray(IMAGE) of a tensor or of a Pillow image in mode L or RGB, and numpy.stack(LIST) "
        "of a list of channels"
    )


def _plain(array: np.ndarray) -> np.ndarray:
    if np.ma.is_masked(array):
        raise DataError("pixels of the array are masked", hint="give array.filled(VALUE)")
    return np.asarray(array)


def wrong_channels(found: int, channel_names: Sequence[str], where: Path | None) -> DataError:
    """Return the error for an image with another number of channels than the model's."""
    wanted = len(channel_names)
    return DataError(
        f"the image has {found} channel{'s' if found > 1 else ''}, but the model takes {wanted}: "
        + ", ".join(channel_names),
        where=where,
        hint=(
            "convert the image to grey, or give its one channel alone"
            if wanted == 1
            else f"give one file with {wanted} channels, or {wanted} single-channel files CASE_0000 to "
            f"CASE_{wanted - 1:04d}"
        ),
    )


def _channels_first(array: np.ndarray, channel_names: Sequence[str], nonfinite: Nonfinite) -> np.ndarray:
    channels = len(channel_names)
    if array.dtype.kind not in "biuf":
        raise DataError(f"an image of dtype {array.dtype}", hint="give real numbers")
    if array.size == 0 or array.ndim not in (2, 3, 4):
        raise DataError(
            f"an image of shape {array.shape}", hint="give (Y, X), (channels, Y, X) or (channels, Z, Y, X)"
        )
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        if nonfinite == "refuse":
            raise DataError("the image holds NaN or infinity", hint="replace those values, for example by 0")
        array = np.where(np.isfinite(array), array, array.dtype.type(0))
    if array.ndim == 2:
        return array[None]
    if array.ndim == 3 and array.shape[0] != channels:
        if array.shape[-1] == channels:
            return np.moveaxis(array, -1, 0)
        if array.shape[0] != 1 and (opaque := _without_alpha(array, channel_names)) is not None:
            return np.moveaxis(opaque, -1, 0)
    if array.ndim == 3 and channels == 1 and array.shape[0] > 1:
        raise DataError(
            f"an image of shape {array.shape} could be a volume or have {array.shape[0]} channels, "
            f"but the model takes 1: {channel_names[0]}",
            hint="give a volume as (1, Z, Y, X): image[np.newaxis]",
        )
    return array


def _without_alpha(array: np.ndarray, channel_names: Sequence[str]) -> np.ndarray | None:
    """Drop an alpha channel, opaque everywhere, from grey or colour (Y, X, C); None for other arrays."""
    colours = takes_colours(channel_names)
    values = array.shape[-1]
    if colours and values == 1:
        return array
    if array.dtype not in (np.uint8, np.uint16) or not (colours or len(channel_names) == 1):
        return None
    transparent = int(np.count_nonzero(array[..., -1] != np.iinfo(array.dtype).max))
    if colours and values == 4:
        refuse_transparent(None, transparent)
    fits = values == 2 or (colours and values == 4)
    return array[..., :-1] if fits and not transparent else None


def _spacing_3d(spacing: Sequence[float], flat: bool) -> tuple[float, float, float]:
    values = tuple(float(value) for value in spacing)
    if len(values) != (2 if flat else 3) or not all(np.isfinite(v) and v > 0 for v in values):
        raise UsageError(
            f"spacing {tuple(spacing)}",
            hint=f"give {'two positive numbers (Y, X)' if flat else 'three positive numbers (Z, Y, X)'}",
        )
    across = max(values) * FLAT_SPACING_FACTOR if flat else values[0]
    return across, values[-2], values[-1]
