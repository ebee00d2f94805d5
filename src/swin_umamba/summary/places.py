"""Paths of the parts of a report: label maps, true label maps, images, and the names of the classes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from swin_umamba.data.image_io import list_images
from swin_umamba.errors import DataError
from swin_umamba.evaluation.classes import LabelClasses
from swin_umamba.json_files import read_json
from swin_umamba.nnunet.environment import Folders

DAMAGED = (KeyError, TypeError, ValueError, AttributeError, OverflowError)
"""What reading the content of a file raises that has another form."""


@dataclass(frozen=True)
class Sources:
    """Paths of the parts of a report, as given by the user; None means to search for it.

    Attributes
    ----------
    metrics
        ``metrics.json`` of an evaluation.
    predictions, references, images
        Folders.
    dataset_json
        The class names.
    """

    metrics: Path | None = None
    predictions: Path | None = None
    references: Path | None = None
    images: Path | None = None
    dataset_json: Path | None = None


@dataclass(frozen=True)
class Places:
    """Folders of label maps, true label maps and images.

    Attributes
    ----------
    predictions
        Folders of predictions; several for the validations of several folds.
    references, images
        None if they were not found.
    """

    predictions: tuple[Path, ...] = ()
    references: Path | None = None
    images: Path | None = None


@dataclass
class Gaps:
    """Problems found by the functions that collect a report.

    Attributes
    ----------
    missing
        Parts that are missing from the report, with the reason or how to add them.
    failures
        Case or step, and the reason of its failure.
    """

    missing: list[str] = field(default_factory=list)
    failures: list[tuple[str, str]] = field(default_factory=list)


def holds_images(folder: Path) -> bool:
    """Return whether there are images right in a folder."""
    try:
        return bool(list_images(folder))
    except DataError:
        return False


def places_of_training(model: Path, validations: Iterable[Path], given: Sources) -> Places:
    """Return the validations of folds, and the raw images and labels in nnU-Net's folders."""
    references, images = given.references, given.images
    for folders in Folders.of_model(model):
        raw = folders.raw / model.parent.name
        if raw.is_dir():
            references = references or _if_folder(raw / "labelsTr")
            images = images or _if_folder(raw / "imagesTr")
    return Places(tuple(validations), references, images)


def places_of_evaluation(folder: Path, given: Sources) -> Places:
    """Return the parts that a folder of results has under the usual names, unless other paths were given."""
    found = _if_folder(folder / "predictions") or (folder if holds_images(folder) else None)
    predictions = given.predictions or found
    references = given.references or _first_folder(folder, ("references", "labels", "labelsTs", "labelsTr"))
    images = given.images or _first_folder(folder, ("images", "imagesTs", "imagesTr"))
    if images is None and references is not None:
        sibling = references.resolve()
        images = _if_folder(sibling.with_name(sibling.name.replace("labels", "images")))
    return Places(() if predictions is None else (predictions,), references, images)


def description_of_evaluation(folder: Path, places: Places, given: Sources) -> Path | None:
    """Return the given ``dataset.json``, or the one beside the results or true label maps."""
    if given.dataset_json is not None:
        return given.dataset_json
    beside = [folder, *places.predictions]
    if places.references is not None:
        beside.append(places.references.resolve().parent)
    return next((path for each in beside if (path := each / "dataset.json").is_file()), None)


def read_classes(path: Path, gaps: Gaps) -> tuple[LabelClasses | None, int]:
    """Return the class names of a ``dataset.json``, and the number of channels."""
    classes = None
    try:
        classes = LabelClasses.from_dataset_json(path)
        return classes, max(1, len(dict(read_json(path, dict, nan=True).get("channel_names", {"0": ""}))))
    except (DataError, TypeError, ValueError) as error:
        what = error.what if isinstance(error, DataError) else "its channel_names are damaged"
        gaps.missing.append(f"the class names: {path.name}: {what}")
        return classes, 1


def _first_folder(folder: Path, names: Iterable[str]) -> Path | None:
    return next((folder / name for name in names if (folder / name).is_dir()), None)


def _if_folder(path: Path) -> Path | None:
    return path if path.is_dir() else None
