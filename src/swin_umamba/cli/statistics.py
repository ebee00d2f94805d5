"""``swin-umamba statistics``: what a label map holds."""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from swin_umamba.cli.evaluate import aligned
from swin_umamba.cli.options import add_options, given_options
from swin_umamba.cli.output import say, say_json
from swin_umamba.data.label_options import LabelOptions
from swin_umamba.errors import UsageError
from swin_umamba.inference.options import FolderOptions

if TYPE_CHECKING:
    from swin_umamba.evaluation.classes import LabelClasses
    from swin_umamba.evaluation.statistics import LabelStatistics

ORDER = 180
HELP = "measure label maps: volume or area, components and intensities of each class"
CASES = ("mask", "image")

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument("mask", type=Path, help="label map, or a folder of them: one row a case and class")
    parser.add_argument("image", type=Path, nargs="?", help="image on the same grid, for the intensities")
    classes = parser.add_mutually_exclusive_group()
    classes.add_argument("--dataset-json", type=Path, help="dataset.json with the class names and values")
    classes.add_argument(
        "--labels", nargs="+", metavar="LABEL", help="classes to measure, such as 1 2 or liver=1 kidneys=2,3"
    )
    add_options(parser, FolderOptions, ("series",))
    add_options(parser, LabelOptions)
    parser.add_argument("-o", "--output", type=Path, metavar="CSV", help="also write the table to this file")


def run(args: argparse.Namespace) -> int:
    """Measure, write the file, and print the table or JSON; return 1 if a label map cannot be read."""
    from swin_umamba.data.dicom import is_dicom_folder, is_segmentation_folder
    from swin_umamba.data.image_io import read_image, read_labels
    from swin_umamba.evaluation.classes import LabelClasses
    from swin_umamba.evaluation.statistics import label_statistics

    classes = None
    if args.dataset_json is not None:
        classes = LabelClasses.from_dataset_json(args.dataset_json)
    elif args.labels:
        classes = LabelClasses.from_arguments(args.labels)
    fraction = LabelOptions(**given_options(args, LabelOptions)).fraction
    if args.mask.is_dir() and (not is_dicom_folder(args.mask) or is_segmentation_folder(args.mask)):
        return _run_folder(args, classes, fraction)
    labels = read_labels(args.mask, fraction=fraction)
    image = None if args.image is None else read_image(args.image, series=getattr(args, "series", None))
    statistics = label_statistics(labels, image, classes)
    if args.output is not None:
        statistics.write_csv(args.output)
        logger.info("wrote %s", args.output)
    if args.json:
        say_json("statistics", statistics.to_dict())
    else:
        say(table(statistics))
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
    for failure in cohort.failures:
        say(f"error: case {failure.case} could not be measured: {failure.error}", file=sys.stderr)
    if args.json:
        say_json("statistics-folder", cohort.to_dict())
    else:
        say("\n".join(aligned([tuple(map(_text, row)) for row in cohort.rows()])))
    return 1 if cohort.failures else 0


def table(statistics: LabelStatistics) -> str:
    """Return the printed table, with one line for each class."""
    return "\n".join(aligned([tuple(map(_text, row)) for row in statistics.rows()]))


def _text(cell: str | int | float | None) -> str:
    if cell is None:
        return "-"
    if isinstance(cell, float):
        if cell != cell:
            return "-"
        # With two decimals, a volume of micrometres would become 0.
        return f"{cell:.3g}" if 0 < abs(cell) < 1 else f"{cell:.2f}"
    return str(cell)
