"""``swin-umamba predict``: segment images with a trained model."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from swin_umamba.cli.options import (
    add_checkpoint_options,
    add_device_option,
    add_prediction_options,
    parse_folds,
)
from swin_umamba.errors import printable

if TYPE_CHECKING:
    from swin_umamba.inference.case_result import CaseResult
    from swin_umamba.inference.predictor import Predictor

logger = logging.getLogger(__name__)

HELP = "segment images with a trained model"

SHOWN_CASES = 5

AFTER_INTERRUPT = "go on with the same command: finished cases are kept"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this verb."""
    parser.add_argument(
        "-m",
        "--model",
        type=Path,
        required=True,
        help="model folder (TRAINER__PLANS__CONFIGURATION), fold folder, checkpoint file, or file of export",
    )
    parser.add_argument(
        "-i", "--input", type=Path, nargs="+", required=True, help="folder of images, or image files"
    )
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        required=True,
        help="folder for the label maps; for a single case also a file name",
    )
    add_checkpoint_options(parser, purpose="average")
    parser.add_argument("--probabilities", action="store_true", help="write class probabilities as .npz, too")
    parser.add_argument(
        "--confidence",
        action="store_true",
        help="estimate the quality of each case, and write the entropy of its pixels as entropy/CASE, too",
    )
    parser.add_argument(
        "--preview", action="store_true", help="draw each result over its image, as previews/CASE.png, too"
    )
    add_prediction_options(parser)
    parser.add_argument(
        "--step-size", type=float, default=0.5, help="distance of tiles in patch sizes (default: 0.5)"
    )
    add_device_option(parser)
    parser.add_argument("--backend", metavar="NAME", help="scan backend (default: the best for the device)")
    parser.add_argument(
        "--nonfinite",
        default="refuse",
        choices=("refuse", "zero"),
        help="what to do about NaN and infinite voxels (default: refuse the image)",
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="replace existing results; else they are kept"
    )


def run(args: argparse.Namespace) -> int:
    """Predict, print a summary, name what failed; 1 if a case failed."""
    folds = parse_folds(args.fold)
    from swin_umamba.inference.predictor import Predictor

    predictor = Predictor.from_folder(
        args.model,
        folds=folds,
        checkpoint=args.checkpoint,
        device=args.device,
        mirroring=not args.no_mirroring,
        step_size=args.step_size,
        backend=args.backend,
        precision=args.precision,
    )
    if args.confidence:
        _tell_limits(predictor)
    results = predictor.predict_folder(
        args.input[0] if len(args.input) == 1 else args.input,
        args.output,
        probabilities=args.probabilities,
        confidence=args.confidence,
        preview=args.preview,
        overwrite=args.overwrite,
        nonfinite=args.nonfinite,
    )
    failures = [result for result in results if result.error is not None]
    if args.json:
        print(json.dumps(_summary(predictor, results, args.output), indent=2))
    else:
        print(_text(results, args.output))
    for failure in failures:
        print(f"error: case {_one_line(failure.case)}: {failure.error}", file=sys.stderr)
    return 1 if failures else 0


def _tell_limits(predictor: Predictor) -> None:
    """Say beforehand what the confidence will lack."""
    if predictor.model.temperature is None:
        logger.warning(
            "the model is not calibrated: it is surer than it should be; see swin-umamba calibrate --help"
        )
    if not predictor.mirroring and len(predictor.model.parameters) == 1:
        logger.warning(
            "no estimates of quality: they come from mirrored images or several folds, and there is neither"
        )


def _one_line(name: str) -> str:
    """Return a name that neither commands the terminal nor looks like several lines."""
    return printable(name).replace("\n", " ")


def _text(results: list[CaseResult], output: Path) -> str:
    counts = Counter(result.status for result in results)
    seconds = sum(result.seconds for result in results if result.status == "written")
    lines = [f"{counts['written']} of {len(results)} cases written to {output} in {seconds:.1f} s"]
    if counts["kept"]:
        lines.append(f"{counts['kept']} were there already and were kept (--overwrite replaces them)")
    if counts["failed"]:
        lines.append(f"{counts['failed']} failed")
    estimates = [
        (result.confidence["quality"], result.case)
        for result in results
        if result.confidence is not None and result.confidence.get("quality") is not None
    ]
    if estimates:
        lines.append("lowest estimated quality, to be looked at first:")
        lines += [f"  {quality:.3f}  {_one_line(case)}" for quality, case in sorted(estimates)[:SHOWN_CASES]]
    return "\n".join(lines)


def _summary(predictor: Predictor, results: list[CaseResult], output: Path) -> dict[str, object]:
    counts = Counter(result.status for result in results)
    return {
        "output": str(output),
        "checkpoints": [str(path) for path in predictor.model.checkpoints],
        "device": str(predictor.device),
        "labels": predictor.labels,
        "written": counts["written"],
        "kept": counts["kept"],
        "failed": counts["failed"],
        "cases": [
            {
                "case": result.case,
                "inputs": [str(path) for path in result.files],
                "output": str(result.output),
                "status": result.status,
                "seconds": round(result.seconds, 3),
                "confidence": result.confidence,
                "error": None
                if result.error is None
                else {
                    "what": result.error.what,
                    "where": result.error.where,
                    "what_to_do": result.error.cure,
                },
            }
            for result in results
        ],
    }
