"""``swin-umamba pretrain``: train a backbone on folders of labelled pictures."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from swin_umamba.cli.options import add_options, given_options
from swin_umamba.cli.output import say_result
from swin_umamba.pretraining.options import PretrainOptions, StartOptions

ORDER = 40
HELP = "train a backbone, VMamba-Tiny or another, on folders of labelled pictures, for train --pretrained"

AFTER_INTERRUPT = "continue after the last complete epoch with the same command and --continue"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument(
        "--data",
        type=Path,
        required=True,
        metavar="DIR",
        help="folder of train/CLASS/... and val/CLASS/..., or of CLASS/... alone, part of which is held out",
    )
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="for backbone.pth")
    add_options(parser, StartOptions)
    add_options(parser, PretrainOptions)
    parser.epilog = (
        "several GPUs: torchrun --nproc-per-node N -m swin_umamba pretrain ...; several hosts: the "
        "same with torchrun's --nnodes and --rdzv-endpoint, and images and output on a shared file system"
    )


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    from swin_umamba.pretraining.train import pretrain

    result = pretrain(args.data, args.output, **given_options(args, PretrainOptions, StartOptions))
    if os.environ.get("RANK", "0") != "0":
        return 0
    printed = {
        "backbone": str(result.backbone),
        "epochs": result.epochs,
        "num_classes": result.num_classes,
        "best_top1": result.best_top1,
        "last_top1": None if result.last is None else result.last.top1,
        "last_top5": None if result.last is None else result.last.top5,
    }
    top1 = f"{result.epochs} epochs trained; best top-1 accuracy {100 * result.best_top1:.2f} %"
    say_result(args, "pretrain", printed, top1, f"backbone: {result.backbone}", indent=None)
    return 0
