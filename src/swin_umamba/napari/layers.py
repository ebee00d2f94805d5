"""Viewer layers as images for a model, and the placement of its labels in the viewer.

Nothing here imports napari: anything with the attributes of ``ImageLayer`` is a layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from swin_umamba.errors import DataError, GeometryError, UsageError
from swin_umamba.inference.inputs import takes_colours

CHANNEL_LABELS = frozenset({"c", "ch", "channel", "channels"})
TIME_LABELS = frozenset({"t", "time"})
GRID_KEY = "swin_umamba_grid"
"""Metadata key of the image (without voxels) on whose grid a layer's labels are written."""

# Number of exact digits of a pixel distance: the norm of a matrix column is inexact in its last one.
_SPACING_DIGITS = 12


class ImageLayer(Protocol):
    """The parts of an image layer that are read.

    Attributes are those of ``napari.layers.Image``: ``data`` without colours has ``ndim`` axes, ``units``
    holds a ``pint.Unit`` for each, and ``data_to_world`` maps indices to the viewer's coordinates.
    """

    name: str
    data: Any
    rgb: bool
    multiscale: bool
    ndim: int
    scale: Any
    translate: Any
    rotate: Any
    shear: Any
    affine: Any
    units: Any
    axis_labels: Any
    metadata: dict[str, Any]

    def data_to_world(self, position: Any) -> Any:
        """Return the position of an index in the viewer."""


@dataclass(frozen=True)
class LayerImage:
    """An image for a model.

    Attributes
    ----------
    name
        Name of the layer, or of the first one if each channel has its own.
    data
        ``(C, Y, X)`` or ``(C, Z, Y, X)``.
    spacing
        Distance between neighbouring pixels along (Y, X) or (Z, Y, X) in mm; None if the layer does not say.
    geometry
        Arguments that place a labels layer on the image: ``scale`` and so on.
    metadata
        Metadata a labels layer needs to be written on the grid of the image: ``GRID_KEY`` or nothing.
    has_units
        Whether ``spacing`` follows from units of length rather than being assumed to be mm.
    repeats
        Axis along which labels are repeated, and how many times, since the viewer aligns layers at their last
        axes: channels after the first axis keep their place. None if nothing is repeated.
    """

    name: str
    data: np.ndarray
    spacing: tuple[float, ...] | None
    geometry: dict[str, Any]
    metadata: dict[str, Any]
    has_units: bool = False
    repeats: tuple[int, int] | None = None

    def on_layer(self, array: np.ndarray) -> np.ndarray:
        """Return an array (Y, X) or (Z, Y, X) on the grid of the layer."""
        if self.repeats is None:
            return array
        axis, times = self.repeats
        return np.repeat(np.expand_dims(array, axis), times, axis)


def layer_image(
    layers: Sequence[ImageLayer], channel_names: Sequence[str], *, channel_axis: int | None = None
) -> LayerImage:
    """Read layers as one image for a model.

    Parameters
    ----------
    layers
        One layer with all channels, or one layer per channel, in the model's order. The finest level of a
        multiscale layer is used; lazy arrays are computed.
    channel_names
        Names of the model's channels.
    channel_axis
        Axis of a single layer that holds the channels. By default the colours of an RGB layer (alpha is
        dropped for a model with three channels), an axis labelled ``c`` or ``channel``, or the only axis
        whose length is the model's number of channels. A colour model takes a grey layer as three equal
        channels.

    Raises
    ------
    DataError
        If the layer has other channels than the model, a time axis or too many dimensions.
    GeometryError
        If layers of one image differ in shape or position.
    UsageError
        If there is no such channel axis, or more than one candidate.
    """
    if len(layers) == 1:
        return _image_of_one(layers[0], channel_names, channel_axis)
    if len(layers) != len(channel_names):
        raise DataError(
            f"{len(layers)} layers are chosen, but the model takes {len(channel_names)} channels: "
            + ", ".join(channel_names),
            hint="choose one layer for each channel",
        )
    images = [_image_of_one(layer, [name], None) for layer, name in zip(layers, channel_names, strict=True)]
    first = images[0]
    for image in images[1:]:
        if image.data.shape != first.data.shape or not _same(image.geometry, first.geometry):
            raise GeometryError(
                f"the layers {first.name!r} and {image.name!r} do not lie on the same grid: shapes "
                f"{first.data.shape[1:]} and {image.data.shape[1:]}, or their scale or place differ",
                hint="choose layers of one image, or resample one to the grid of the other",
            )
    return replace(first, data=np.concatenate([image.data for image in images]))


def layer_spacing(layer: ImageLayer, axes: Sequence[int]) -> tuple[float, ...] | None:
    """Return the distance between neighbouring pixels along some axes in mm; None if the layer does not say.

    The distance is measured in the viewer, so it reflects the layer's scale and affine transform. If the
    units of all axes are lengths, they are converted to mm. If none is (the viewer's default is pixels) and
    not all distances are 1, they are assumed to be mm, as most readers of medical images intend. In any other
    case the layer says nothing about the pixel size.
    """
    origin = np.asarray(layer.data_to_world(np.zeros(layer.ndim)), float)
    steps = [np.asarray(layer.data_to_world(np.eye(layer.ndim)[axis]), float) - origin for axis in axes]
    distances = [float(f"{np.linalg.norm(step):.{_SPACING_DIGITS}g}") for step in steps]
    lengths = [_millimetres(layer.units[axis]) for axis in axes]
    known = [length for length in lengths if length is not None]
    if len(known) == len(axes):
        return tuple(distance * length for distance, length in zip(distances, known, strict=True))
    if known or all(distance == 1 for distance in distances):
        return None
    return tuple(distances)


def _image_of_one(layer: ImageLayer, channel_names: Sequence[str], chosen: int | None) -> LayerImage:
    finest = layer.data[0] if layer.multiscale else layer.data
    if layer.rgb:
        axis, position = None, finest.ndim - 1
    else:
        axis = position = _channel_axis(layer, finest.shape, channel_names, chosen)
    spatial = [number for number in range(layer.ndim) if number != axis]
    _check_spatial(layer, finest.shape, spatial)
    array = np.asarray(finest)
    data = array[None] if position is None else np.moveaxis(array, position, 0)
    if layer.rgb and len(data) == 4 and len(channel_names) == 3:
        data = data[:3]
    if len(data) == 1 and takes_colours(channel_names):
        data = np.repeat(data, len(channel_names), axis=0)
    if len(data) != len(channel_names):
        raise _wrong_channels(layer, len(data), channel_names)
    geometry = _geometry(layer)
    return LayerImage(
        name=layer.name,
        data=data,
        spacing=layer_spacing(layer, spatial),
        geometry=_without_first_axis(geometry, layer) if axis == 0 else geometry,
        metadata={key: value for key, value in layer.metadata.items() if key == GRID_KEY},
        has_units=all(_millimetres(layer.units[number]) is not None for number in spatial),
        repeats=(axis, finest.shape[axis]) if axis else None,
    )


def _channel_axis(
    layer: ImageLayer, shape: Sequence[int], channel_names: Sequence[str], chosen: int | None
) -> int | None:
    """Return the axis that holds the channels in a layer without colours; None if there is none."""
    if chosen is not None:
        if not 0 <= chosen < len(shape):
            raise UsageError(
                f"the layer has no axis {chosen}: its shape is {tuple(shape)}",
                where=layer.name,
                hint=f"choose a channel axis from 0 to {len(shape) - 1}",
            )
        return chosen
    named = [axis for axis, label in enumerate(layer.axis_labels) if str(label).lower() in CHANNEL_LABELS]
    if named:
        return named[0]
    if len(channel_names) == 1:
        return 0 if len(shape) == 4 and shape[0] == 1 else None
    grey = takes_colours(channel_names)
    if len(shape) == 2 and not grey:
        raise _wrong_channels(layer, 1, channel_names)
    fitting = [axis for axis, size in enumerate(shape) if size == len(channel_names)]
    if len(shape) == 2 or (len(shape) == 3 and grey and not fitting):
        return None
    if not fitting:
        raise DataError(
            f"no axis of the layer holds the model's {len(channel_names)} channels "
            f"({', '.join(channel_names)}): its shape is {tuple(shape)}",
            where=layer.name,
            hint="choose another layer, or one layer for each channel",
        )
    if len(fitting) > 1:
        raise UsageError(
            f"the channels could be axis {' or '.join(map(str, fitting))} of the shape {tuple(shape)}",
            where=layer.name,
            hint="choose the channel axis",
        )
    return fitting[0]


def _check_spatial(layer: ImageLayer, shape: Sequence[int], spatial: Sequence[int]) -> None:
    over_time = [
        axis
        for axis in spatial
        if str(layer.axis_labels[axis]).lower() in TIME_LABELS or (1 * layer.units[axis]).check("[time]")
    ]
    if over_time or len(spatial) not in (2, 3):
        what = "is a time series" if over_time else f"has {len(spatial)} dimensions besides its channels"
        raise DataError(
            f"the layer {what}, but a model segments one picture or volume: its shape is {tuple(shape)}",
            where=layer.name,
            hint="show one step as a layer of its own, viewer.add_image(layer.data[STEP]), and choose that",
        )


def _wrong_channels(layer: ImageLayer, found: int, channel_names: Sequence[str]) -> DataError:
    wanted = len(channel_names)
    if layer.rgb and wanted == 1:
        hint = "split the layer into its colours (right click on it: Split RGB) and choose one"
    elif found == 1:
        hint = "choose one layer for each channel"
    else:
        hint = "choose another layer, or another channel axis"
    return DataError(
        f"the layer has {found} channel{'s' if found > 1 else ''}, but the model takes {wanted}: "
        + ", ".join(channel_names),
        where=layer.name,
        hint=hint,
    )


def _geometry(layer: ImageLayer) -> dict[str, Any]:
    return {
        **{name: np.array(getattr(layer, name), float) for name in ("scale", "translate", "rotate", "shear")},
        "affine": np.array(layer.affine.affine_matrix, float),
        "units": tuple(layer.units),
        "axis_labels": tuple(layer.axis_labels),
    }


def _without_first_axis(geometry: dict[str, Any], layer: ImageLayer) -> dict[str, Any]:
    """Return the geometry of the other axes; ``shear`` is the upper triangle of a matrix, row by row."""
    rows, _ = np.triu_indices(layer.ndim, k=1)
    shear, rotate, affine = geometry["shear"], geometry["rotate"], geometry["affine"]
    mixed = [shear[rows == 0], rotate[0, 1:], rotate[1:, 0], affine[0, 1:-1], affine[1:, 0]]
    if any(part.any() for part in mixed):
        raise DataError(
            "the layer is rotated or sheared between its channels and space",
            where=layer.name,
            hint="reset the layer's transform, or make one layer for each channel",
        )
    rest = {name: geometry[name][1:] for name in ("scale", "translate", "units", "axis_labels")}
    return {**rest, "rotate": rotate[1:, 1:], "shear": shear[rows > 0], "affine": affine[1:, 1:]}


def _same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    numbers = ("scale", "translate", "rotate", "shear", "affine")
    return one["units"] == other["units"] and all(
        one[key].shape == other[key].shape and np.allclose(one[key], other[key]) for key in numbers
    )


def _millimetres(unit: Any) -> float | None:
    """Return the length of a unit in mm; None if it is not a length."""
    quantity = 1 * unit
    return float(quantity.m_as("millimeter")) if quantity.check("[length]") else None
