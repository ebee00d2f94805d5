"""``swin-umamba train``: train one fold and validate it."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable
from functools import partial
from typing import Any

HELP = "train one fold through nnU-Net with the recipe of the paper, and validate it"

AFTER_INTERRUPT = "go on with the same command and --continue"

NOT_FOR_TRAINING = ("dataset", "root", "verb", "json", "debug")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the verb."""
    parser.add_argument("dataset", metavar="DATASET", help="number, name, or path of the raw data set folder")
    # A run that goes on takes its options from the first run, so that given ones must be told from defaults:
    # what was not given is not there.
    option = partial(parser.add_argument, default=argparse.SUPPRESS)
    option(
        "--continue",
        dest="continue_training",
        action="store_true",
        help="go on from the newest checkpoint with the options of the first run",
    )
    option("--root", metavar="DIR", help="has nnUNet_raw and so on in it (default: see the environment)")
    option(
        "--trainer",
        metavar="NAME",
        help="nnUNetTrainerSwinUMamba (default), nnUNetTrainerSwinUMambaD, either with Scratch at its end, "
        "or nnUNetTrainer for nnU-Net's own network",
    )
    option("--fold", type=_fold, metavar="N", help="0 to 4 (default 0), or all")
    _add_recipe(option)
    option("--seed", type=int, metavar="N", help="of weights and batches, whatever --workers is")
    option(
        "--deterministic",
        action="store_true",
        help="with --seed: bit-identical weights on the CPU at each repetition, interrupted or not",
    )
    option("--workers", type=int, metavar="N", help="processes for augmentation (default: nnU-Net's choice)")
    option(
        "--precision",
        choices=("float32", "bfloat16", "float16"),
        help="of matrix products and convolutions (default: float16 on CUDA, else float32; on CPUs that have "
        "it bfloat16 is faster)",
    )
    option("--device", metavar="NAME", help="auto (default), cpu, cuda, cuda:N or mps")
    option("--save-every", type=int, metavar="N", help="keep a checkpoint every N epochs (default 50)")
    option("--overwrite", action="store_true", help="replace an earlier run")
    option("--npz", action="store_true", help="save the validation's probabilities, for ensembling")
    option(
        "--skip-validation",
        action="store_true",
        help="end with the last epoch; with --fold all the validation would predict the training cases",
    )
    option(
        "--tensorboard",
        action=argparse.BooleanOptionalAction,
        help="write event files for TensorBoard into the folder tensorboard of the fold; "
        "needs pip install 'swin-umamba[tensorboard]'",
    )


def run(args: argparse.Namespace) -> int:
    """Run the verb."""
    from swin_umamba.nnunet.environment import find_dataset
    from swin_umamba.nnunet.training.train import train

    dataset = find_dataset(args.dataset, getattr(args, "root", None))
    result = train(dataset, **_given_options(args))
    dice = None if math.isnan(result.validation_dice) else result.validation_dice
    if args.json:
        print(
            json.dumps(
                {
                    "fold_folder": str(result.fold_folder),
                    "epochs": result.epochs,
                    "validation_dice": dice,
                    "skipped_steps": result.skipped_steps,
                }
            )
        )
    else:
        shown = "none" if dice is None else f"{dice:.4f}"
        print(f"{result.epochs} epochs trained; mean validation Dice: {shown}")
        print(f"model: {result.fold_folder.parent}")
    return 0


def _add_recipe(option: Callable[..., Any]) -> None:
    """Add the options that change what is learnt."""
    option(
        "--epochs",
        type=int,
        metavar="N",
        help="default 1000; the paper's results are from epoch 100 (AbdomenMR), 250 (Endoscopy) and 350 "
        "(Microscopy)",
    )
    option(
        "--iterations",
        "--iterations-per-epoch",
        dest="iterations_per_epoch",
        type=int,
        metavar="N",
        help="training steps per epoch (default 250)",
    )
    option("--validation-iterations", type=int, metavar="N", help="batches for the pseudo-Dice (default 50)")
    option("--learning-rate", type=float, metavar="LR", help="at the start (default 1e-4)")
    option(
        "--encoder-learning-rate",
        type=float,
        metavar="LR",
        help="of the encoder, for fine-tuning (default: that of the rest)",
    )
    option("--batch-size", type=int, metavar="N", help="patches per step (default: as planned)")
    option("--patch-size", type=int, nargs=2, metavar=("HEIGHT", "WIDTH"), help="default: as planned")
    option(
        "--freeze-encoder-epochs",
        "--frozen-epochs",
        dest="frozen_epochs",
        type=int,
        metavar="N",
        help="epochs with a frozen encoder (default 10, without pretrained weights 0)",
    )
    option(
        "--pretrained",
        metavar="START",
        help="what the network starts from: VMamba-Tiny's ImageNet checkpoint (file, or name as weights list "
        "shows it), a trained model (file or folder; its channels and classes may be others), or none",
    )
    option(
        "--adapt-first-convolution",
        action="store_true",
        help="make the dagger's first convolution from the ImageNet one for other than 3 channels, too",
    )
    option(
        "--schedule",
        choices=("paper", "annealed"),
        help="paper (default): the cosine ends at epoch 1000 however many are trained; annealed: at the last",
    )


def _given_options(args: argparse.Namespace) -> dict[str, Any]:
    given = {name: value for name, value in vars(args).items() if name not in NOT_FOR_TRAINING}
    if "patch_size" in given:
        given["patch_size"] = tuple(given["patch_size"])
    return given


def _fold(text: str) -> int | str:
    return int(text) if text.isdigit() else text
