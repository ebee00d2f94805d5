"""``swin-umamba plan``: check, plan and preprocess a data set."""

from __future__ import annotations

import argparse
import shlex
from functools import partial

from swin_umamba.cli.output import say, say_json
from swin_umamba.trainer_names import SWIN_UMAMBA_D_SCRATCH

ORDER = 30
HELP = "check a raw data set, choose patch and batch size, preprocess it"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("dataset", metavar="DATASET", help="number, name or path of the raw data set folder")
    option = partial(parser.add_argument, default=argparse.SUPPRESS)
    option(
        "--root",
        metavar="DIR",
        help="folder that contains nnUNet_raw and the others (default: from the environment, else the "
        "current folder)",
    )
    option(
        "--patch-size",
        type=int,
        nargs=2,
        metavar=("HEIGHT", "WIDTH"),
        help="patch size, in multiples of 32 (default: by the rule of the paper's plans)",
    )
    option(
        "--batch-size",
        type=int,
        metavar="N",
        help="patches per step (default: by the rule of the paper's plans)",
    )
    option(
        "--workers", type=int, metavar="N", help="number of processes (default: 2); 1 needs the least memory"
    )
    option(
        "--nonfinite",
        choices=("refuse", "zero"),
        help="what to do about NaN and infinite voxels (default: refuse)",
    )


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    from swin_umamba.nnunet.environment import find_dataset
    from swin_umamba.nnunet.planning.plan import plan
    from swin_umamba.nnunet.splits import NUM_FOLDS

    options = ("patch_size", "batch_size", "workers", "nonfinite")
    given = {name: getattr(args, name) for name in options if name in args}
    if "patch_size" in given:
        given["patch_size"] = tuple(given["patch_size"])
    dataset = find_dataset(args.dataset, getattr(args, "root", None))
    result = plan(dataset, **given)
    if args.json:
        content = {
            "dataset": dataset.name,
            "plans_file": str(result.plans_file),
            "preprocessed_folder": str(result.preprocessed_folder),
            "num_cases": result.num_cases,
            "patch_size": result.patch_size,
            "batch_size": result.batch_size,
        }
        say_json("plan", content, indent=None)
    else:
        height, width = result.patch_size
        say(f"{dataset.name}: {result.num_cases} cases, patch {height}x{width}, batch {result.batch_size}")
        say(f"plans: {result.plans_file}")
        root = ["--root", args.root] if "root" in args else []
        fold = ["--fold", "all"] if result.num_cases < NUM_FOLDS else []  # too few for folds
        scratch = ["--trainer", SWIN_UMAMBA_D_SCRATCH]  # the default one needs weights to start from
        say(f"next:  {shlex.join(['swin-umamba', 'train', args.dataset, *root, *scratch, *fold])}")
    return 0
