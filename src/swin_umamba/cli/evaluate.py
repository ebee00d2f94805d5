"""``swin-umamba evaluate``: score predicted label maps against references."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from swin_umamba.files import check_output_folder

if TYPE_CHECKING:
    from swin_umamba.evaluation.classes import LabelClasses
    from swin_umamba.evaluation.results import Evaluation

HELP = "score predicted label maps: Dice, NSD and HD95 for each case and class"

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this verb."""
    parser.add_argument("predictions", type=Path, help="folder of predicted label maps")
    parser.add_argument("references", type=Path, help="folder of reference label maps of the same names")
    classes = parser.add_mutually_exclusive_group()
    classes.add_argument("--dataset-json", type=Path, help="dataset.json with the class names and values")
    classes.add_argument(
        "--labels", nargs="+", metavar="LABEL", help="classes to score, such as 1 2 or liver=1 kidneys=2,3"
    )
    parser.add_argument(
        "--tolerance",
        type=float,
        default=2.0,
        metavar="MM",
        help="of the NSD in mm, pixels for pictures (default: 2)",
    )
    parser.add_argument(
        "--missing",
        choices=("error", "worst"),
        default="error",
        help="references without a prediction: an error, or scored as if nothing was predicted",
    )
    parser.add_argument(
        "--num-workers", type=int, default=1, help="processes that evaluate at the same time (default: 1)"
    )
    parser.add_argument(
        "-o", "--output", type=Path, metavar="DIR", help="write metrics.json and metrics.csv here"
    )


def run(args: argparse.Namespace) -> int:
    """Evaluate, print the table or JSON, write the files; 1 if a case failed."""
    from swin_umamba.evaluation.evaluate import evaluate_folders

    if args.output is not None:
        check_output_folder(args.output)
    evaluation = evaluate_folders(
        args.predictions,
        args.references,
        classes=_classes(args),
        tolerance=args.tolerance,
        missing=args.missing,
        num_workers=args.num_workers,
    )
    if not args.json:
        print(_table(evaluation))
    for failure in evaluation.failures:
        print(f"error: case {failure.case} could not be evaluated: {failure.error}", file=sys.stderr)
    if args.output is not None:
        for path in evaluation.write(args.output):
            logger.info("wrote %s", path)
    if args.json:
        # Last, so that stdout holds either this or an error.
        print(json.dumps(evaluation.to_dict(), indent=2))
    return 1 if evaluation.failures else 0


def _classes(args: argparse.Namespace) -> LabelClasses | None:
    from swin_umamba.evaluation.classes import LabelClasses

    if args.dataset_json is not None:
        return LabelClasses.from_dataset_json(args.dataset_json)
    return LabelClasses.from_arguments(args.labels) if args.labels else None


def _table(evaluation: Evaluation) -> str:
    rows: list[tuple[str, ...]] = [
        ("class", "Dice", f"NSD {evaluation.tolerance:g} mm", "HD95 mm", "cases", "not applicable")
    ]
    for name in evaluation.class_names:
        summary = evaluation.summary(name)
        rows.append(
            (
                name,
                _number(summary.dice, 4),
                _number(summary.nsd, 4),
                _number(summary.hd95, 2),
                str(summary.cases),
                str(summary.not_applicable),
            )
        )
    means = [
        _number(evaluation.mean(metric), digits) for metric, digits in (("dice", 4), ("nsd", 4), ("hd95", 2))
    ]
    rows.append(("mean of classes", *means, "", ""))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join(
            [
                row[0].ljust(widths[0]),
                *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)),
            ]
        )
        for row in rows
    ]
    lines = [line.rstrip() for line in lines]
    missing = sum(case.missing for case in evaluation.cases)
    if missing:
        lines.append(f"{missing} cases have no prediction and count as empty")
    if evaluation.failures:
        lines.append(f"{len(evaluation.failures)} cases failed and are not in the means")
    return "\n".join(lines)


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
