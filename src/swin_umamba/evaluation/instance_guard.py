"""Detects label maps whose values number objects, for which scores of classes would be meaningless."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from swin_umamba.data.image_io import read_labels
from swin_umamba.data.instance_labels import MAPS_LOOKED_AT, number_objects, number_of_objects
from swin_umamba.errors import DataError
from swin_umamba.evaluation.cases import label_values

MOST_CLASSES = 64
"""Largest number of values in a map that can be classes."""


def refuse_instances(references: Sequence[Path]) -> None:
    """Refuse references whose values number the objects of each map, unless classes are named.

    They do if a map has more values than there can be classes, or if the values of all inspected maps count
    connected objects from 1 without a gap, and their number differs between maps.

    Raises
    ------
    DataError
        If they do; the message says how objects are scored.
    """
    counts: list[int | None] = []
    for path in references[:MAPS_LOOKED_AT]:
        try:
            labels = read_labels(path).data[0]
        except DataError:  # the error is raised when the file is evaluated
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
