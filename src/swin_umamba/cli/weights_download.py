"""``swin-umamba weights download``: public weights into the cache."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

from swin_umamba.cli.output import say_result

HELP = "download public ImageNet weights into the cache, or check those that are there"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument("name", metavar="NAME", help="which (see swin-umamba weights list)")


def run(args: argparse.Namespace) -> int:
    """Download the file unless it is in the cache, and print where it is."""
    from swin_umamba.files import file_sha256
    from swin_umamba.weights.catalog import find_record
    from swin_umamba.weights.download import fetch_weights

    record = find_record(args.name)
    path = fetch_weights(record)
    sha256 = file_sha256(path)
    say_result(
        args,
        "weights-download",
        {"name": record.name, "file": str(path), "sha256": sha256},
        f"{record.name}: {path}",
        f"SHA-256: {sha256}",
        f"train with it: {training(record.name, path)}",
    )
    return 0


def training(weights: str, start: str | Path) -> str:
    """Return the command that trains from weights of the catalogue; ``start`` is their name or file."""
    from swin_umamba.weights.backbones.vmamba import VMAMBA_TINY
    from swin_umamba.weights.catalog import backbone_of_weights

    backbone = backbone_of_weights(weights).name
    # The usual trainer takes only the paper's backbone; with --backbone, train chooses one that takes others.
    other = [] if backbone == VMAMBA_TINY.name else ["--backbone", backbone]
    return shlex.join(["swin-umamba", "train", "DATASET", *other, "--pretrained", str(start)])
