"""``swin-umamba train``: train one fold, or several, and validate them."""

from __future__ import annotations

import argparse
import logging
import math
from typing import TYPE_CHECKING, Any

from swin_umamba.cli.options import add_options, given_options
from swin_umamba.cli.output import say, say_json
from swin_umamba.nnunet.training.options import TrainRequest, parse_fold
from swin_umamba.options import declared_options
from swin_umamba.trainer_names import SWIN_UMAMBA_D

if TYPE_CHECKING:
    from swin_umamba.nnunet.environment import Dataset
    from swin_umamba.nnunet.training.train import TrainResult

logger = logging.getLogger(__name__)

ORDER = 50
HELP = "train folds through nnU-Net with the recipe of the paper, and validate them"

AFTER_INTERRUPT = "continue with the same command and --continue"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("dataset", metavar="DATASET", help="number, name or path of the raw data set folder")
    parser.add_argument(
        "--root",
        metavar="DIR",
        help="folder that contains nnUNet_raw and the others (default: from the environment, else the "
        "current folder)",
    )
    parser.add_argument(
        "--fold",
        type=parse_fold,
        nargs="+",
        default=argparse.SUPPRESS,
        metavar="N",
        help="0 to 4, or all: train and validate on every case (default: 0); several are trained one after "
        "the other, or side by side as --devices or --folds-parallel says; with --continue those that are "
        "missing",
    )
    others = {each.name for each in declared_options(TrainRequest)} - {"fold"}
    add_options(parser, TrainRequest, others)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    from swin_umamba.distributed.processes import is_first_process
    from swin_umamba.nnunet.environment import find_dataset
    from swin_umamba.nnunet.training.train import train

    dataset = find_dataset(args.dataset, args.root)
    options = _options(args)
    if len(options.get("fold", ())) > 1:
        return _run_folds(args, dataset, options)
    if "fold" in options:
        (options["fold"],) = options["fold"]
    result = train(dataset, **options)
    if not is_first_process():
        return 0
    if args.json:
        say_json("train", _plain(result), indent=None)
    else:
        say(f"{result.epochs} epochs trained; mean validation Dice: {_shown(result.validation_dice)}")
        say(f"model: {result.fold_folder.parent}")
    return 0


def _run_folds(args: argparse.Namespace, dataset: Dataset, options: dict[str, Any]) -> int:
    from swin_umamba.nnunet.training.folds import train_folds

    found = train_folds(dataset, options.pop("fold"), **options)
    if args.json:
        trained = [_plain(result) for result in found.results.values()]
        say_json("train-folds", {"trained": trained, "cross_validation": found.as_dict()}, indent=None)
        return 0
    rows = [*found.classes.items(), ("mean", found.foreground)]
    width = max(len(name) for name, _ in rows)
    heading = "  ".join(f"fold {fold}" for fold in found.results)
    say(f"{'Dice':{width}}  {heading}    mean ± deviation")
    for name, dice in rows:
        of_folds = "  ".join(f"{_shown(dice.folds.get(fold, math.nan)):>6}" for fold in found.results)
        say(f"{name:{width}}  {of_folds}  {_shown(dice.mean):>6} ± {_shown(dice.deviation)}")
    say(f"model: {found.model_folder}")
    return 0


def _options(args: argparse.Namespace) -> dict[str, Any]:
    """Return the options that were given, and with a backbone alone a trainer that takes one."""
    options = given_options(args, TrainRequest)
    if options.get("backbone") is not None and "trainer" not in options:
        options["trainer"] = SWIN_UMAMBA_D
        logger.info("trainer: %s, as the usual one takes no other backbone", SWIN_UMAMBA_D)
    return options


def _plain(result: TrainResult) -> dict[str, Any]:
    from swin_umamba.evaluation.results import none_for_nan

    return {
        "fold_folder": str(result.fold_folder),
        "epochs": result.epochs,
        "validation_dice": none_for_nan(result.validation_dice),
        "skipped_steps": result.skipped_steps,
    }


def _shown(dice: float) -> str:
    return "none" if math.isnan(dice) else f"{dice:.4f}"
