"""``swin-umamba statistics``: what a label map holds."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from swin_umamba.cli.evaluate import aligned
from swin_umamba.cli.options import add_classes, add_options, classes_of, given_options
from swin_umamba.cli.output import say, say_result
from swin_umamba.data.label_options import LabelOptions
from swin_umamba.errors import UsageError, by_reason
from swin_umamba.inference.options import FolderOptions

if TYPE_CHECKING:
    from swin_umamba.evaluation.classes import LabelClasses

ORDER = 180
HELP = "measure label maps: volume or area, components and intensities of each class"
CASES = ("mask", "image")

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument("mask", type=Path, help="label map, or a folder of them: one row a case and class")
    parser.add_argument("image", type=Path, nargs="?", help="image on the same grid, for the intensities")
    add_classes(parser, "measure")
    add_options(parser, FolderOptions, ("series",))
    add_options(parser, LabelOptions)
    parser.add_argument("-o", "--output", type=Path, metavar="CSV", help="also write the table to this file")


def run(args: argparse.Namespace) -> int:
    """Measure, write the file, and print the table or JSON; return 1 if a label map cannot be read."""
    from swin_umamba.data.dicom import is_dicom_folder, is_segmentation_folder
    from swin_umamba.data.image_io import read_image, read_labels
    from swin_umamba.evaluation.statistics import label_statistics

    classes = classes_of(args)
    fraction = LabelOptions(**given_options(args, LabelOptions)).fraction
    if args.mask.is_dir() and (not is_dicom_folder(args.mask) or is_segmentation_folder(args.mask)):
        return _run_folder(args, classes, fraction)
    labels = read_labels(args.mask, fraction=fraction)
    image = None if args.image is None else read_image(args.image, series=getattr(args, "series", None))
    statistics = label_statistics(labels, image, classes)
    if args.output is not None:
        statistics.write_csv(args.output)
        logger.info("wrote %s", args.output)
    say_result(args, "statistics", statistics.to_dict(), *_table(statistics.rows()))
    return 0


def _run_folder(args: argparse.Namespace, classes: LabelClasses | None, fraction: float | None) -> int:
    from swin_umamba.evaluation.cohort import cohort_statistics

    if args.image is not None:
        raise UsageError(
            "intensities can be measured for one label map at a time",
            where=args.image,
            hint="give one label map",
        )
    cohort = cohort_statistics(args.mask, classes, fraction)
    if args.output is not None:
        cohort.write_csv(args.output)
        logger.info("wrote %s", args.output)
    for cases, why in by_reason((each.case, each.error) for each in cohort.failures):
        say(f"error: {cases} could not be measured: {why}", file=sys.stderr)
    say_result(args, "statistics-folder", cohort.to_dict(), *_table(cohort.rows()))
    return 1 if cohort.failures else 0


def _table(rows: Sequence[Sequence[str | int | float | None]]) -> list[str]:
    return aligned([tuple(map(_text, row)) for row in rows])


def _text(cell: str | int | float | None) -> str:
    if cell is None:
        return "-"
    if isinstance(cell, float):
        if cell != cell:
            return "-"
        # With two decimals, a volume of micrometres would become 0.
        return f"{cell:.3g}" if 0 < abs(cell) < 1 else f"{cell:.2f}"
    return str(cell)
