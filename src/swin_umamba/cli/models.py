"""``swin-umamba models``: parameters and multiply-accumulates of the networks, and what they cost here."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from swin_umamba.cli.output import say, say_json
from swin_umamba.errors import UsageError

if TYPE_CHECKING:
    from swin_umamba.compare.networks import ComparedNetwork

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
    parser.add_argument(
        "--measure",
        action="store_true",
        help="run each network here, too, and print seconds and memory of one image in float32",
    )
    parser.add_argument(
        "--device", default="auto", metavar="NAME", help="to measure on: auto, cpu, cuda, cuda:N or mps"
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
        rows.append({"name": network.name, "title": network.title, **vars(size), **_measured(network, args)})
    if args.json:
        say_json("models", {"networks": rows})
        return 0
    height, width = args.size
    say(f"input {args.in_channels} x {height} x {width}, {args.num_classes} classes")
    wide = max(len(str(row["name"])) for row in rows)
    costs = f"  {'s inference':>11}  {'s training':>10}  {'peak MiB':>8}" if args.measure else ""
    say(f"{'network':{wide}}  {'parameters':>11}  {'GMACs':>8}{costs}")
    for row in rows:
        say(f"{row['name']:{wide}}  {row['parameters']:>11,}  {row['macs'] / 1e9:>8.2f}{_cells(row)}")
    say(NOTE)
    for network in networks:
        if network.note:
            say(f"{network.name}: {network.note}")
    if missing:
        say(note)
    return 0


def _measured(network: ComparedNetwork, args: argparse.Namespace) -> dict[str, Any]:
    """Return the cost of a network on this machine, of nothing but None unless it was asked for."""
    if not args.measure:
        return dict.fromkeys(("inference_seconds", "step_seconds", "memory_bytes"))
    from swin_umamba.compare.cost import measure_cost

    return vars(measure_cost(network.name, args.in_channels, args.num_classes, args.size, args.device))


def _cells(row: Mapping[str, Any]) -> str:
    if row["step_seconds"] is None:
        return ""
    memory = "-" if row["memory_bytes"] is None else f"{row['memory_bytes'] / 2**20:.0f}"
    return f"  {row['inference_seconds']:>11.3f}  {row['step_seconds']:>10.3f}  {memory:>8}"


def _is_twin(name: str) -> bool:
    """Whether a network differs from another one only by its first weights."""
    return name.endswith("_pretrained")
