"""``swin-umamba pretrain``: train a backbone on folders of labelled pictures."""

from __future__ import annotations

import argparse
import json
import os
from functools import partial
from pathlib import Path

HELP = "train a VMamba-Tiny backbone on folders of labelled pictures, for train --pretrained"

AFTER_INTERRUPT = "go on after the last complete epoch with the same command and --continue"

NOT_FOR_PRETRAINING = ("verb", "json", "debug")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the verb."""
    parser.add_argument(
        "--data",
        type=Path,
        required=True,
        metavar="DIR",
        help="train/CLASS/... and val/CLASS/..., or CLASS/... alone, of which a part is held out",
    )
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="for backbone.pth")
    # As in train: a run that goes on takes what was not given from the first run.
    option = partial(parser.add_argument, default=argparse.SUPPRESS)
    option(
        "--continue",
        dest="continue_training",
        action="store_true",
        help="go on from the last complete epoch with the options of the first run",
    )
    option("--overwrite", action="store_true", help="replace an earlier run")
    option("--in-channels", type=int, metavar="N", help="3 for colour (default), 1 for grey")
    option("--image-size", type=int, metavar="N", help="edge of the crops (default 224)")
    option("--epochs", type=int, metavar="N", help="default 300")
    option("--warmup-epochs", type=int, metavar="N", help="default: a 15th of all")
    option("--batch-size", type=int, metavar="N", help="images per process and pass (default 128)")
    option("--accumulate", type=int, metavar="N", help="passes per optimizer step (default 1)")
    option("--learning-rate", type=float, metavar="LR", help="default: 1e-3 for each 1024 images of a step")
    option("--weight-decay", type=float, metavar="X", help="default 0.05")
    option("--drop-path-rate", type=float, metavar="P", help="default 0.1")
    option("--label-smoothing", type=float, metavar="X", help="default 0.1")
    option("--mixup", type=float, metavar="ALPHA", help="default 0.8; 0 for none")
    option("--cutmix", type=float, metavar="ALPHA", help="default 1.0; 0 for none")
    option("--ema-decay", type=float, metavar="X", help="moving average of the weights (default 0.9999)")
    option("--smallest-crop", type=float, metavar="X", help="part of the image's area (default 0.08)")
    option("--colour-jitter", type=float, metavar="X", help="default 0.4; 0 for none")
    option("--validation-fraction", type=float, metavar="X", help="held out of each class (default 0.1)")
    option("--seed", type=int, metavar="N", help="default 0")
    option("--workers", type=int, metavar="N", help="processes that read images (default 4)")
    option("--device", metavar="NAME", help="auto (default), cpu, cuda, cuda:N or mps")
    option(
        "--no-mixed-precision",
        dest="mixed_precision",
        action="store_false",
        help="run in single precision on CUDA",
    )
    parser.epilog = (
        "several GPUs: torchrun --nproc-per-node N -m swin_umamba.cli.main pretrain ...; several hosts: the "
        "same with torchrun's --nnodes and --rdzv-endpoint, and images and output on a shared file system"
    )


def run(args: argparse.Namespace) -> int:
    """Run the verb."""
    from swin_umamba.pretraining.train import pretrain

    options = {name: value for name, value in vars(args).items() if name not in NOT_FOR_PRETRAINING}
    result = pretrain(options.pop("data"), options.pop("output"), **options)
    if os.environ.get("RANK", "0") != "0":
        return 0
    if args.json:
        printed = {
            "backbone": str(result.backbone),
            "epochs": result.epochs,
            "num_classes": result.num_classes,
            "best_top1": result.best_top1,
            "last_top1": None if result.last is None else result.last.top1,
            "last_top5": None if result.last is None else result.last.top5,
        }
        print(json.dumps(printed))
    else:
        print(f"{result.epochs} epochs trained; best top-1 accuracy {100 * result.best_top1:.2f} %")
        print(f"backbone: {result.backbone}")
    return 0
