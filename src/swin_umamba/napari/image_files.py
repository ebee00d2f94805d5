"""Open and save files in the viewer with the package's own reader and writer: commands of napari's manifest.

Axes stay in file order, since that is the order in which a model sees them.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from swin_umamba.data.dicom import holds_dicom
from swin_umamba.data.formats import is_image_name
from swin_umamba.data.image_io import Image, image_stem, read_image, read_labels
from swin_umamba.data.image_io import write_labels as write_label_map
from swin_umamba.errors import UsageError
from swin_umamba.napari.layers import GRID_KEY
from swin_umamba.napari.segment import label_colours
from swin_umamba.report.overlay import is_colour

LayerData = tuple[np.ndarray, dict[str, Any], str]

# Axes x, y, z of NIfTI's world (right, anterior, superior) as axes of the viewer: z up, y to the back, x to
# the left, so that slices appear as radiologists see them.
_TO_VIEWER = np.array([[0.0, 0.0, 1.0], [0.0, -1.0, 0.0], [-1.0, 0.0, 0.0]])


def get_reader(path: str | list[str]) -> Callable[[str], list[LayerData]] | None:
    """Return a reader for a file of a supported format or a folder of DICOM files; None for anything else."""
    if isinstance(path, list):  # files to be stacked
        return None
    if Path(path).is_dir():
        return read_layers if holds_dicom(Path(path)) else None
    return read_layers if is_image_name(path) else None


def read_layers(path: str) -> list[LayerData]:
    """Return the layer of a file: labels of a segmentation that names its classes, else an image.

    Raises
    ------
    DataError
        As for ``read_image``.
    """
    image = read_image(path)
    if image.label_names is not None:
        labels = read_labels(path)
        names = {0: "background", **image.label_names}
        options = {
            **_options(labels),
            "colormap": label_colours(list(names)),
            "features": {"index": list(names), "class": list(names.values())},
        }
        return [(labels.data[0], options, "labels")]
    options = _options(image)
    if is_colour(image.data):
        return [(np.moveaxis(image.data, 0, -1), {**options, "rgb": True}, "image")]
    if image.num_channels == 1:
        return [(image.data[0], options, "image")]
    return [(image.data, _with_channels(options), "image")]


def write_labels(path: str, data: Any, attributes: dict[str, Any]) -> list[str]:
    """Write a labels layer on the grid of the image it was made from; return the file written.

    Raises
    ------
    UsageError
        The layer was not made from an image opened by ``read_layers``, or has been moved since.
    DataError
        As for ``image_io.write_labels``.
    """
    like = attributes.get("metadata", {}).get(GRID_KEY)
    hint = "open the image with Swin-UMamba, segment it there, and save the labels that come of it"
    if like is None:
        raise UsageError("the layer does not say on which image it lies", where=path, hint=hint)
    for key, wanted in _placement(like).items():
        given = np.asarray(getattr(attributes.get(key), "affine_matrix", attributes.get(key)), float)
        if given.shape != wanted.shape or not np.allclose(given, wanted):
            raise UsageError(
                f"the layer was moved: its {key} is not that of the image", where=path, hint=hint
            )
    write_label_map(path, np.asarray(data), like)
    return [path]


def _options(image: Image) -> dict[str, Any]:
    grid = replace(image, data=np.broadcast_to(np.uint8(0), (1, *image.spatial_shape)))
    options = {
        "name": image_stem(image.path),
        "axis_labels": tuple("zyx"[-len(image.spacing) :]),
        "metadata": {GRID_KEY: grid},
        **_placement(image),
    }
    if image.has_spacing:
        options["units"] = ("mm",) * len(image.spacing)
    return options


def _placement(image: Image) -> dict[str, np.ndarray]:
    """Return the scale and, if known, the directions and position of a volume in the viewer.

    The viewer shows slices only across its own axes. An image whose axes are closest to different ones, as in
    sagittal and coronal series, is placed along its own: correctly relative to images of the same directions.
    """
    ndim = len(image.spacing)
    affine, translate = np.eye(ndim + 1), np.zeros(ndim)
    if image.has_orientation and ndim == 3:
        axes = _TO_VIEWER @ np.asarray(image.direction).T
        origin = _TO_VIEWER @ np.asarray(image.origin)
        if (np.abs(axes).argmax(axis=0) == range(3)).all():
            affine[:3, :3], affine[:3, 3] = axes, origin
        else:
            warnings.warn(
                f"{image.path.name} is not axial: it is shown along its own axes, not where axial images lie",
                stacklevel=2,
            )
            translate = np.linalg.solve(axes, origin)
    return {"scale": np.asarray(image.spacing, float), "translate": translate, "affine": affine}


def _with_channels(options: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of a layer whose first axis holds the channels."""
    affine = np.eye(len(options["affine"]) + 1)
    affine[1:, 1:] = options["affine"]
    with_channels = {
        **options,
        "axis_labels": ("c", *options["axis_labels"]),
        "scale": np.array([1.0, *options["scale"]]),
        "translate": np.array([0.0, *options["translate"]]),
        "affine": affine,
    }
    if "units" in options:
        with_channels["units"] = ("pixel", *options["units"])
    return with_channels
