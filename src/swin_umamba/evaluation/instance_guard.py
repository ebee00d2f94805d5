"""Whether label maps number objects: their values are then no classes, and no scores of classes are due."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy import ndimage

from swin_umamba.data.image_io import read_labels
from swin_umamba.errors import DataError
from swin_umamba.evaluation.cases import label_values

MAPS_LOOKED_AT = 5
MOST_CLASSES = 64
"""Values of a map; more are not classes."""
FEWEST_INSTANCES = 8
"""Objects in the fullest map; few classes may each be one object of each map, too."""


def refuse_instances(references: Sequence[Path]) -> None:
    """Refuse references whose values number the objects of each map, where no classes are named.

    So it is if a map has more values than there are classes, or if the values of all maps that are looked at
    count connected objects from 1 on without a gap, of a number that differs from map to map.

    Raises
    ------
    DataError
        Says how objects are scored.
    """
    counts: list[int | None] = []
    for path in references[:MAPS_LOOKED_AT]:
        try:
            labels = read_labels(path).data[0]
        except DataError:  # it is named when its turn comes
            continue
        values = len(label_values(labels))
        counts.append(number_of_objects(labels) if values <= MOST_CLASSES else values)
        if values > MOST_CLASSES:
            raise _refusal(path, values)
    known = [count for count in counts if count is not None]
    if len(known) == len(counts) and len(set(known)) > 1 and max(known) >= FEWEST_INSTANCES:
        raise _refusal(references[0], max(known))


def number_of_objects(labels: np.ndarray) -> int | None:
    """Return the number of objects if the values of a map count connected ones; None if they do not."""
    values = [value for value in label_values(labels) if value]
    if values != list(range(1, len(values) + 1)):
        return None
    structure = np.ones((3,) * labels.ndim)
    boxes = enumerate(ndimage.find_objects(labels), start=1)
    single = all(ndimage.label(labels[box] == value, structure)[1] == 1 for value, box in boxes)
    return len(values) if single else None


def _refusal(path: Path, number: int) -> DataError:
    return DataError(
        f"the references seem to number objects, {number} in a map, and no classes are named",
        where=path,
        hint="score maps of objects with --instances, predictions of the classes background, interior and "
        "boundary with --protocol microscopy; if the values are classes, name them with --labels or "
        "--dataset-json",
    )
