"""Label maps as objects: the meaning of a model's classes, and the instance map that follows from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import scipy
import skimage

from swin_umamba.data.instance_labels import (
    BOUNDARY,
    BOUNDARY_NAME,
    IGNORE_NAME,
    INTERIOR,
    INTERIOR_NAME,
    OUTER_RIM,
    cells_of,
    classes_to_instances,
    flood,
)
from swin_umamba.errors import UsageError
from swin_umamba.instances.defaults import MIN_SIZE
from swin_umamba.instances.tidy import ordered, tidy

BOUNDARY_NAMES = (BOUNDARY_NAME, "border")
OBJECT_NAME = "object"
"""Name of an object if there are no classes of objects."""
DEPTH_STEP = 0.2
"""An object is deeper by this than the pass to any deeper one."""
DEPTH_SMOOTHING = 1.0
"""Standard deviation in pixels of the Gaussian that takes the noise out of predicted depths."""


@dataclass(frozen=True)
class Decoding:
    """How classes are turned into objects; ``calibrate`` finds the best for a model.

    Attributes
    ----------
    split_distance
        Smallest distance in pixels between the centres of two objects when interiors joined at a neck are cut
        there. None cuts nothing.
    outer_rim
        Width in pixels of the boundary class outside the objects; see ``data.instance_labels``.

    Raises
    ------
    UsageError
        If a value is out of range.
    """

    split_distance: int | None = None
    outer_rim: int = OUTER_RIM

    def __post_init__(self) -> None:
        if self.split_distance is not None and self.split_distance < 1:
            raise UsageError(f"the distance at which objects are split is {self.split_distance}, below 1")
        if self.outer_rim < 0:
            raise UsageError(f"the rim of the boundary is {self.outer_rim} pixels, below 0")


@dataclass(frozen=True)
class ObjectClasses:
    """The meaning of the values of a model's label maps for objects.

    Attributes
    ----------
    names
        Name of each class of objects, by the value of its interior.
    boundary
        Value of the boundary between objects; None for a model without one, whose objects are the connected
        pixels of one class.
    """

    names: Mapping[int, str]
    boundary: int | None

    @classmethod
    def of(cls, labels: Mapping[str, int | Sequence[int]]) -> ObjectClasses:
        """Find the classes by their names, as ``convert`` and the microscopy experiment give them.

        Parameters
        ----------
        labels
            Values by name, as in ``dataset.json``, the background included.

        Raises
        ------
        UsageError
            If classes overlap, or no class of objects is left.
        """
        values: dict[str, int] = {}
        for name, value in labels.items():
            if not isinstance(value, int):
                raise UsageError(
                    f"the model has regions, such as {name}, which overlap: no object belongs to one of them",
                    hint="train a model with a class for each kind of object",
                )
            if value and name != IGNORE_NAME:
                values[name] = value
        boundary = next((values.pop(name) for name in BOUNDARY_NAMES if name in values), None)
        if not values:
            raise UsageError("the model has no class of objects")
        alone = len(values) == 1
        names = {
            value: OBJECT_NAME if alone and name == INTERIOR_NAME else name for name, value in values.items()
        }
        return cls(names, boundary)

    @classmethod
    def find(cls, labels: Mapping[str, int | Sequence[int]]) -> ObjectClasses | None:
        """Return the same as :meth:`of`, or None if that raises."""
        try:
            return cls.of(labels)
        except UsageError:
            return None

    def decode(
        self,
        labels: np.ndarray,
        decoding: Decoding,
        *,
        min_size: int = MIN_SIZE,
        depth: np.ndarray | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the objects of a label map.

        Parameters
        ----------
        labels
            ``(y, x)`` or ``(z, y, x)``.
        decoding
            Where interiors are cut, and how far the boundary reaches.
        min_size
            Smallest size of an object in pixels; smaller ones are left out.
        depth
            Predicted depth within objects, see ``instances.targets``, in the shape of the labels. It has a
            peak in each object and a pass between two that touch. None if the model does not predict it.

        Returns
        -------
        instances, classes
            The instance map, uint16 (uint32 above 65,535 objects), numbered by position, holes filled; and
            the class of each object, ``(objects,)``: that of most of its interior. An object that is all
            boundary gets the first class.
        """
        inside = np.isin(labels, list(self.names))
        if self.boundary is None:
            instances = _connected(labels * inside)
            if decoding.split_distance is not None:
                instances = classes_to_instances(
                    (instances > 0).astype(np.uint8), outer_rim=0, split_distance=decoding.split_distance
                )
        else:
            parts = np.where(inside, INTERIOR, 0).astype(np.uint8)
            parts[labels == self.boundary] = BOUNDARY
            rim, distance = decoding.outer_rim, decoding.split_distance
            if depth is None:
                instances = classes_to_instances(parts, outer_rim=rim, split_distance=distance)
            else:
                instances = objects_of_depth(cells_of(parts, rim), depth)
                if distance is not None:
                    edges = skimage.segmentation.find_boundaries(instances, mode="inner")
                    parts = np.where(instances > 0, np.where(edges, BOUNDARY, INTERIOR), 0)
                    instances = classes_to_instances(parts, outer_rim=0, split_distance=distance)
        instances = ordered(tidy(instances, min_size=min_size))
        return instances, self.classes_of(instances, labels)

    def classes_of(self, instances: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Return the class of most pixels of each object, ``(objects,)``; the smallest among equals.

        Parameters
        ----------
        instances, labels
            Maps of the same shape; objects are numbered from 1 without gaps.
        """
        count = int(instances.max(initial=0))
        values = sorted(self.names)
        votes = np.stack([np.bincount(instances[labels == value], minlength=count + 1) for value in values])
        classes: np.ndarray = np.array(values)[votes.argmax(axis=0)][1:]
        return classes


def objects_of_depth(cells: np.ndarray, depth: np.ndarray) -> np.ndarray:
    """Return the instance map of cells whose depth is known, numbered from 1 with gaps.

    Each peak is an object, if it rises by ``DEPTH_STEP`` above the pass to any higher one; so noise makes no
    objects, and neither does a long cell's ridge. The pixels go to the peaks by a watershed (Soille,
    Morphological Image Analysis, 2003, sections 6.3 and 9.2). Connected cells without a peak are one object.

    Parameters
    ----------
    cells, depth
        bool and float, of the same shape ``(y, x)`` or ``(z, y, x)``.
    """
    return objects_of_smooth_depth(cells, smoothed(depth))


def smoothed(depth: np.ndarray) -> np.ndarray:
    """Return predicted depths without their noise."""
    smooth: np.ndarray = scipy.ndimage.gaussian_filter(depth, DEPTH_SMOOTHING, output=np.float32)
    return smooth


def objects_of_smooth_depth(cells: np.ndarray, depth: np.ndarray) -> np.ndarray:
    """Return the same as :func:`objects_of_depth`; connected cells do not influence each other."""
    from skimage.morphology import local_maxima, reconstruction

    depth = np.where(cells, depth, depth.min(initial=0) - 1)
    lowered = reconstruction(depth - DEPTH_STEP, depth, "dilation")
    everywhere = scipy.ndimage.generate_binary_structure(cells.ndim, cells.ndim)
    # Its plateaus, not what it has lost: peaks of one height lose the same on both sides of a shallow pass.
    peaks, count = scipy.ndimage.label(cells & local_maxima(lowered, everywhere), everywhere)
    instances = flood(-depth, peaks, cells, 1)
    others, _ = scipy.ndimage.label(cells & (instances == 0), everywhere)
    return np.where(others > 0, others + count, instances)


def _connected(labels: np.ndarray) -> np.ndarray:
    """Return the connected components (diagonals included) of each class."""
    everywhere = scipy.ndimage.generate_binary_structure(labels.ndim, labels.ndim)
    instances = np.zeros(labels.shape, np.int64)
    total = 0
    for value in np.unique(labels[labels > 0]):
        found, count = scipy.ndimage.label(labels == value, everywhere)
        instances += np.where(found > 0, found + total, 0)
        total += count
    return instances
