"""Checks of a raw data set before anything is computed from it."""

from __future__ import annotations

import logging
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from swin_umamba.data.image_io import Image, check_label_names, check_same_grid, read_case, read_labels
from swin_umamba.errors import DataError, SwinUMambaError
from swin_umamba.nnunet.checked_reader import CheckedReader, stock_reader
from swin_umamba.nnunet.dataset_json import members_of
from swin_umamba.nnunet.environment import Dataset
from swin_umamba.nnunet.preprocessed import preprocessed_name
from swin_umamba.options import Nonfinite
from swin_umamba.progress import progress

logger = logging.getLogger(__name__)

MAX_PROBLEMS_SHOWN = 20


@dataclass(frozen=True)
class TrainingCase:
    """A training case: its name, its image files in channel order, and its label file."""

    name: str
    images: tuple[Path, ...]
    label: Path


def check_dataset(dataset: Dataset, nonfinite: Nonfinite = "refuse") -> list[TrainingCase]:
    """Open every training image and label of a raw data set, and report all problems at once.

    This checks file names, missing labels, that files can be read, the number of channels, finite values,
    that image and label are on the same grid, that nnU-Net's own reader finds the same shape and spacing, and
    that each label value is declared in ``dataset.json``. A wrong ``numTraining`` only gives a warning, as
    nothing here relies on it.

    Parameters
    ----------
    dataset
        The data set.
    nonfinite
        Whether NaN and infinite voxels are a problem or are read as zero.

    Returns
    -------
    list of TrainingCase
        The training cases, sorted by name.

    Raises
    ------
    DataError
        If there are problems; the error lists all of them with the files and values concerned.
    """
    description = dataset.description()
    cases, problems = list_cases(dataset, description)
    check = _CaseCheck(description, nonfinite)
    for case in progress(cases, "checking the data", total=len(cases)):
        problems.extend(check.problems_of(case))
    if problems:
        shown = problems[:MAX_PROBLEMS_SHOWN]
        if len(problems) > len(shown):
            shown.append(f"and {len(problems) - len(shown)} more")
        raise DataError(
            f"the data set has {len(problems)} problem(s):\n  - " + "\n  - ".join(shown),
            where=dataset.raw_folder,
            hint="correct or remove these cases; nothing was written",
        )
    if description["numTraining"] != len(cases):
        logger.warning(
            "dataset.json says numTraining %s, but there are %d training cases; continuing with %d",
            description["numTraining"],
            len(cases),
            len(cases),
        )
    return cases


def list_cases(dataset: Dataset, description: Mapping[str, Any]) -> tuple[list[TrainingCase], list[str]]:
    """Return the training cases of a data set, and the problems with its file names.

    Raises
    ------
    DataError
        If there is no training image at all.
    """
    if "dataset" in description:
        return _cases_listed_in(description["dataset"], dataset.raw_folder)
    ending = description["file_ending"]
    pattern = re.compile(rf"(.+)_(\d{{4}}){re.escape(ending)}")
    images: dict[str, list[Path]] = {}
    problems: list[str] = []
    folder = dataset.raw_folder / "imagesTr"
    for name, path in _files(folder, ending, problems).items():
        match = pattern.fullmatch(name)
        if match is None:
            problems.append(
                f"{path}: the name lacks the channel number, e.g. {name[: -len(ending)]}_0000{ending}"
            )
        else:
            images.setdefault(match.group(1), []).append(path)
    if not images and not problems:
        raise DataError(
            f"the data set has no training images that end in {ending!r}",
            where=folder,
            hint='check the folder and the entry "file_ending" of dataset.json',
        )
    label_folder = dataset.raw_folder / "labelsTr"
    labels = _files(label_folder, ending, problems)
    cases = [
        TrainingCase(
            preprocessed_name(name),
            tuple(paths),
            labels.pop(f"{name}{ending}", label_folder / f"{name}{ending}"),
        )
        for name, paths in sorted(images.items())
    ]
    problems += [f"{path}: a label without an image" for path in labels.values()]
    return cases, problems + _same_names(cases)


def _files(folder: Path, ending: str, problems: list[str]) -> dict[str, Path]:
    """Return the files with an ending by their names in Unicode's NFC, without files of operating systems."""
    files: dict[str, Path] = {}
    for path in sorted(folder.glob(f"*{ending}")):
        if path.name.startswith("."):  # such as ._CASE of macOS
            continue
        other = files.setdefault(unicodedata.normalize("NFC", path.name), path)
        if other != path:
            problems.append(f"{path}: there is another file of this name in another Unicode normal form")
    return files


def _same_names(cases: Sequence[TrainingCase]) -> list[str]:
    """Return a problem for each case whose name equals another one's on other systems."""
    seen: dict[str, TrainingCase] = {}
    pairs = [(case, seen.setdefault(case.name.casefold(), case)) for case in cases]
    return [
        f"{case.images[0]}: on Windows and macOS, {case.name} would have the files of {other.name}"
        for case, other in pairs
        if other is not case
    ]


def declared_labels(description: Mapping[str, Any]) -> set[int]:
    """Return every value that is allowed in a label map: classes, values of regions, and the ignore label."""
    return {int(each) for value in description["labels"].values() for each in members_of(value)}


def _cases_listed_in(listing: Mapping[str, Any], folder: Path) -> tuple[list[TrainingCase], list[str]]:
    cases = [
        TrainingCase(
            preprocessed_name(name),
            tuple(folder / image for image in entry["images"]),
            folder / entry["label"],
        )
        for name, entry in sorted(listing.items())
    ]
    return cases, _same_names(cases)


class _CaseCheck:
    """Checks of single cases of a data set."""

    def __init__(self, description: Mapping[str, Any], nonfinite: Nonfinite) -> None:
        self.description = description
        self.nonfinite = nonfinite
        self.labels = declared_labels(description)
        self.classes = {name: members_of(value) for name, value in description["labels"].items()}
        self.num_channels = len(description["channel_names"])
        self.reader: CheckedReader | None = None

    def problems_of(self, case: TrainingCase) -> Iterator[str]:
        image = label = None
        try:
            image = read_case(case.images, nonfinite=self.nonfinite)
            # nnU-Net chooses its reader by a file, which should not be a damaged one.
            self.reader = self.reader or CheckedReader(stock_reader(self.description, case.images[0]))
            self.reader.compared(image, case.images)
        except SwinUMambaError as error:
            yield _one_line(error, case.images[0])
        if not case.label.is_file():
            yield f"{case.label}: the label of this case is missing"
        else:
            try:
                label = read_labels(case.label)
                check_label_names(label, self.classes)
            except SwinUMambaError as error:
                yield _one_line(error, case.label)
        if image is not None and image.num_channels != self.num_channels:
            wanted = self.num_channels
            yield f"{case.images[0]}: {image.num_channels} channel(s), but dataset.json names {wanted}"
        if label is not None:
            yield from _undeclared_values(label, case.label, self.labels)
        if image is not None and label is not None:
            try:
                check_same_grid(image, label)
            except SwinUMambaError as error:
                yield _one_line(error, case.label)


def _undeclared_values(label: Image, path: Path, declared: set[int]) -> Iterator[str]:
    values, counts = np.unique(label.data, return_counts=True)
    for value, count in zip(values.tolist(), counts.tolist(), strict=True):
        if value not in declared:
            yield f"{path}: {count} pixels have the value {value}, which dataset.json does not declare"


def _one_line(error: SwinUMambaError, path: Path) -> str:
    return f"{error.where or path}: {error.what}"
