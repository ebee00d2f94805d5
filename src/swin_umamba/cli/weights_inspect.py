"""``swin-umamba weights inspect``: the kind of a checkpoint, and the networks that it fits."""

from __future__ import annotations

import argparse
from pathlib import Path

from swin_umamba.cli.output import say_result

HELP = "describe a checkpoint, without running anything in it, and list the networks that it fits"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument("file", type=Path, metavar="FILE", help="a .pth or .safetensors file")


def run(args: argparse.Namespace) -> int:
    """Print what the file is."""
    from swin_umamba.models.encoder_weights import find_fits
    from swin_umamba.weights.inspect_checkpoint import inspect_checkpoint

    inspection = inspect_checkpoint(args.file)
    result: dict[str, object] = {
        "file": str(inspection.path),
        "kind": inspection.kind,
        "backbone": None if inspection.backbone is None else inspection.backbone.name,
        "bytes": inspection.size,
        "sha256": inspection.sha256,
        "tensors": len(inspection.weights),
        "parameters": inspection.parameters,
        "facts": dict(inspection.facts),
        "fits": find_fits(inspection),
    }
    say_result(args, "weights-inspect", result, _text(result))
    return 0


def _text(result: dict[str, object]) -> str:
    facts, fits = result["facts"], result["fits"]
    assert isinstance(facts, dict)
    assert isinstance(fits, dict)
    return "\n".join(
        [
            f"{result['file']}: {result['kind']}",
            f"{result['tensors']} tensors, {result['parameters']:,} parameters, {result['bytes']:,} bytes",
            f"SHA-256: {result['sha256']}",
            *([f"backbone: {result['backbone']}"] if result["backbone"] else []),
            *(f"{name}: {value}" for name, value in facts.items()),
            "fits:" if fits else "fits none of the networks",
            *(f"  {network}: {how}" for network, how in fits.items()),
        ]
    )
