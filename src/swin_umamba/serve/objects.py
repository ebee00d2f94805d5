"""The objects of an upload: whether to find them, and their files for the page and the downloads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from swin_umamba.data.image_io import Image, image_suffix
from swin_umamba.errors import DataError
from swin_umamba.inference.objects import object_files, write_case_objects
from swin_umamba.inference.options import FolderOptions
from swin_umamba.instances.decoding import ObjectClasses
from swin_umamba.report.objects import told_apart
from swin_umamba.report.orientation import View

if TYPE_CHECKING:
    from swin_umamba.inference.prediction import Prediction

ObjectFile = Literal["instances", "objects.csv", "objects.geojson"]
_KINDS: tuple[ObjectFile, ...] = ("instances", "objects.csv", "objects.geojson")
INSTANCES_ARRAY = "instances.npy"
# Of an image: the outlines of one take over a kilobyte, and noise may fall into millions.
MOST_OBJECTS = 2**18


@dataclass(frozen=True)
class FoundObjects:
    """The objects of an image.

    Attributes
    ----------
    count
        How many there are.
    of_class
        How many there are of each class of objects, by its value.
    files
        The files to download; there are outlines of pictures only.
    """

    count: int
    of_class: Mapping[int, int]
    files: Mapping[ObjectFile, Path]

    def download_name(self, kind: ObjectFile, stem: str) -> str:
        """Return the file name of a download, valid on every system if ``stem`` is."""
        name = kind if kind != "instances" else f"instances{image_suffix(self.files[kind])}"
        return f"{stem}_{name}"


class ObjectFinding:
    """Whether the label maps of a model are made into objects.

    Parameters
    ----------
    labels
        Values by name, as in the model's ``dataset.json``.

    Attributes
    ----------
    classes
        Which values are objects; None if that is impossible.
    """

    def __init__(self, labels: Mapping[str, int | Sequence[int]]) -> None:
        self._labels = labels
        self.classes = ObjectClasses.find(labels)

    @property
    def by_default(self) -> bool:
        """Whether they are without being asked: if a class keeps them apart."""
        return self.classes is not None and self.classes.boundary is not None

    def chosen(self, asked: bool | None) -> bool:
        """Return whether objects are found for a client who asks for them, or not, or says nothing.

        Raises
        ------
        UsageError
            The client asks, and it is impossible.
        """
        if asked:
            ObjectClasses.of(self._labels)
        return self.by_default if asked is None else asked

    def save(
        self, prediction: Prediction, image: Image, labels_file: Path, case: str, turned: View
    ) -> FoundObjects | None:
        """Write the objects of a prediction beside its label map; return None if they were not asked for.

        Parameters
        ----------
        prediction, image
            What was predicted.
        labels_file
            Its label map; everything is written into its folder.
        case
            Name of the image, as it stands in the table.
        turned
            Orientation for display.

        Raises
        ------
        DataError
            There are too many.
        """
        instances, table = prediction.instances, prediction.objects
        if self.classes is None or instances is None or table is None:
            return None
        if len(table) > MOST_OBJECTS:
            raise DataError(
                f"{len(table)} objects were found, more than the {MOST_OBJECTS} that the server measures",
                where=image.path,
                hint="send the image again without finding objects (?instances=0), or use swin-umamba "
                "predict --instances, which can leave out small ones with --min-size",
            )
        flat = instances.ndim == 2
        options = FolderOptions(instances=True, objects=("geojson",) if flat else None)
        write_case_objects(prediction, image, labels_file, case, options)
        files = zip(_KINDS, object_files(labels_file, options), strict=False)
        # Neighbours have different values, which is all that colours and outlines of slices need.
        shown = told_apart(instances).astype(np.uint16)
        np.save(labels_file.parent / INSTANCES_ARRAY, turned.turn(shown[None] if flat else shown))
        found = Counter(table.label.tolist())
        return FoundObjects(len(table), {value: found[value] for value in self.classes.names}, dict(files))
