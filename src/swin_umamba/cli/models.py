"""``swin-umamba models``: parameters and multiply-accumulates of the networks."""

from __future__ import annotations

import argparse

from swin_umamba.cli.output import say, say_json
from swin_umamba.errors import UsageError

ORDER = 120
HELP = "list the networks, ours and those they are compared with, with parameters and MACs for an input size"

NOTE = (
    "MACs: multiply-accumulates of one image, deep supervision heads and norms included; a scan of L steps, "
    "D channels and N states counts 9LDN + LD, as in the paper"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("names", nargs="*", metavar="NAME", help="networks (default: all)")
    parser.add_argument("--in-channels", type=int, default=1, metavar="N", help="of the image (default: 1)")
    parser.add_argument(
        "--num-classes", type=int, default=14, metavar="N", help="with background (default: 14)"
    )
    parser.add_argument(
        "--size",
        type=int,
        nargs=2,
        default=(320, 320),
        metavar=("HEIGHT", "WIDTH"),
        help="of the image in pixels (default: 320 320)",
    )


def run(args: argparse.Namespace) -> int:
    """Count and print."""
    from swin_umamba.compare.complexity import measure_complexity
    from swin_umamba.compare.networks import NETWORKS, find_network, require_packages

    networks = [find_network(name) for name in args.names or NETWORKS if args.names or not _is_twin(name)]
    missing = []
    if not args.names:
        try:
            require_packages(networks)
        except UsageError as error:
            missing = [network for network in networks if network.needs_monai]
            networks = [network for network in networks if not network.needs_monai]
            note = f"left out: {', '.join(network.name for network in missing)}. {error}"
    rows = []
    for network in networks:
        size = measure_complexity(network.build, args.in_channels, args.num_classes, tuple(args.size))
        rows.append({"name": network.name, "title": network.title, **vars(size)})
    if args.json:
        say_json("models", {"networks": rows})
        return 0
    height, width = args.size
    say(f"input {args.in_channels} x {height} x {width}, {args.num_classes} classes")
    wide = max(len(str(row["name"])) for row in rows)
    say(f"{'network':{wide}}  {'parameters':>11}  {'GMACs':>8}")
    for row in rows:
        say(f"{row['name']:{wide}}  {row['parameters']:>11,}  {row['macs'] / 1e9:>8.2f}")
    say(NOTE)
    for network in networks:
        if network.note:
            say(f"{network.name}: {network.note}")
    if missing:
        say(note)
    return 0


def _is_twin(name: str) -> bool:
    """Whether a network differs from another one only by its first weights."""
    return name.endswith("_pretrained")
