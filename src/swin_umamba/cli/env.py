"""``swin-umamba env``: print what makes nnU-Net's own commands find our trainers."""

from __future__ import annotations

import argparse

from swin_umamba.cli.output import say_json

ORDER = 200
HELP = 'make nnU-Net\'s own commands find our trainers: eval "$(swin-umamba env)"'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument(
        "--root",
        metavar="DIR",
        default=argparse.SUPPRESS,
        help="also set nnUNet_raw, nnUNet_preprocessed and nnUNet_results to folders in DIR",
    )
    parser.add_argument(
        "--shell", choices=("sh", "powershell"), default="sh", help="whose syntax to print (default: sh)"
    )


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    from swin_umamba.nnunet.shell import as_powershell, as_sh, shell_variables

    variables = shell_variables(getattr(args, "root", None))
    if args.json:
        say_json("env", {"variables": {variable.name: variable.value for variable in variables}})
    else:
        print(as_sh(variables) if args.shell == "sh" else as_powershell(variables), end="")
    return 0
