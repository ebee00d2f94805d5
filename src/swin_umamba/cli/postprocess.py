"""``swin-umamba postprocess``: choose the post-processing of a trained model."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from swin_umamba.cli.options import add_model
from swin_umamba.cli.output import say_result

if TYPE_CHECKING:
    from swin_umamba.evaluation.postprocessing import ComponentStep

ORDER = 70
HELP = "choose which components predict removes and which holes it fills, from a model's validation cases"
CASES: tuple[str, ...] = ()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    add_model(parser, "model folder (TRAINER__PLANS__CONFIGURATION)")
    parser.add_argument(
        "--references",
        type=Path,
        metavar="DIR",
        help="true label maps of the validation cases (default: gt_segmentations of the data set)",
    )


def run(args: argparse.Namespace) -> int:
    """Choose and write the steps, and print what each class gains."""
    from swin_umamba.evaluation.results import none_for_nan
    from swin_umamba.inference.postprocess import choose_postprocessing

    result = choose_postprocessing(args.model, args.references)
    chosen = result.chosen
    content = {
        "file": str(result.file),
        "folds": list(result.folds),
        "num_cases": result.num_cases,
        "steps": [asdict(step) for step in chosen.steps],
        "before": {name: none_for_nan(value) for name, value in chosen.before.items()},
        "after": {name: none_for_nan(value) for name, value in chosen.after.items()},
    }
    dice = [
        f"  Dice of {name}: {value:.4f} before, {chosen.after[name]:.4f} after"
        for name, value in chosen.before.items()
    ]
    say_result(
        args,
        "postprocess",
        content,
        f"{result.num_cases} validation cases of {', '.join(result.folds)}",
        *([f"  {_text(step)}" for step in chosen.steps] or ["  no step helps"]),
        *dice,
        f"written: {result.file}; predict applies it unless --no-postprocessing is given",
    )
    return 0


def _text(step: ComponentStep) -> str:
    labels = f"label{'s' if len(step.labels) > 1 else ''} {', '.join(map(str, step.labels))}"
    if step.kind == "largest":
        return f"{labels}: only the largest component"
    if step.kind == "holes":
        return f"{labels}: holes are filled"
    return f"{labels}: no component below {step.size:g} (mm3, mm2 or pixels)"
