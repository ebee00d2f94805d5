"""``swin-umamba compare``: train and test networks on equal terms, and print the table."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from swin_umamba.cli.output import say, say_json
from swin_umamba.errors import UsageError
from swin_umamba.evaluation.protocols import PROTOCOLS

if TYPE_CHECKING:
    from swin_umamba.compare.recipe import Recipe

ORDER = 130
HELP = "train and test a list of networks with equal data, budget, augmentation and seeds"

AFTER_INTERRUPT = "continue with the same command: finished trainings are not repeated"

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument(
        "--data", type=Path, required=True, metavar="DIR", help="raw data set folder DatasetXXX_Name"
    )
    parser.add_argument(
        "--networks", required=True, metavar="A,B,...", help="names; swin-umamba models lists them"
    )
    parser.add_argument(
        "--budget",
        required=True,
        metavar="N",
        help="budget of each training: iterations, such as 500, or wall time, such as 90s, 10min or 1.5h",
    )
    parser.add_argument("--seeds", default="0,1", metavar="A,B,...", help="default: %(default)s")
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="DIR", help="folder for all output"
    )
    parser.add_argument("--baseline", metavar="NAME", help="compared with the others (default: the first)")
    parser.add_argument(
        "--recipe",
        choices=("equal", "published"),
        default="equal",
        help="one optimizer and schedule for all (default), or the one that each network was published with",
    )
    parser.add_argument(
        "--learning-rate", type=float, metavar="LR", help="learning rate of the equal recipe (default: 1e-4)"
    )
    parser.add_argument(
        "--patch-size", type=int, nargs=2, metavar=("HEIGHT", "WIDTH"), help="default: planned"
    )
    parser.add_argument("--batch-size", type=int, metavar="N", help="default: planned")
    parser.add_argument(
        "--fold",
        type=lambda text: int(text) if text.isdecimal() else text,
        metavar="N",
        help="all: train on all cases, test on imagesTs; 0 to 4: test on that fold of the training set "
        "(default: all if there are labels for imagesTs, else 0)",
    )
    parser.add_argument(
        "--protocol",
        choices=PROTOCOLS,
        help="score by a protocol of the paper, corrected (default: Dice, NSD and HD95 of every class)",
    )
    parser.add_argument(
        "--references", type=Path, metavar="DIR", help="label or instance maps of the test cases"
    )
    parser.add_argument(
        "--tolerance",
        type=float,
        default=2.0,
        metavar="MM",
        help="tolerance of the NSD (default: %(default)s)",
    )
    parser.add_argument(
        "--pretrained",
        action="append",
        metavar="[NAME=]FILE",
        help="weights for the networks whose names end in _pretrained, or for one of them; may be repeated",
    )
    parser.add_argument("--workers", type=int, default=0, metavar="N", help="processes for augmentation")
    parser.add_argument("--device", default="auto", metavar="NAME", help="auto (default), cpu, cuda, mps")


def run(args: argparse.Namespace) -> int:
    """Compare, and print the table."""
    from swin_umamba.compare.budget import Budget
    from swin_umamba.compare.comparison import TABLE_FILES, Settings, compare
    from swin_umamba.compare.networks import find_network

    settings = Settings(
        budget=Budget.parse(args.budget),
        recipe=_recipe(args),
        fold=args.fold,
        patch_size=None if args.patch_size is None else tuple(args.patch_size),
        batch_size=args.batch_size,
        protocol=args.protocol,
        references=None if args.references is None else str(args.references),
        tolerance=args.tolerance,
        pretrained=_pretrained(args.pretrained),
        workers=args.workers,
        device=args.device,
    )
    networks = [find_network(name) for name in _split(args.networks)]
    table = compare(args.data, networks, _seeds(args.seeds), args.output, settings, baseline=args.baseline)
    for name in TABLE_FILES:
        logger.info("wrote %s", args.output / name)
    if args.json:
        say_json("comparison", table.to_dict())
    else:
        say(table.to_markdown(), end="")
    return 0


def _recipe(args: argparse.Namespace) -> Recipe | None:
    from swin_umamba.compare.recipe import Recipe

    if args.recipe == "equal":
        return Recipe() if args.learning_rate is None else Recipe(learning_rate=args.learning_rate)
    if args.learning_rate is not None:
        raise UsageError(
            "each network's published recipe has its own learning rate",
            where="--learning-rate",
            hint="leave it out, or leave out --recipe published",
        )
    return None


def _pretrained(given: list[str] | None) -> str | dict[str, str] | None:
    from swin_umamba.compare.networks import NETWORKS

    if given is None:
        return None
    named = {}
    for each in given:
        name, separator, weights = each.partition("=")
        if separator and name in NETWORKS:
            named[name] = _absolute(weights)
        elif len(given) == 1:
            return _absolute(each)
        else:
            raise UsageError(
                f"several weights, and {each!r} does not say for which network",
                where="--pretrained",
                hint="give each as NAME=FILE, such as swin_umamba_dd_pretrained=vmamba_tiny_s1l8",
            )
    return named


def _absolute(weights: str) -> str:
    """Return the path of a file or folder; names of the catalogue are as they are."""
    return str(Path(weights).absolute()) if Path(weights).exists() else weights


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _seeds(text: str) -> list[int]:
    if not all(part.isdecimal() for part in _split(text)):
        raise UsageError(f"cannot read the seeds {text!r}", where="--seeds", hint="give numbers, such as 0,1")
    return [int(part) for part in _split(text)]
