"""The objects of an instance map as a table: position, size, shape and brightness of each.

Shapes are made of whole pixels, as in scikit-image's ``regionprops``; moments use pixel centres.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import scipy

from swin_umamba.data.instance_labels import consecutive_labels
from swin_umamba.errors import UsageError
from swin_umamba.instances.sums import ObjectSums, check_shapes, sums_of

SCHEMA: Final = 1
"""Version of the columns, stored in the last of them."""
# A map is summed in slabs of about this many pixels, so that memory does not grow with the image.
SLAB = 2**22
MICROMETRES = 1000  # a millimetre


@dataclass(frozen=True, eq=False)
class ObjectTable:
    """The objects of a case by ascending number, one attribute per column.

    Attributes
    ----------
    case
        Name of the case.
    number
        ``(objects,)``: number of each object in the map.
    label
        ``(objects,)``: value of its class.
    class_name
        Name of each object's class; the value as text if it has no name.
    pixels
        ``(objects,)``: area in pixels, or volume in voxels.
    centroid
        ``(objects, axes)``: mean of the pixel indices, in pixels.
    box
        ``(objects, 2, axes)``: first pixel of the bounding box, and one past its last.
    eccentricity
        ``(objects,)``: eccentricity of the ellipse with the same second moments, 0 for a circle, below 1; in
        physical units if the pixel size is known, else in pixels. NaN in 3D.
    solidity
        ``(objects,)``: pixels over pixels of the convex hull; NaN if not asked for.
    mean, std
        ``(objects, channels)``: mean intensity, and its (population) standard deviation over the object's
        pixels. NaN if any pixel is NaN.
    touches_border
        ``(objects,)``: whether the object has a pixel in the outermost row or column (or slice).
    probability
        ``(objects,)``: mean foreground probability; NaN if unknown.
    spacing
        Size of a pixel in mm along each axis; None if it is not known.
    """

    case: str
    number: np.ndarray
    label: np.ndarray
    class_name: tuple[str, ...]
    pixels: np.ndarray
    centroid: np.ndarray
    box: np.ndarray
    eccentricity: np.ndarray
    solidity: np.ndarray
    mean: np.ndarray
    std: np.ndarray
    touches_border: np.ndarray
    probability: np.ndarray
    spacing: tuple[float, ...] | None = None

    def __len__(self) -> int:
        return len(self.number)

    @property
    def size_um(self) -> np.ndarray:
        """Area in square or volume in cubic micrometres; NaN if the pixel size is unknown."""
        pixel = math.nan if self.spacing is None else math.prod(MICROMETRES * each for each in self.spacing)
        sizes: np.ndarray = self.pixels * pixel
        return sizes

    def columns(self) -> dict[str, Sequence[Any] | np.ndarray]:
        """Return all columns by name, in order, with units in the names; NaN means not applicable."""
        axes = self.box.shape[-1]
        names, flat = "zyx"[-axes:], axes == 2
        size, micrometres = ("area_px", "area_um2") if flat else ("volume_voxels", "volume_um3")
        columns: dict[str, Sequence[Any] | np.ndarray] = {
            "case": [self.case] * len(self),
            "object": self.number,
            "class": self.class_name,
            size: self.pixels,
            micrometres: self.size_um,
        }
        columns |= {f"centroid_{name}": self.centroid[:, axis] for axis, name in enumerate(names)}
        for axis, name in enumerate(names):
            columns |= {f"box_{name}_min": self.box[:, 0, axis], f"box_{name}_max": self.box[:, 1, axis]}
        columns |= {
            "equivalent_diameter_px": equivalent_diameter(self.pixels, axes),
            "equivalent_diameter_um": equivalent_diameter(self.size_um, axes),
            "eccentricity": self.eccentricity,
            "solidity": self.solidity,
            "touches_border": self.touches_border.astype(np.int64),
            "mean_foreground_probability": self.probability,
        }
        for channel in range(self.mean.shape[1]):
            columns |= {f"mean_{channel}": self.mean[:, channel], f"std_{channel}": self.std[:, channel]}
        return columns | {"schema": [SCHEMA] * len(self)}

    def rows(self) -> Iterator[tuple[Any, ...]]:
        """Return a tuple for each object, with its values in column order as plain Python numbers."""
        columns = self.columns().values()
        plain = [each.tolist() if isinstance(each, np.ndarray) else each for each in columns]
        return zip(*plain, strict=True)


def equivalent_diameter(size: np.ndarray, axes: int) -> np.ndarray:
    """Return the diameter of a circle of each area, or of a ball of each volume if ``axes`` is 3."""
    values: np.ndarray = np.sqrt(4 * size / math.pi) if axes == 2 else np.cbrt(6 * size / math.pi)
    return values


def objects_of(
    instances: np.ndarray,
    *,
    case: str = "",
    classes: np.ndarray | None = None,
    class_names: Mapping[int, str] | None = None,
    image: np.ndarray | None = None,
    probability: np.ndarray | None = None,
    spacing: Sequence[float] | None = None,
    solidity: bool = False,
) -> ObjectTable:
    """Measure every object of an instance map, in time linear in the pixels.

    Parameters
    ----------
    instances
        Integers, ``(y, x)`` or ``(z, y, x)``; 0 is the background. Numbers may have gaps, and objects need
        not be connected.
    case
        Name of the case.
    classes
        Class of each pixel, in the shape of the map: an object gets that of most of its pixels, background
        excluded, and the smaller one of a tie. Or ``(objects,)``: the class of each object by ascending
        number. By default every object is of class 1.
    class_names
        Names of the classes by value.
    image
        Intensities, ``(channels, ...)``.
    probability
        Foreground probability of each pixel, in the shape of the map.
    spacing
        Size of a pixel in mm along each axis; None if it is not known.
    solidity
        Whether to measure it, too: a convex hull per object, which takes much longer than all the rest.

    Raises
    ------
    GeometryError
        The arrays have different shapes.
    UsageError
        The map does not have 2 or 3 axes, or holds values that are negative or not integers; or the number of
        classes is not that of the objects; or there is not one positive pixel size per axis.
    """
    if spacing is not None and (
        len(spacing) != instances.ndim or not all(math.isfinite(each) and each > 0 for each in spacing)
    ):
        raise UsageError(f"the pixel size must be {instances.ndim} positive numbers, not {list(spacing)}")
    channels = [*(() if image is None else image), *(() if probability is None else (probability,))]
    class_map = None if classes is None or classes.ndim == 1 else classes
    sums = _sums_by_slabs(instances, channels, class_map)
    return table_of_sums(
        sums,
        instances.shape,
        case=case,
        label=_class_of_each(sums, classes),
        class_names=class_names or {},
        spacing=spacing,
        solidity=solidity_of(instances) if solidity else np.full(len(sums), math.nan),
        with_probability=probability is not None,
    )


def table_of_sums(
    sums: ObjectSums,
    shape: Sequence[int],
    *,
    case: str,
    label: np.ndarray,
    class_names: Mapping[int, str],
    spacing: Sequence[float] | None,
    solidity: np.ndarray,
    with_probability: bool,
) -> ObjectTable:
    """Return the table of objects of which sums are known.

    Parameters
    ----------
    sums
        Sums over a whole map; if the probability is known, it is the last channel.
    shape
        Of the map.
    label, solidity
        ``(objects,)``.
    case, class_names, spacing
        See :func:`objects_of`.
    with_probability
        Whether it is known.
    """
    mean, std = _intensities(sums)
    channels = len(mean) - with_probability
    return ObjectTable(
        case=case,
        number=sums.numbers,
        label=label,
        class_name=tuple(class_names.get(value, str(value)) for value in label.tolist()),
        pixels=sums.pixels,
        centroid=(sums.low + sums.first / sums.pixels).T,
        box=np.stack([sums.low, sums.high]).transpose(2, 0, 1),
        eccentricity=_eccentricity(sums, spacing),
        solidity=solidity,
        mean=mean[:channels].T,
        std=std[:channels].T,
        touches_border=((sums.low == 0) | (sums.high == np.array(shape)[:, None])).any(axis=0),
        probability=mean[-1] if with_probability else np.full(len(sums), math.nan),
        spacing=None if spacing is None else tuple(map(float, spacing)),
    )


def rows_of_slab(shape: Sequence[int]) -> int:
    """Return how many rows (or slices) of a map are summed at once."""
    return max(SLAB // max(math.prod(shape[1:]), 1), 1)


def _sums_by_slabs(
    instances: np.ndarray, channels: Sequence[np.ndarray], classes: np.ndarray | None
) -> ObjectSums:
    check_shapes(instances, channels, classes)
    rows = rows_of_slab(instances.shape)
    sums = sums_of(instances[:0], channels=[each[:0] for each in channels])
    for top in range(0, len(instances), rows):
        slab = slice(top, top + rows)
        offset = (top, *(0,) * (instances.ndim - 1))
        within = None if classes is None else classes[slab]
        sums += sums_of(instances[slab], offset, channels=[each[slab] for each in channels], classes=within)
    return sums


def _class_of_each(sums: ObjectSums, classes: np.ndarray | None) -> np.ndarray:
    if classes is None:
        return np.ones(len(sums), np.int64)
    if classes.ndim == 1:
        if len(classes) != len(sums):
            raise UsageError(f"there are {len(classes)} classes for {len(sums)} objects")
        return classes.astype(np.int64)
    label = np.zeros(len(sums), np.int64)
    if len(sums.class_pixels) > 1:
        foreground = sums.class_pixels[1:]
        label = np.where(foreground.any(axis=0), 1 + foreground.argmax(axis=0), 0)
    return label


def _intensities(sums: ObjectSums) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation, ``(channels, objects)``."""
    with np.errstate(invalid="ignore"):
        mean = sums.pivot + sums.intensity / sums.pixels
        # About an integer near the mean: exact for integers, and no large squares to cancel.
        centred = sums.about(sums.low, sums.pivot + np.rint(sums.intensity / sums.pixels))
        variance = centred.square / sums.pixels - (centred.intensity / sums.pixels) ** 2
    return mean, np.sqrt(np.maximum(variance, 0))


def _eccentricity(sums: ObjectSums, spacing: Sequence[float] | None) -> np.ndarray:
    if len(sums.low) != 2:
        return np.full(len(sums), math.nan)
    scale = np.array([1.0, 1.0] if spacing is None else spacing)
    mean = sums.first / sums.pixels
    # Half of the digits suffice for the differences: the box is no larger than the object.
    covariance = sums.second / sums.pixels - mean[:, None] * mean
    yy, xx = (covariance[axis, axis] * scale[axis] ** 2 for axis in range(2))
    xy = covariance[0, 1] * scale.prod()
    root = np.sqrt((yy - xx) ** 2 + 4 * xy**2)
    largest = yy + xx + root  # twice the eigenvalue; the smallest one subtracts root
    with np.errstate(invalid="ignore"):
        ratio = np.where(largest > 0, 2 * root / largest, 0.0)
    values: np.ndarray = np.sqrt(np.clip(ratio, 0, 1))
    return values


def solidity_of(instances: np.ndarray) -> np.ndarray:
    """Return the pixels of each object over those of its convex hull, by ascending object number."""
    from skimage.morphology import convex_hull_image

    compact, count = consecutive_labels(instances)
    boxes = scipy.ndimage.find_objects(compact, count) if count else []
    values = np.ones(count)
    for number, box in enumerate(boxes, start=1):
        mask = compact[box] == number
        values[number - 1] = np.count_nonzero(mask) / np.count_nonzero(convex_hull_image(mask))
    return values
