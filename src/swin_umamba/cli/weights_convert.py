"""``swin-umamba weights convert``: ImageNet weights as safetensors, under the names of a network."""

from __future__ import annotations

import argparse
from pathlib import Path

from swin_umamba.cli.options import add_force, check_new
from swin_umamba.cli.output import say_result
from swin_umamba.errors import UsageError

HELP = "write the tensors that a network takes from an ImageNet checkpoint as safetensors"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument(
        "file", metavar="FILE", help="VMamba-Tiny's checkpoint, or a name from swin-umamba weights list"
    )
    parser.add_argument("-o", "--output", type=Path, required=True, help="file to write, NAME.safetensors")
    parser.add_argument(
        "--model",
        default="swin_umamba_d",
        metavar="NAME",
        help="network to convert for: swin_umamba, swin_umamba_d (default), swin_umamba_dd or swin_umamba_v1",
    )
    parser.add_argument(
        "--in-channels", type=int, default=3, metavar="N", help="channels of the images (default: 3)"
    )
    parser.add_argument(
        "--adapt-first-convolution",
        action="store_true",
        help="for other than 3 channels make the first convolution from the pretrained one, which the "
        "published code leaves out",
    )
    add_force(parser, "replace the output if it exists")


def run(args: argparse.Namespace) -> int:
    """Convert, and report what happened to every tensor."""
    if args.output.suffix != ".safetensors":
        raise UsageError(
            "the output is safetensors", where=args.output, hint="give a name that ends in .safetensors"
        )
    check_new(args.output, args)
    from swin_umamba.models.encoder_weights import convert_file
    from swin_umamba.weights.download import locate_weights

    report = convert_file(
        locate_weights(args.file),
        args.output,
        args.model,
        args.in_channels,
        adapt_first_convolution=args.adapt_first_convolution,
    )
    result = {
        "output": str(args.output),
        "loaded": list(report.loaded),
        "adapted": dict(report.adapted),
        "skipped": dict(report.skipped),
        "missing": list(report.missing),
    }
    say_result(args, "weights-convert", result, *report.lines(), f"written: {args.output}")
    return 0
