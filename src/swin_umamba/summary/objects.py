"""The objects of a report: their maps, their errors, and the table that predict has written."""

from __future__ import annotations

import csv
from array import array
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from swin_umamba.evaluation.cases import files_by_stem
from swin_umamba.evaluation.evaluate_instances import ENDINGS
from swin_umamba.evaluation.object_errors import draw_errors
from swin_umamba.inference.objects import INSTANCES, OBJECTS_FILE, true_instances
from swin_umamba.pseudonyms import shown
from swin_umamba.report.contents import ObjectOverview
from swin_umamba.report.objects import told_apart

MAX_ROWS = 2000
_LEFT_OUT = ("box_", "std_", "schema")
_SIZES = (("area_um2", "µm²"), ("volume_um3", "µm³"), ("area_px", "px"), ("volume_voxels", "voxels"))


def find_object_maps(
    predictions: Path | None, references: Path | None, *, evaluated: bool
) -> tuple[dict[str, Path], dict[str, Path]]:
    """Return the files of predicted and true instance maps by case.

    Parameters
    ----------
    predictions, references
        Folders of the report.
    evaluated
        Whether objects were evaluated: then the folders themselves hold instance maps, unless there is one
        of them within. Otherwise true objects are looked for beside the true label maps.

    Raises
    ------
    DataError
        A folder cannot be listed, or two of its files are for one case.
    """
    within = None if predictions is None else predictions / INSTANCES
    predicted = within if within is not None and within.is_dir() else predictions if evaluated else None
    true = references if references is None or evaluated else true_instances(references)
    found = [{} if folder is None else files_by_stem(folder, ENDINGS) for folder in (predicted, true)]
    return found[0], found[1]


def object_maps(maps: Mapping[str, np.ndarray]) -> tuple[dict[str, np.ndarray], dict[str, int]]:
    """Return what is drawn of the objects of a case, and the number of errors of each kind.

    Parameters
    ----------
    maps
        Instance maps: ``objects`` (predicted) and ``true_objects``, or one of the two, or none.
    """
    drawn = {kind: told_apart(instances) for kind, instances in maps.items()}
    counts: dict[str, int] = {}
    if len(maps) == 2:
        drawn["object_errors"], counts = draw_errors(maps["objects"], maps["true_objects"])
    return drawn, counts


def read_objects_table(folder: Path, missing: list[str]) -> ObjectOverview | None:
    """Read the table of objects in a folder of predictions; None if there is none, or it is damaged.

    A row is read at a time, and ``MAX_ROWS`` of them are kept.
    """
    path = folder / OBJECTS_FILE
    if not path.is_file():
        return None
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            return _summary(reader)
    except (OSError, UnicodeDecodeError, csv.Error, KeyError, ValueError, StopIteration):
        missing.append(f"the table of objects, as {path.name} is damaged: predict with --overwrite again")
        return None


def _summary(reader: csv.DictReader[str]) -> ObjectOverview:
    columns = list(reader.fieldnames or ())
    units = {name: unit for name, unit in _SIZES if name in columns}
    sizes = {name: array("d") for name in units}
    counts: Counter[str] = Counter()
    kept: list[dict[str, str]] = []
    for row in reader:
        if None in row or None in row.values():
            raise ValueError("a row has another length than the heading")
        row["case"] = shown(row["case"])
        counts[row["case"]] += 1
        for name, values in sizes.items():
            values.append(float(row[name] or "nan"))
        if len(kept) < MAX_ROWS:
            kept.append(row)
    name = next(name for name, values in sizes.items() if np.isfinite(values).all())
    used = [
        each
        for each in columns
        if each == name or (not each.startswith(_LEFT_OUT) and any(row[each] for row in kept))
    ]
    texts = ("case", "object", "class")
    rows = tuple(tuple(row[each] if each in texts else _short(row[each]) for each in used) for row in kept)
    return ObjectOverview(tuple(used), rows, counts, np.array(sizes[name]), name, units[name])


def _short(cell: str) -> str:
    """Return a number with five digits, or as many as it has before the point."""
    if "." not in cell:
        return cell
    value = float(cell)
    return f"{value:.5g}" if abs(value) < 10**5 else f"{value:.0f}"
