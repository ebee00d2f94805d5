"""Conversion of masks that number or outline objects to labels that a network can learn."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import skimage

from swin_umamba.data.datasets.folder_pairs import Pair
from swin_umamba.data.image_io import Image, write_labels
from swin_umamba.data.instance_labels import (
    BACKGROUND_NAME,
    BOUNDARY,
    BOUNDARY_NAME,
    IGNORE_NAME,
    INTERIOR,
    INTERIOR_NAME,
    instances_to_classes,
)
from swin_umamba.data.object_masks.coco import CocoFile
from swin_umamba.data.object_masks.object_map import ObjectMap, map_of_objects
from swin_umamba.data.object_masks.reading import read_objects
from swin_umamba.errors import DataError, UsageError

UNNAMED = "other"
"""Class of objects that have none, if others have one."""


class ObjectMasks:
    """Reads the objects of all images, determines their classes, and writes the resulting label maps.

    A network learns these classes: the background, the interior of objects (one for each object class), and
    the boundary, which separates them; see ``data.instance_labels``.

    Parameters
    ----------
    coco
        File with the objects of all images; None if each image has its own.
    classes
        ``ignore=N`` to leave pixels with the number N out of training; nothing else is allowed.

    Raises
    ------
    UsageError
        ``classes`` contains anything else.
    """

    def __init__(self, coco: CocoFile | None, classes: Sequence[str]) -> None:
        self._coco = coco
        self._ignored_value: int | None = None
        for word in classes:
            name, _, value = word.partition("=")
            if name != IGNORE_NAME or not value.isdecimal():
                raise UsageError(
                    f"{word!r} cannot be said of objects: their classes are in the files",
                    where="--classes",
                    hint=f"leave it out; only {IGNORE_NAME}=N can be given, for pixels of unknown truth",
                )
            self._ignored_value = int(value)
        self._images_with: Counter[str] = Counter()
        self._objects: Counter[str | None] = Counter()
        self._remarks: list[str] = []
        self._most_objects = 0
        self._in_pieces = 0

    def read(self, pair: Pair, image: Image) -> ObjectMap:
        """Return the objects of an image.

        Raises
        ------
        DataError
            The objects cannot be read, or do not belong to the image.
        """
        if self._coco is None or pair.entry is None:
            return read_objects(pair.mask, image, self._ignored_value)
        if len(image.spatial_shape) != 2:
            raise DataError("COCO's annotations are of pictures, this is a volume", where=image.path)
        shape = (image.spatial_shape[0], image.spatial_shape[1])
        return map_of_objects(self._coco.objects(pair.entry, shape), shape, pair.mask)

    def add(self, pair: Pair, found: ObjectMap) -> None:
        """Record the objects of an image."""
        self._objects.update(found.class_names)
        self._images_with.update({name or UNNAMED for name in found.class_names})
        if found.ignored is not None:
            self._images_with[IGNORE_NAME] += 1
        self._remarks += [f"{pair.name}: {remark}" for remark in found.remarks]
        self._most_objects = max(self._most_objects, len(found.class_names))
        if len(found.class_names) == 1:
            inside = found.instances > 0
            self._in_pieces += int(skimage.measure.label(inside, connectivity=inside.ndim).max()) > 1
        if not found.class_names:
            self._remarks.append(f"{pair.name}: no objects")

    def labels(self) -> dict[str, int]:
        """Return the classes and their numbers, as in ``dataset.json``.

        Raises
        ------
        DataError
            There is no object, or a class has a name that is reserved here.
        """
        if not self._objects:
            raise DataError("the masks hold nothing but background", hint="check the folder of the masks")
        names = sorted(name for name in self._objects if name is not None)
        reserved = [name for name in names if name in (BACKGROUND_NAME, INTERIOR_NAME, BOUNDARY_NAME)]
        if reserved:
            raise DataError(
                f"a class of objects is called {reserved[0]!r}, which has another meaning here",
                hint="give it another name in the annotations",
            )
        if names and self._objects[None] and UNNAMED not in names:
            names.append(UNNAMED)
        names = [BACKGROUND_NAME, *(names or [INTERIOR_NAME]), BOUNDARY_NAME]
        if self._images_with[IGNORE_NAME]:
            names.append(IGNORE_NAME)
        return {name: number for number, name in enumerate(names)}

    def remarks(self) -> list[str]:
        """Return remarks for the user."""
        counts = ", ".join(
            f"{count} {name or ('objects' if len(self._objects) == 1 else UNNAMED)} in "
            f"{self._images_with[name or UNNAMED]} images"
            for name, count in sorted(self._objects.items(), key=lambda each: each[0] or "")
        )
        remarks = [f"objects: {counts}", *self._remarks]
        if self._most_objects == 1 and self._in_pieces:
            remarks.append(
                f"no mask has more than one object, and in {self._in_pieces} images it is in several pieces: "
                "if the masks only say where objects are, number these first (scipy.ndimage.label), or leave "
                "out --instances, which makes them a class"
            )
        return remarks

    def write(self, path: Path, found: ObjectMap, like: Image, labels: Mapping[str, int]) -> None:
        """Write the label map of an image, with its objects in ``instancesTr`` and their classes beside it.

        Parameters
        ----------
        path
            ``labelsTr/CASE.png``, ``.tif`` or ``.nii.gz``.
        found
            The objects.
        like
            The image.
        labels
            See :meth:`labels`.
        """
        numbers = [labels.get(name or UNNAMED, labels.get(INTERIOR_NAME, 0)) for name in found.class_names]
        classes = np.array([0, *numbers], np.uint8)[found.instances]
        parts = instances_to_classes(found.instances)
        target = np.where(parts == INTERIOR, classes, 0).astype(np.uint8)
        target[parts == BOUNDARY] = labels[BOUNDARY_NAME]
        if found.ignored is not None:
            target[found.ignored] = labels[IGNORE_NAME]
        write_labels(path, target, like=like)
        suffix = ".nii.gz" if path.name.endswith(".nii.gz") else ".tif"
        name = path.name[: -len(".nii.gz")] if suffix == ".nii.gz" else path.stem
        root, split = path.parent.parent, path.parent.name.removeprefix("labels")
        write_labels(root / f"instances{split}" / f"{name}{suffix}", found.instances, like=like)
        if INTERIOR_NAME not in labels:
            write_labels(root / f"classes{split}" / f"{name}{suffix}", classes, like=like)
