"""``swin-umamba weights``: files of pretrained weights and checkpoints."""

from __future__ import annotations

import argparse
import importlib
import pkgutil

from swin_umamba import cli
from swin_umamba.cli.options import add_common_options

ORDER = 150
HELP = "list, download, inspect, convert and import weights"

AFTER_INTERRUPT = "continue with the same command: what was downloaded is kept"

# Each action is a module weights_ACTION of this package, in the form of a command without ORDER.
ACTIONS = [
    each.name.removeprefix("weights_")
    for each in pkgutil.iter_modules(cli.__path__)
    if each.name.startswith("weights_")
]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the actions, each with its options."""
    parser.epilog = (
        "downloads go to SWIN_UMAMBA_CACHE (default: ~/.cache/swin-umamba) through the proxy of HTTPS_PROXY; "
        "SWIN_UMAMBA_OFFLINE=1 forbids them and says where to put a file by hand"
    )
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    for name in ACTIONS:
        action = importlib.import_module(f"swin_umamba.cli.weights_{name}")
        action_parser = actions.add_parser(name, help=action.HELP, description=action.HELP)
        action.add_arguments(action_parser)
        add_common_options(action_parser, default=argparse.SUPPRESS)


def run(args: argparse.Namespace) -> int:
    """Run one action and return its exit code."""
    code: int = importlib.import_module(f"swin_umamba.cli.weights_{args.action}").run(args)
    return code
