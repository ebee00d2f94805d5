"""``swin-umamba preview``: a picture of an image with its label map over it."""

from __future__ import annotations

import argparse
from pathlib import Path

from swin_umamba.cli.options import add_options, check_new, given_options
from swin_umamba.cli.output import say_result
from swin_umamba.data.label_options import LabelOptions
from swin_umamba.inference.options import FolderOptions
from swin_umamba.pseudonyms import shown

ORDER = 170
HELP = "draw a label map over its image as a PNG in radiological orientation; for a volume, one slice"
CASES = ("image", "mask")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument("image", type=Path, help="image file, or DICOM folder")
    add_options(parser, FolderOptions, ("series",))
    parser.add_argument("mask", type=Path, nargs="?", help="label map on the same grid")
    add_options(parser, LabelOptions)
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="PNG",
        help="picture to write (default: NAME_preview.png in this folder)",
    )
    parser.add_argument(
        "--slice",
        type=int,
        metavar="N",
        help="slice of a volume, counted from 0 at the inferior, posterior or left end (default: the one "
        "with the most labels, else the most contrast)",
    )
    parser.add_argument(
        "--plane",
        choices=("axial", "coronal", "sagittal"),
        help="plane of a volume (default: that of thick slices, else axial)",
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="replace an existing picture, instead of failing"
    )


def run(args: argparse.Namespace) -> int:
    """Draw the picture and print where it is."""
    from swin_umamba.data.image_io import image_stem, on_grid_of, read_image, read_labels
    from swin_umamba.errors import UsageError
    from swin_umamba.report.preview import write_preview

    output = args.output
    if output is None:
        output = Path(f"{shown(image_stem(args.image))}_preview.png")
    if output.suffix.lower() != ".png":
        raise UsageError("the picture is a PNG file", where=output, hint="give a name that ends in .png")
    check_new(output, args)
    if any(path is not None and path.resolve() == output.resolve() for path in (args.image, args.mask)):
        raise UsageError("the picture would replace an input", where=output, hint="give another name")
    image = read_image(args.image, series=getattr(args, "series", None))
    fraction = LabelOptions(**given_options(args, LabelOptions)).fraction
    labels = None if args.mask is None else on_grid_of(image, read_labels(args.mask, fraction=fraction))
    write_preview(
        output, image, None if labels is None else labels.data[0], plane=args.plane, slice_index=args.slice
    )
    say_result(args, "preview", {"output": str(output)}, f"wrote {output}", indent=None)
    return 0
