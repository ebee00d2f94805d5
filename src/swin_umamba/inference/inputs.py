"""Turn what a caller gives to predict into what nnU-Net's preprocessing expects."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from swin_umamba.data.image_io import read_case
from swin_umamba.errors import DataError, UsageError
from swin_umamba.trained.volume import FLAT_SPACING_FACTOR, Volume


def as_volume(
    image: np.ndarray | str | Path | Sequence[str | Path],
    spacing: Sequence[float] | None,
    channel_names: Sequence[str],
    nonfinite: Literal["refuse", "zero"] = "refuse",
    series: str | None = None,
) -> Volume:
    """Read or reshape an image for a model that takes the channels ``channel_names``.

    Parameters
    ----------
    image
        An array (Y, X), (C, Y, X), (C, Z, Y, X), or (Y, X, C) if only its last axis can be the channels; a
        file; or one file per channel.
    spacing
        Distance of neighbouring pixels along (Y, X) or (Z, Y, X); None for what the file says.
    channel_names
        Names of the model's channels, in order.
    nonfinite
        Refuse NaN and infinite values, or take them for zero.
    series
        UID or number of the series to take from a DICOM folder with several.

    Raises
    ------
    DataError
        If the image is damaged or not of a shape, dtype or number of channels that the model can take.
    UsageError
        If ``spacing`` does not have one positive number per axis.
    """
    if isinstance(image, np.ndarray):
        source, where = None, None
        data = _channels_first(image, channel_names, nonfinite)
    else:
        paths = [image] if isinstance(image, (str, Path)) else list(image)
        source = read_case(paths, nonfinite=nonfinite, series=series)
        data, where = source.data, source.path
        spacing = source.spacing if spacing is None else spacing
    if data.shape[0] != len(channel_names):
        raise wrong_channels(data.shape[0], channel_names, where)
    flat = data.ndim == 3
    return Volume(
        data=data[:, None] if flat else data,
        spacing=None if spacing is None else _spacing_3d(spacing, flat),
        flat=flat,
        source=source,
    )


def wrong_channels(found: int, channel_names: Sequence[str], where: Path | None) -> DataError:
    """Return the error for an image with another number of channels than the model's."""
    wanted = len(channel_names)
    return DataError(
        f"the image has {found} channel{'s' if found > 1 else ''}, but the model takes {wanted}: "
        + ", ".join(channel_names),
        where=where,
        cure=(
            "convert the image to grey, or give its one channel alone"
            if wanted == 1
            else f"give one file with {wanted} channels, or {wanted} single-channel files CASE_0000 to "
            f"CASE_{wanted - 1:04d}"
        ),
    )


def _channels_first(
    array: np.ndarray, channel_names: Sequence[str], nonfinite: Literal["refuse", "zero"]
) -> np.ndarray:
    channels = len(channel_names)
    if array.dtype.kind not in "biuf":
        raise DataError(f"an image of dtype {array.dtype}", cure="give real numbers")
    if array.size == 0 or array.ndim not in (2, 3, 4):
        raise DataError(
            f"an image of shape {array.shape}", cure="give (Y, X), (channels, Y, X) or (channels, Z, Y, X)"
        )
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        if nonfinite == "refuse":
            raise DataError("the image holds NaN or infinity", cure="replace those values, for example by 0")
        array = np.where(np.isfinite(array), array, array.dtype.type(0))
    if array.ndim == 2:
        return array[None]
    if array.ndim == 3 and array.shape[0] != channels and array.shape[-1] == channels:
        return np.moveaxis(array, -1, 0)
    if array.ndim == 3 and channels == 1 and array.shape[0] > 1:
        raise DataError(
            f"an image of shape {array.shape} could be a volume or have {array.shape[0]} channels, "
            f"but the model takes 1: {channel_names[0]}",
            cure="give a volume as (1, Z, Y, X): image[np.newaxis]",
        )
    return array


def _spacing_3d(spacing: Sequence[float], flat: bool) -> tuple[float, float, float]:
    values = tuple(float(value) for value in spacing)
    if len(values) != (2 if flat else 3) or not all(np.isfinite(v) and v > 0 for v in values):
        raise UsageError(
            f"spacing {tuple(spacing)}",
            cure=f"give {'two positive numbers (Y, X)' if flat else 'three positive numbers (Z, Y, X)'}",
        )
    across = max(values) * FLAT_SPACING_FACTOR if flat else values[0]
    return across, values[-2], values[-1]
