"""``swin-umamba reproduce``: an experiment of the paper, from the challenge's data to its table."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from swin_umamba.cli.options import add_options, given_options
from swin_umamba.cli.output import say, say_json
from swin_umamba.data.datasets import DATASETS
from swin_umamba.errors import UsageError
from swin_umamba.paper import DEFAULT_WEIGHTS, EXPERIMENTS
from swin_umamba.trainer_names import EXPERIMENT_TRAINER_NAMES

ORDER = 140
HELP = "run one of the paper's experiments: convert, plan, train, predict, evaluate, report"

AFTER_INTERRUPT = "continue with the same command: finished steps are not repeated"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("recipe", choices=EXPERIMENTS, help="the experiment")
    parser.add_argument(
        "--data",
        type=Path,
        required=True,
        metavar="DIR",
        help="the challenge's folder as for convert, or the converted data set",
    )
    parser.add_argument(
        "--trainer", choices=EXPERIMENT_TRAINER_NAMES, required=True, metavar="NAME", help="as for train"
    )
    parser.add_argument(
        "-o", "--output", type=Path, metavar="DIR", help="folder for all output (default: reproduce_RECIPE)"
    )
    parser.add_argument(
        "--budget",
        type=int,
        metavar="STEPS",
        help="shortened run: this many steps on smaller patches and batches; not the paper's experiment",
    )
    parser.add_argument(
        "--patch-size", type=int, nargs=2, metavar=("HEIGHT", "WIDTH"), help="instead of the paper's"
    )
    parser.add_argument("--batch-size", type=int, metavar="N", help="instead of the paper's")
    parser.add_argument(
        "--pretrained",
        metavar="START",
        help=f"as for train (default: the ImageNet weights {DEFAULT_WEIGHTS} where the trainer needs some)",
    )
    parser.add_argument("--seed", type=int, metavar="N", help="as for train")
    parser.add_argument("--workers", type=int, metavar="N", help="as for train and plan")
    parser.add_argument("--device", default="auto", metavar="NAME", help="auto (default), cpu, cuda, mps")
    parser.add_argument("--skip-damaged", action="store_true", help="as for convert")
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="print the steps and which of them are done, and change nothing",
    )
    for name in EXPERIMENTS:
        add_options(parser, DATASETS[name].options)


def run(args: argparse.Namespace) -> int:
    """Run the recipe and print its report."""
    from swin_umamba.experiments.run import dry_run, reproduce
    from swin_umamba.experiments.settings import choose_settings
    from swin_umamba.experiments.steps import Experiment

    recipe = EXPERIMENTS[args.recipe]
    patch_size = None if args.patch_size is None else (args.patch_size[0], args.patch_size[1])
    experiment = Experiment(
        recipe=recipe,
        settings=choose_settings(
            recipe, budget=args.budget, patch_size=patch_size, batch_size=args.batch_size
        ),
        data=args.data,
        root=(args.output or Path(f"reproduce_{args.recipe}")).absolute(),
        trainer=args.trainer,
        pretrained=args.pretrained,
        convert_options=_convert_options(args),
        seed=args.seed,
        workers=args.workers,
        device=args.device,
    )
    if args.dry_run:
        lines = list(dry_run(experiment))
        if args.json:
            say_json("reproduce-dry-run", {"steps": lines})
        else:
            say("\n".join(lines))
        return 0
    markdown, report = reproduce(experiment, lambda line: say(line, file=sys.stderr, flush=True))
    if args.json:
        say(report.read_text(encoding="utf-8"), end="")
    else:
        say(markdown.read_text(encoding="utf-8"))
        say(f"report: {markdown}\n        {report}")
    return 0


def _convert_options(args: argparse.Namespace) -> dict[str, object]:
    options = DATASETS[args.recipe].options
    own = given_options(args, options)
    others = given_options(args, *(DATASETS[name].options for name in EXPERIMENTS)).keys() - own.keys()
    if others:
        raise UsageError(f"{args.recipe} does not know {' and '.join(sorted(others))}", hint="leave it out")
    return {"skip_damaged": args.skip_damaged, **vars(options(**own))}
