"""``swin-umamba train``: train one fold and validate it."""

from __future__ import annotations

import argparse
import math

from swin_umamba.cli.options import add_options, given_options
from swin_umamba.cli.output import say, say_json
from swin_umamba.nnunet.training.options import TrainRequest

ORDER = 50
HELP = "train one fold through nnU-Net with the recipe of the paper, and validate it"

AFTER_INTERRUPT = "continue with the same command and --continue"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("dataset", metavar="DATASET", help="number, name or path of the raw data set folder")
    parser.add_argument(
        "--root",
        metavar="DIR",
        help="folder that contains nnUNet_raw and the others (default: from the environment)",
    )
    add_options(parser, TrainRequest)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    from swin_umamba.nnunet.environment import find_dataset
    from swin_umamba.nnunet.training.train import train

    dataset = find_dataset(args.dataset, args.root)
    result = train(dataset, **given_options(args, TrainRequest))
    dice = None if math.isnan(result.validation_dice) else result.validation_dice
    if args.json:
        content = {
            "fold_folder": str(result.fold_folder),
            "epochs": result.epochs,
            "validation_dice": dice,
            "skipped_steps": result.skipped_steps,
        }
        say_json("train", content, indent=None)
    else:
        shown = "none" if dice is None else f"{dice:.4f}"
        say(f"{result.epochs} epochs trained; mean validation Dice: {shown}")
        say(f"model: {result.fold_folder.parent}")
    return 0
