"""Whether label maps number objects: their values are then no classes, and no scores of classes are due."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from swin_umamba.data.image_io import read_labels
from swin_umamba.data.instance_labels import MAPS_LOOKED_AT, number_objects, number_of_objects
from swin_umamba.errors import DataError
from swin_umamba.evaluation.cases import label_values

MOST_CLASSES = 64
"""Values of a map; more are not classes."""


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
    if number_objects(counts):
        raise _refusal(references[0], max(count or 0 for count in counts))


def _refusal(path: Path, number: int) -> DataError:
    return DataError(
        f"the references seem to number objects, {number} in a map, and no classes are named",
        where=path,
        hint="score maps of objects with --instances, predictions of the classes background, interior and "
        "boundary with --protocol microscopy; if the values are classes, name them with --labels or "
        "--dataset-json",
    )
