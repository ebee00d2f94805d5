"""Turn layers into new ones with a loaded model, without the viewer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from swin_umamba.errors import DataError
from swin_umamba.instances.decoding import ObjectClasses
from swin_umamba.napari.layers import ImageLayer, LayerImage, layer_image
from swin_umamba.report.palette import class_colour, uncertainty_colours

if TYPE_CHECKING:
    from swin_umamba.inference.prediction import Prediction
    from swin_umamba.inference.predictor import Predictor

# Metadata key that marks a model's result, which is not an image to segment.
RESULT_KEY = "swin_umamba"
# Pixels more than this many times larger or smaller than the model's must be in other units.
LARGEST_RATIO = 30.0
_NO_FEATURES = ("case", "schema")  # the same in every row
UNCERTAINTY_STEPS = 65  # colours, between which the viewer interpolates


@dataclass(frozen=True)
class ModelDescription:
    """Description of a loaded model for the user.

    Attributes
    ----------
    title
        Network or trainer, configuration and folds.
    channel_names
        Channels the model takes, in order.
    classes
        Name and RGB colour (0 to 255) of each class except the background.
    can_find_objects
        Whether its classes can be turned into objects.
    keeps_objects_apart
        Whether one of its classes is the boundary between them.
    """

    title: str
    channel_names: list[str]
    classes: list[tuple[str, tuple[int, int, int]]]
    can_find_objects: bool = False
    keeps_objects_apart: bool = False


@dataclass(frozen=True)
class ClassResult:
    """One class in a result.

    Attributes
    ----------
    name
        Name of the class.
    colour
        RGB, 0 to 255.
    pixels
        Number of pixels with its label.
    quality
        Estimated Dice; None if it was not asked for or cannot be told.
    """

    name: str
    colour: tuple[int, int, int]
    pixels: int
    quality: float | None = None


@dataclass(frozen=True)
class NewLayer:
    """Data and keyword arguments of a layer to add to the viewer."""

    data: np.ndarray
    options: dict[str, Any]


@dataclass(frozen=True)
class Segmentation:
    """A model's segmentation of an image.

    Attributes
    ----------
    labels
        For ``add_labels``.
    uncertainty
        For ``add_image``: float32, 0 where the model is certain, 1 where all classes are equally likely; None
        unless asked for.
    classes
        Results of the classes except the background, by label value.
    size
        Number of pixels.
    spacing
        Distance between pixels in mm that was used; None for the model's own.
    quality
        Estimated mean Dice; None if it was not asked for or cannot be told.
    num_members
        Number of predictions compared for the estimate; 0 if not asked for.
    objects
        For ``add_labels``: object number of each pixel, with the table of objects as features. None unless
        asked for.
    num_objects
        Number of objects.
    """

    labels: NewLayer
    uncertainty: NewLayer | None
    classes: dict[int, ClassResult] = field(default_factory=dict)
    size: int = 0
    spacing: tuple[float, ...] | None = None
    quality: float | None = None
    num_members: int = 0
    objects: NewLayer | None = None
    num_objects: int = 0


def describe(predictor: Predictor) -> ModelDescription:
    """Return the description of a loaded model that the widget shows."""
    model = predictor.model
    folds = len(model.parameters)
    objects = ObjectClasses.find(predictor.labels)
    return ModelDescription(
        title=f"{model.trainer_name}, {model.configuration}, {folds} fold{'s' if folds > 1 else ''}",
        channel_names=predictor.channel_names,
        classes=[(name, class_colour(value)) for value, name in class_names(predictor).items() if value > 0],
        can_find_objects=objects is not None,
        keeps_objects_apart=objects is not None and objects.boundary is not None,
    )


def segment(
    predictor: Predictor,
    layers: Sequence[ImageLayer],
    *,
    model_name: str,
    channel_axis: int | None = None,
    use_scale: bool = True,
    confidence: bool = False,
    objects: bool = False,
    on_progress: Callable[[float], None] | None = None,
) -> Segmentation:
    """Segment the image held by one or more layers.

    Parameters
    ----------
    predictor
        The model.
    layers, channel_axis
        See ``layer_image``.
    model_name
        Name that becomes part of the new layers' names.
    use_scale
        Whether to take the pixel size from the layer (see ``layer_spacing``) instead of the model's. A model
        trained on pictures without a pixel size counts in pixels and always uses its own.
    confidence
        Whether to return the uncertainty and the estimated Dice, too.
    objects
        Whether to find the objects, too. They are measured in micrometres if the pixel size is taken from the
        layer and, for a model that counts in pixels, if the layer has units of length.
    on_progress
        See ``Predictor.predict``; any exception it raises ends the prediction.

    Raises
    ------
    DataError
        If the layers do not fit the model, or their pixels are far larger or smaller than the model's.
    UsageError
        If objects are requested from a model whose classes overlap.
    """
    image = layer_image(layers, predictor.channel_names, channel_axis=channel_axis)
    counts_pixels = predictor.plans.counts_pixels
    spacing = image.spacing if use_scale and not counts_pixels else None
    if spacing is not None:
        _check_ratio(spacing, predictor.plans.configuration.spacing, image.name)
    # Only for the table of objects; a scale without units could mean anything.
    of_objects = image.spacing if objects and counts_pixels and use_scale and image.has_units else None
    prediction = predictor.predict(
        image.data,
        spacing=spacing or of_objects,
        confidence=confidence,
        on_progress=on_progress,
        instances=objects,
    )
    names = class_names(predictor)
    found = prediction.confidence
    qualities = {} if found is None else found.class_quality
    counts = np.bincount(prediction.labels.ravel(), minlength=max(names) + 1)
    return Segmentation(
        labels=_labels_layer(image, prediction.labels, names, model_name, visible=not objects),
        uncertainty=None if found is None else _uncertainty_layer(image, found.entropy, model_name),
        classes={
            value: ClassResult(name, class_colour(value), int(counts[value]), qualities.get(name))
            for value, name in names.items()
            if value > 0
        },
        size=prediction.labels.size,
        spacing=spacing,
        quality=None if found is None else found.quality,
        num_members=0 if found is None else found.num_members,
        objects=_objects_layer(image, prediction, model_name),
        num_objects=0 if prediction.objects is None else len(prediction.objects),
    )


def class_names(predictor: Predictor) -> dict[int, str]:
    """Return the name of each value of the model's label maps, background first."""
    values = predictor.plans.label_values
    return {
        0: "background",
        **{value: name for name, value in sorted(values.items(), key=lambda item: item[1])},
    }


def label_colours(values: Sequence[int]) -> dict[int | None, tuple[float, float, float, float]]:
    """Return the RGBA colour (0 to 1) of each label value; background and all others are transparent."""
    clear = (0.0, 0.0, 0.0, 0.0)
    colours: dict[int | None, tuple[float, float, float, float]] = {None: clear, 0: clear}
    for value in values:
        if value > 0:
            red, green, blue = class_colour(value)
            colours[value] = (red / 255, green / 255, blue / 255, 1.0)
    return colours


def _check_ratio(spacing: Sequence[float], own: Sequence[float], name: str) -> None:
    # Compare only the smallest distances: the slices of a volume may be far apart.
    ratio = min(spacing) / min(own)
    if not 1 / LARGEST_RATIO <= ratio <= LARGEST_RATIO:
        raise DataError(
            f"the pixels of the layer measure {format_spacing(spacing)}, those that the model works at "
            f"{format_spacing(own)}: one of the two is in other units",
            where=name,
            hint="correct the scale or the units of the layer, or switch off the pixel size from the layer",
        )


def format_spacing(spacing: Sequence[float]) -> str:
    """Return a readable pixel size: ``0.8 × 0.8 mm``."""
    return " × ".join(f"{value:.3g}" for value in spacing) + " mm"


def _labels_layer(
    image: LayerImage, labels: np.ndarray, names: dict[int, str], model: str, *, visible: bool
) -> NewLayer:
    options = {
        "name": f"{image.name}: {model}",
        "colormap": label_colours(list(names)),
        # The viewer shows these beside the label under the mouse.
        "features": {"index": list(names), "class": list(names.values())},
        "metadata": {RESULT_KEY: {"model": model, "classes": dict(names)}, **image.metadata},
        "visible": visible,
        **image.geometry,
    }
    return NewLayer(image.on_layer(labels), options)


def _objects_layer(image: LayerImage, prediction: Prediction, model: str) -> NewLayer | None:
    """Return the instance map in the viewer's colours for numbers, with one feature per column."""
    if prediction.instances is None or prediction.objects is None:
        return None
    columns = prediction.objects.columns()
    features = {name: np.asarray(values) for name, values in columns.items() if name not in _NO_FEATURES}
    options = {
        "name": f"{image.name}: {model}, objects",
        "features": {"index": prediction.objects.number, **features},
        "metadata": {RESULT_KEY: {"model": model}, **image.metadata},
        **image.geometry,
    }
    return NewLayer(image.on_layer(prediction.instances), options)


def _uncertainty_layer(image: LayerImage, entropy: np.ndarray, model: str) -> NewLayer:
    options = {
        "name": f"{image.name}: {model}, uncertainty",
        "colormap": uncertainty_colours(np.linspace(0, 1, UNCERTAINTY_STEPS)) / 255,
        "contrast_limits": (0.0, 1.0),
        "blending": "translucent_no_depth",
        "metadata": {RESULT_KEY: {"model": model}},
        **image.geometry,
    }
    return NewLayer(image.on_layer(entropy), options)
