"""``swin-umamba export``: pack a trained model into one file."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

from swin_umamba.cli.options import add_force, add_model, add_options, check_new, given_options
from swin_umamba.cli.output import say_result
from swin_umamba.inference.options import ModelOptions

ORDER = 100
HELP = "pack a trained model into one file that predict runs"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    add_model(parser, "model folder, fold folder or checkpoint file")
    parser.add_argument("-o", "--output", type=Path, required=True, help="the file, NAME.safetensors")
    parser.add_argument(
        "--format",
        choices=("safetensors",),
        default="safetensors",
        help="safetensors (default): weights of all folds, plans, labels, a model card and a hash",
    )
    add_options(parser, ModelOptions, ("folds", "checkpoint"))
    add_force(parser, "replace the file if it exists")


def run(args: argparse.Namespace) -> int:
    """Export, and say what was written."""
    check_new(args.output, args)
    from swin_umamba.trained.export_model import export_model

    model, sha256 = export_model(args.model, args.output, **given_options(args, ModelOptions))
    size, checkpoints = args.output.stat().st_size, [str(path) for path in model.checkpoints]
    say_result(
        args,
        "export",
        {"output": str(args.output), "bytes": size, "sha256": sha256, "checkpoints": checkpoints},
        f"packed {', '.join(checkpoints)}",
        f"written: {args.output} ({size / 1e6:.1f} MB, content sha256 {sha256})",
        f"predict with it: swin-umamba predict -m {shlex.quote(str(args.output))} -i IMAGES -o LABELS",
    )
    return 0
