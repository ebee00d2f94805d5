"""Statistics of a label map: size, components and intensities of each class."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import scipy

from swin_umamba.csv_files import write_csv
from swin_umamba.data.image_io import Image, check_label_names, on_grid_of
from swin_umamba.evaluation.cases import label_values
from swin_umamba.evaluation.class_names import given_names, names_of_values
from swin_umamba.evaluation.classes import LabelClasses

MM3_IN_ML = 1000


@dataclass(frozen=True)
class IntensityStatistics:
    """Intensities of one channel inside one class; ``std`` is the population's."""

    mean: float
    std: float
    min: float
    max: float


@dataclass(frozen=True)
class ClassStatistics:
    """Size and intensities of one class in one label map.

    Attributes
    ----------
    name
        Name of the class.
    values
        Its label values.
    pixels
        Number of pixels or voxels.
    size
        Volume in mm3, or area in mm2 for a flat image; in pixels if their size is unknown.
    components
        Number of connected components; pixels are neighbours across faces, edges and corners.
    intensities
        Intensities in each channel of the image; empty without an image, and for a class that does not occur.
    """

    name: str
    values: tuple[int, ...]
    pixels: int
    size: float
    components: int
    intensities: tuple[IntensityStatistics, ...] = ()


@dataclass(frozen=True)
class LabelStatistics:
    """Statistics of all classes of a label map; ``unit`` is the unit of their sizes."""

    unit: str
    channels: int
    classes: tuple[ClassStatistics, ...]

    def renamed(self, names: Mapping[str, str]) -> LabelStatistics:
        """Return the same with other names of the classes."""
        return replace(self, classes=tuple(replace(each, name=names[each.name]) for each in self.classes))

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain data for JSON."""
        return {"unit": self.unit, "classes": [asdict(each) for each in self.classes]}

    def rows(self) -> list[list[str | int | float]]:
        """Return the header and a row for each class."""
        fields = ("mean", "std", "min", "max")
        channels = [f"_{channel}" if self.channels > 1 else "" for channel in range(self.channels)]
        kind = "area" if self.unit in ("mm2", "pixels") else "volume"
        header = ["class", "label", "pixels", f"{kind}_{self.unit}", "components"]
        rows: list[list[str | int | float]] = [[*header, *(f"{f}{c}" for c in channels for f in fields)]]
        for each in self.classes:
            values = [getattr(one, field) for one in each.intensities for field in fields]
            values += [math.nan] * (len(rows[0]) - len(header) - len(values))
            label = "+".join(map(str, each.values))
            rows.append([each.name, label, each.pixels, each.size, each.components, *values])
        return rows

    def write_csv(self, path: str | Path) -> None:
        """Write the table atomically, with empty cells for what is not applicable."""
        write_csv(path, self.rows())


def label_statistics(
    labels: Image, image: Image | None = None, classes: LabelClasses | None = None
) -> LabelStatistics:
    """Measure every class of a label map.

    Parameters
    ----------
    labels
        Label map with one channel of integers; 0 is the background.
    image
        Image on the same grid, for the intensities.
    classes
        Classes to measure; by default, every value above 0 that the map holds or names is a class, called as
        the file calls it, or by its value.

    Raises
    ------
    GeometryError
        If the image is on another grid.
    """
    statistics = statistics_of_values(labels, image, classes)
    if classes is not None:
        return statistics
    values = (each.name for each in statistics.classes)
    return statistics.renamed(names_of_values(values, given_names(labels)))


def statistics_of_values(
    labels: Image, image: Image | None = None, classes: LabelClasses | None = None
) -> LabelStatistics:
    """Measure like :func:`label_statistics`, with values for the names of classes that are not given."""
    if image is not None:
        labels = on_grid_of(image, labels)
    data = labels.data[0]
    if classes is not None:
        check_label_names(labels, classes.values)
    # A segment without a voxel is a result, too: nothing was found.
    named = [value for value, _ in given_names(labels)]
    measured = classes or LabelClasses.from_values([*label_values(data), *named])
    return LabelStatistics(
        unit=_unit(labels),
        channels=0 if image is None else image.num_channels,
        classes=tuple(
            _class_statistics(name, values, data, labels.pixel_size, image)
            for name, values in sorted(measured.values.items(), key=lambda item: item[1])
        ),
    )


def class_volumes_ml(labels: Image, values: Mapping[str, tuple[int, ...]]) -> dict[str, float] | None:
    """Return the volume of each class of a label map in millilitres.

    Parameters
    ----------
    labels
        Label map with one channel of integers.
    values
        Label values of each class by its name; classes may overlap.

    Returns
    -------
    dict or None
        None for a flat image, and where the size of a voxel is not known.
    """
    if _unit(labels) != "mm3":
        return None
    size, data = labels.pixel_size / MM3_IN_ML, labels.data[0]
    return {name: int(np.count_nonzero(np.isin(data, each))) * size for name, each in values.items()}


def _unit(labels: Image) -> str:
    flat = len(labels.spatial_shape) == 2
    if not labels.has_spacing:
        return "pixels" if flat else "voxels"
    return "mm2" if flat else "mm3"


def _class_statistics(
    name: str, values: tuple[int, ...], data: np.ndarray, pixel_size: float, image: Image | None
) -> ClassStatistics:
    mask = np.isin(data, values)
    pixels = int(np.count_nonzero(mask))
    components = int(scipy.ndimage.label(mask, np.ones((3,) * mask.ndim))[1]) if pixels else 0
    intensities: tuple[IntensityStatistics, ...] = ()
    if image is not None and pixels:
        inside = image.data[:, mask].astype(np.float64)
        intensities = tuple(
            IntensityStatistics(float(one.mean()), float(one.std()), float(one.min()), float(one.max()))
            for one in inside
        )
    return ClassStatistics(name, values, pixels, pixels * pixel_size, components, intensities)
