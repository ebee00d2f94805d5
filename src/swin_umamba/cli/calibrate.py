"""``swin-umamba calibrate``: calibrate the confidence of a trained model."""

from __future__ import annotations

import argparse
import math
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from swin_umamba.cli.options import add_model, add_options, given_options
from swin_umamba.cli.output import say, say_json
from swin_umamba.errors import UsageError, by_reason
from swin_umamba.inference.options import ModelOptions

if TYPE_CHECKING:
    from swin_umamba.inference.calibrate import CalibrationResult

ORDER = 60
HELP = "calibrate predict --confidence on the validation cases of a trained model"
CASES: tuple[str, ...] = ()

OPTIONS = ("folds", "checkpoint", "mirroring", "device", "backend")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    add_model(parser, "model folder (TRAINER__PLANS__CONFIGURATION), or fold")
    add_options(parser, ModelOptions, OPTIONS)
    for name, what in (
        ("images", "images of cases that the model was not trained on"),
        ("references", "true label maps of these cases"),
        ("instances", "true maps of their objects, for a model of cells"),
    ):
        parser.add_argument(
            f"--{name}",
            type=Path,
            metavar="DIR",
            help=f"{what} (default: of the fold's validation cases)",
        )


def run(args: argparse.Namespace) -> int:
    """Calibrate fold by fold; return 1 if a case could not be used."""
    from swin_umamba.inference.calibrate import calibrate
    from swin_umamba.inference.predictor import Predictor
    from swin_umamba.trained.model_files import FINAL_CHECKPOINT, find_checkpoints

    if not args.model.exists():
        raise UsageError("there is no such model", where=args.model, hint="check the path")
    options = given_options(args, ModelOptions)
    folds, checkpoint = options.pop("folds", None), options.pop("checkpoint", FINAL_CHECKPOINT)
    files, _ = find_checkpoints(args.model, folds, checkpoint)
    results = {}
    for file in files:
        predictor = Predictor.from_folder(file, **options)
        result = calibrate(
            predictor, images=args.images, references=args.references, instances=args.instances
        )
        results[file.parent.name] = result
        if not args.json:
            say(_text(file.parent.name, result))
    if args.json:
        say_json("calibrate", {"folds": {name: _summary(result) for name, result in results.items()}})
    return 1 if any(result.failures for result in results.values()) else 0


def _text(name: str, result: CalibrationResult) -> str:
    from swin_umamba.confidence.case_quality import check_quality

    found = result.calibration.quality_exponent
    exponent = "" if found is None else f", exponent of the agreement {found:.3f}"
    errors = {key: "-" if math.isnan(value) else f"{value:.4f}" for key, value in _errors(result).items()}
    lines = [
        f"{name}: temperature {result.calibration.temperature:.3f}{exponent}",
        f"  expected calibration error: {errors['before']} before, {errors['after']} after",
        "  the same where structures have a probability of 1 % or more: "
        f"{errors['structures_before']} before, {errors['structures_after']} after",
    ]
    check = check_quality(result.cases)
    if check.error_before is not None:
        lines.append(
            f"  estimated and true Dice of {len(result.cases)} cases differ by {check.error_before:.3f} "
            f"before, {check.error_after:.3f} after"
        )
    if check.rank_correlation is not None:
        lines.append(f"  their rank correlation: {check.rank_correlation:.2f}")
    lines += _decodings(result)
    lines += [f"  left out: {cases}: {why}" for cases, why in by_reason(result.failures)]
    lines.append(f"  written: {result.file}")
    return "\n".join(lines)


def _decodings(result: CalibrationResult) -> list[str]:
    """Return what is said of the way in which objects are made of classes."""
    if not result.decodings:
        return []
    best, default = result.decodings[0], next(each for each in result.decodings if each.is_default)
    cut, rim = best.decoding.split_distance, best.decoding.outer_rim
    how = f"cut at necks, with {cut} pixels between centres" if cut else "not cut at necks"
    return [f"  objects: {how}, boundary {rim} pixels outside: F1 {best.f1:.3f}, by default {default.f1:.3f}"]


def _errors(result: CalibrationResult) -> dict[str, float]:
    return {name: curve.expected_calibration_error for name, curve in vars(result.curves).items()}


def _summary(result: CalibrationResult) -> dict[str, Any]:
    from swin_umamba.confidence.case_quality import check_quality

    return {
        **asdict(result.calibration),
        "expected_calibration_error": {
            name: None if math.isnan(value) else value for name, value in _errors(result).items()
        },
        "quality": asdict(check_quality(result.cases)),
        "cases": [asdict(each) for each in result.cases],
        "decodings": [each.as_dict() for each in result.decodings],
        "failed": dict(result.failures),
        "file": str(result.file),
    }
