"""``swin-umamba weights list``: the catalogue of public weights."""

from __future__ import annotations

import argparse
from dataclasses import asdict

from swin_umamba.cli.output import say_result

HELP = "list the public ImageNet weights, and which of them are in the cache"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command: none."""


def run(args: argparse.Namespace) -> int:
    """Print the catalogue."""
    from swin_umamba.weights.catalog import CATALOG, backbone_of_weights
    from swin_umamba.weights.download import weights_path

    entries = []
    for record in CATALOG.values():
        path = weights_path(record)
        backbone = backbone_of_weights(record.name)
        entry = asdict(record) | {"backbone": backbone.name, **backbone.arguments}
        entry |= {"features_per_stage": backbone.features_per_stage}
        entries.append(entry | {"file": str(path), "in_cache": path.is_file()})
    say_result(args, "weights-list", {"weights": entries}, "\n\n".join(map(_text, entries)))
    return 0


def _text(entry: dict[str, object]) -> str:
    size = f"{entry['size']:,} bytes" if entry["size"] else "unknown size"
    rows = {
        "backbone": entry["backbone"],
        "network": entry["architecture"],
        "ImageNet": entry["top1"] and f"top-1 {entry['top1']} %",
        "address": entry["url"] or "none: the file has to be put there by hand",
        "size": size,
        "SHA-256": entry["sha256"]
        or "unverified: stored when the file is first used, and compared from then on",
        "file": f"{entry['file']} ({'there' if entry['in_cache'] else 'not there'})",
        "licence": entry["licence"],
        "source": entry["source"],
        "note": entry["note"],
    }
    return "\n".join(
        [str(entry["name"]), *(f"  {key + ':':<10}{value}" for key, value in rows.items() if value)]
    )
