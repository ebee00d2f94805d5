"""Statistics of all label maps in a folder: one table with a row for each case and class."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swin_umamba.csv_files import write_csv
from swin_umamba.data.image_io import image_stem, list_images, read_labels
from swin_umamba.errors import DataError
from swin_umamba.evaluation.class_names import given_names, names_of_values
from swin_umamba.evaluation.classes import LabelClasses
from swin_umamba.evaluation.results import CaseFailure
from swin_umamba.evaluation.statistics import MM3_IN_ML, LabelStatistics, statistics_of_values
from swin_umamba.progress import progress
from swin_umamba.pseudonyms import shown

HEADER = ("case", "class", "label", "count", "pixels", "area_mm2", "volume_ml")


@dataclass(frozen=True)
class CohortStatistics:
    """Statistics of the label maps in a folder.

    Attributes
    ----------
    cases
        Statistics of each label map by the name of its case.
    failures
        Cases that could not be read, and the reasons.
    """

    cases: Mapping[str, LabelStatistics]
    failures: tuple[CaseFailure, ...] = ()

    def rows(self) -> list[list[str | int | float | None]]:
        """Return the header and a row for each case and class; None where a size is unknown.

        ``count`` is the number of connected components. A class that occurs in any map has a row for every
        case.
        """
        labels = {each.name: each.values for statistics in self.cases.values() for each in statistics.classes}
        rows: list[list[str | int | float | None]] = [list(HEADER)]
        for case, statistics in self.cases.items():
            found = {each.name: each for each in statistics.classes}
            flat, volume = statistics.unit == "mm2", statistics.unit == "mm3"
            for name, values in sorted(labels.items(), key=lambda item: item[1]):
                pixels, count, size = 0, 0, 0.0
                if name in found:
                    pixels, count, size = found[name].pixels, found[name].components, found[name].size
                sizes = (size if flat else None, size / MM3_IN_ML if volume else None)
                rows.append([case, name, "+".join(map(str, values)), count, pixels, *sizes])
        return rows

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain data for JSON."""
        header, *rows = self.rows()
        return {
            "rows": [dict(zip(header, row, strict=True)) for row in rows],
            "failures": [{"case": each.case, "error": each.error} for each in self.failures],
        }

    def write_csv(self, path: str | Path) -> None:
        """Write the table atomically, with empty cells for unknown values."""
        write_csv(path, self.rows())


def cohort_statistics(
    folder: str | Path, classes: LabelClasses | None = None, fraction: float | None = None
) -> CohortStatistics:
    """Measure every class of every label map of a folder.

    Parameters
    ----------
    folder
        Folder with one label map for each case.
    classes
        Classes to measure; by default, every value above 0 that any map holds or names is a class, called as
        all files that name it call it, or by its value.
    fraction
        Threshold for DICOM segmentations of fractions; see ``read_labels``.

    Raises
    ------
    DataError
        If the folder contains no image, two of the same name, or none that can be read.
    """
    cases: dict[str, LabelStatistics] = {}
    named: list[tuple[int, str]] = []
    failures = []
    paths = list_images(folder)
    for path in progress(paths, "measuring", total=len(paths)):
        case = shown(image_stem(path))
        if case in cases:
            raise DataError(f"two files belong to the case {case}", where=path, hint="remove one of them")
        try:
            labels = read_labels(path, fraction=fraction)
            cases[case] = statistics_of_values(labels, None, classes)
        except DataError as error:
            failures.append(CaseFailure(case, str(error)))
        else:
            named += given_names(labels)
    if not cases:
        raise DataError("no label map can be read: " + failures[0].error, where=folder)
    if classes is None:
        values = {each.name for statistics in cases.values() for each in statistics.classes}
        names = names_of_values(values, named)
        cases = {case: statistics.renamed(names) for case, statistics in cases.items()}
    return CohortStatistics(cases, tuple(failures))
