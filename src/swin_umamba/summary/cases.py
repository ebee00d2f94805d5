"""The cases of a report: their files, the selection, the pictures and the confusion matrix."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL.Image import Resampling

from swin_umamba.data.image_io import (
    check_same_grid,
    image_stem,
    list_images,
    on_grid_of,
    on_one_grid,
    read_case,
    read_image,
    read_labels,
)
from swin_umamba.errors import DataError
from swin_umamba.inference.cases import find_cases
from swin_umamba.inference.finished import ENTROPY
from swin_umamba.progress import progress
from swin_umamba.pseudonyms import shown
from swin_umamba.report.contents import CasePictures, Confusion, Scores, Slice
from swin_umamba.report.marks import NO_ORIENTATION
from swin_umamba.report.orientation import radiological_view
from swin_umamba.report.overlay import to_rgb
from swin_umamba.report.preview import picture_size, resized
from swin_umamba.summary.objects import find_object_maps, object_maps

# Limits that keep a report small enough for a browser and for e-mail.
CASES_OF_A_RANK = 2
MAX_SLICES = 16
FLAT_SIDE, VOLUME_SIDE = 384, 256
OBJECT_SCALE = 2
MAX_CONFUSION_CASES = 100
MAX_CONFUSION_CLASSES = 20
MAX_LABELS = 50


@dataclass(frozen=True)
class FilesByCase:
    """Files by case name."""

    predictions: Mapping[str, Path] = field(default_factory=dict)
    references: Mapping[str, Path] = field(default_factory=dict)
    images: Mapping[str, tuple[Path, ...]] = field(default_factory=dict)
    entropies: Mapping[str, Path] = field(default_factory=dict)
    objects: Mapping[str, Path] = field(default_factory=dict)
    true_objects: Mapping[str, Path] = field(default_factory=dict)


def find_files(
    predictions: Path | None,
    references: Path | None,
    images: Path | None,
    num_channels: int,
    *,
    of_objects: bool = False,
) -> FilesByCase:
    """Return the files in folders, any of which may be None.

    If objects were evaluated, the folders hold instance maps and no label maps.
    """
    objects, true_objects = find_object_maps(predictions, references, evaluated=of_objects)
    cases = {} if images is None else {case.shown: case.files for case in find_cases(images, num_channels)}
    if of_objects:
        return FilesByCase(images=cases, objects=objects, true_objects=true_objects)
    entropy = None if predictions is None else predictions / ENTROPY
    predicted, true, entropies = (
        {} if folder is None else {shown(image_stem(path)): path for path in list_images(folder)}
        for folder in (predictions, references, entropy if entropy and entropy.is_dir() else None)
    )
    return FilesByCase(predicted, true, cases, entropies, objects, true_objects)


def chosen_cases(scores: Scores | None, files: FilesByCase) -> list[tuple[str, str, str]]:
    """Return (case, rank, score) of the worst, median and best cases by the mean of the first metric.

    Without scores these are the first cases, with the rank ``case``.
    """
    if scores is None or not scores.metrics:
        names = sorted(files.predictions or files.objects or files.references)
        return [(name, "case", "") for name in names[: 3 * CASES_OF_A_RANK]]
    means = scores.case_means()
    metric = scores.metrics[0]
    order = sorted(means, key=lambda case: (-means[case] if metric.lower_is_better else means[case], case))
    middle = max(0, (len(order) - CASES_OF_A_RANK) // 2)
    ranks: dict[str, str] = {}
    for rank, part in (
        ("worst", order[:CASES_OF_A_RANK]),
        ("best", order[::-1][:CASES_OF_A_RANK][::-1]),
        ("median", order[middle : middle + CASES_OF_A_RANK]),
    ):
        for case in part:
            ranks.setdefault(case, rank)
    return [(case, ranks[case], f"{metric.title} {means[case]:.4f}") for case in order if case in ranks]


def case_pictures(name: str, rank: str, score: str, files: FilesByCase) -> CasePictures:
    """Read a case and scale down large pictures.

    Raises
    ------
    DataError
        If a file is missing, damaged or on another grid.
    """
    if name not in files.images:
        raise DataError("there is no image of this case", where=name, hint="give its folder with --images")
    image = read_case(files.images[name], nonfinite="zero")
    view = radiological_view(image)
    data = view.turn(image.data)
    maps: dict[str, np.ndarray] = {}
    instances: dict[str, np.ndarray] = {}
    for kind, paths, read in (
        ("truth", files.references, maps),
        ("prediction", files.predictions, maps),
        ("true_objects", files.true_objects, instances),
        ("objects", files.objects, instances),
    ):
        if name in paths:
            labels = on_grid_of(image, read_labels(paths[name]))
            read[kind] = view.turn(labels.data[0])
    uncertainty = None
    if name in files.entropies:
        entropy = read_image(files.entropies[name], nonfinite="zero")
        check_same_grid(image, entropy)
        uncertainty = np.clip(view.turn(entropy.data[0]), 0, 1)
    notes = []
    if (count := max((len(np.unique(labels)) for labels in maps.values()), default=0)) > MAX_LABELS:
        notes.append(f"{count - 1} labels, such as of single cells, are shown as one")
        maps = {kind: (labels > 0).astype(np.uint8) for kind, labels in maps.items()}
    if "objects" in instances:
        notes.append(f"{np.unique(instances['objects'][instances['objects'] > 0]).size} objects")
    objects, errors = object_maps(instances)
    maps |= objects
    flat = data.ndim == 3
    indices = [0] if flat else shown_slices(list(maps.values()), data.shape[1])
    side, longest = FLAT_SIDE if flat else VOLUME_SIDE, max(data.shape[-2:])
    size = picture_size(data.shape[-2:], longest=side)
    if longest > side:
        notes.append(f"shown at {side / longest:.0%} of {data.shape[-1]} × {data.shape[-2]} pixels")
    if not flat:
        number = f"{len(indices)} of {data.shape[1]}" if len(indices) < data.shape[1] else "all"
        notes.append(f"{number} {view.plane} slices" if view.plane else f"{number} slices, {NO_ORIENTATION}")
    pictures = [_slice(data, maps, uncertainty, None if flat else index, size) for index in indices]
    aspect = view.spacing[-2] / view.spacing[-1]
    return CasePictures(name, rank, score, tuple(pictures), aspect, "; ".join(notes), view.edges, errors)


def shown_slices(maps: Sequence[np.ndarray], depth: int) -> list[int]:
    """Return up to ``MAX_SLICES`` slices, evenly spaced between the first and last with any label."""
    labelled = np.zeros(depth, bool)
    for labels in maps:
        labelled |= labels.any(axis=(1, 2))
    where = np.flatnonzero(labelled)
    first, last = (int(where[0]), int(where[-1])) if len(where) else (0, depth - 1)
    evenly = np.linspace(first, last, min(MAX_SLICES, last - first + 1)).round()
    positions: list[int] = np.unique(evenly.astype(int)).tolist()
    return positions


def confusion_matrix(
    files: FilesByCase, names: Mapping[int, str], failures: list[tuple[str, str]]
) -> Confusion | None:
    """Count pixels by true and predicted class; cases that cannot be read are added to ``failures``.

    None if there is no case with both label maps, no class, or too many classes for a table.
    """
    cases = sorted(files.predictions.keys() & files.references.keys())[:MAX_CONFUSION_CASES]
    values = [0, *sorted(names)]
    if not cases or not 1 < len(values) <= MAX_CONFUSION_CLASSES:
        return None
    counts = np.zeros((len(values), len(values)), np.int64)
    used = 0
    for case in progress(cases, "counting", total=len(cases)):
        try:
            truth, found = on_one_grid(
                read_labels(files.references[case]), read_labels(files.predictions[case])
            )
        except DataError as error:
            if case not in dict(failures):
                failures.append((case, str(error)))
            continue
        known = np.isin(truth.data, values) & np.isin(found.data, values)
        rows, columns = (np.searchsorted(values, each.data[known]) for each in (truth, found))
        counts += np.bincount(rows * len(values) + columns, minlength=len(values) ** 2).reshape(counts.shape)
        used += 1
    return Confusion(("background", *(names[value] for value in values[1:])), counts, used)


def _slice(
    image: np.ndarray,
    maps: Mapping[str, np.ndarray],
    uncertainty: np.ndarray | None,
    index: int | None,
    size: tuple[int, int],
) -> Slice:
    data = image if index is None else image[:, index]
    labels = {}
    for kind, each in maps.items():
        # Objects are small and drawn as pictures; what is drawn as paths is sharp at any size.
        scale = OBJECT_SCALE if kind.endswith(("objects", "object_errors")) else 1
        values = (each if index is None else each[index]).astype(np.int32)
        labels[kind] = resized(values, (scale * size[0], scale * size[1]))
    unsure = None
    if uncertainty is not None:
        values = (uncertainty if index is None else uncertainty[index]).astype(np.float32)
        unsure = resized(values, size, Resampling.BOX)
    return Slice(index or 0, resized(to_rgb(data), size, Resampling.LANCZOS), uncertainty=unsure, **labels)
