"""``swin-umamba convert``: convert public data sets, or your own folders, to nnU-Net's raw layout."""

from __future__ import annotations

import argparse
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from swin_umamba.cli.options import add_common_options, add_options, given_options
from swin_umamba.cli.output import say_result
from swin_umamba.data.datasets import DATASETS
from swin_umamba.data.label_options import LabelOptions
from swin_umamba.errors import UsageError
from swin_umamba.inference.options import FolderOptions

if TYPE_CHECKING:
    from swin_umamba.data.datasets.conversion import Conversion

ORDER = 20
HELP = "convert a challenge's data, or your own images and masks, to a data set that plan takes"

PREVIEW_NAME = "preview.png"
PREVIEW_CASES = 6
OWN_NUMBER = 801


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add one command for each source."""
    sources = parser.add_subparsers(dest="source_kind", required=True, metavar="SOURCE")
    for dataset in DATASETS.values():
        source = sources.add_parser(dataset.name, help=dataset.meaning, description=dataset.meaning)
        source.add_argument("source", type=Path, metavar="DIR", help=dataset.meaning)
        add_options(source, dataset.options)
        _add_output(source)
        add_common_options(source, default=argparse.SUPPRESS)
    meaning = "your own images and masks, grey or RGB, in any format that predict takes"
    folder = sources.add_parser("folder", help=meaning, description=meaning)
    _add_folder_options(folder)
    _add_output(folder)
    add_common_options(folder, default=argparse.SUPPRESS)


def _add_output(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        required=True,
        metavar="DIR",
        help="new folder DatasetXXX_Name, or a folder to make nnUNet_raw/DatasetXXX_Name in",
    )
    parser.add_argument(
        "--skip-damaged", action="store_true", help="leave out cases that cannot be read, instead of failing"
    )


def _add_folder_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--images", type=Path, required=True, metavar="DIR", help="folder, searched with its subfolders"
    )
    parser.add_argument(
        "--masks",
        type=Path,
        required=True,
        metavar="DIR",
        help="folder with the same names; endings such as _mask may differ; may be the same folder; with "
        "--instances also a file of COCO",
    )
    parser.add_argument(
        "--instances",
        action="store_true",
        help="the masks tell objects apart: a number or a file for each, or outlines of COCO, LabelMe, "
        "ImageJ or QuPath; see docs/objects.md",
    )
    parser.add_argument(
        "--name", metavar="NAME", help="such as Dataset801_Polyps (default: from the images' folder)"
    )
    parser.add_argument(
        "--classes",
        nargs="+",
        default=[],
        metavar="NAME=VALUE",
        help="grey values or colours of each class, such as liver=1 vessel=2,3 or polyp=#ff0000 "
        "(default: each value in the masks is a class)",
    )
    parser.add_argument(
        "--background", nargs="+", default=[], metavar="VALUE", help="value or colour (default: 0, black)"
    )
    parser.add_argument(
        "--threshold",
        type=int,
        metavar="N",
        help="for soft or JPEG masks: foreground is this value and above",
    )
    parser.add_argument(
        "--channels",
        nargs="+",
        default=[],
        metavar="NAME",
        help="such as CT, for which nnU-Net has its own normalization",
    )
    parser.add_argument(
        "--max-left-out",
        type=float,
        default=0.5,
        metavar="SHARE",
        help="largest share of the images that may be left out, from 0 to 1 (default: 0.5); more is an error",
    )
    add_options(parser, FolderOptions, ("series",))
    add_options(parser, LabelOptions)


def run(args: argparse.Namespace) -> int:
    """Convert, draw the preview, print the report."""
    conversion = _convert(args)
    preview = draw_preview(conversion.folder)
    say_result(
        args,
        "convert",
        {"folder": str(conversion.folder), "preview": str(preview), **conversion.to_dict()},
        conversion.text(),
        f"data set: {conversion.folder}",
        f"preview:  {preview}",
        f"next:     swin-umamba plan {shlex.quote(str(conversion.folder))}",
    )
    return 0


def _convert(args: argparse.Namespace) -> Conversion:
    if args.source_kind == "folder":
        from swin_umamba.data.datasets.folder import convert_folder

        return convert_folder(
            args.images,
            args.masks,
            dataset_folder(args.output, args.name or own_name(args.images)),
            classes=args.classes,
            background=args.background,
            threshold=args.threshold,
            channels=args.channels,
            series=getattr(args, "series", None),
            skip_damaged=args.skip_damaged,
            max_left_out=args.max_left_out,
            instances=args.instances,
            **given_options(args, LabelOptions),
        )
    dataset = DATASETS[args.source_kind]
    return dataset.convert(
        args.source,
        dataset_folder(args.output, dataset.load("DATASET_NAME")),
        skip_damaged=args.skip_damaged,
        **given_options(args, dataset.options),
    )


def dataset_folder(output: Path, name: str) -> Path:
    """Return ``output`` if it is named like a data set, else its place below ``output``."""
    from swin_umamba.nnunet.environment import DATASET_NAME

    if DATASET_NAME.fullmatch(output.name):
        return output
    if not DATASET_NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} is not a valid name for a data set",
            where="--name",
            hint="give one such as Dataset801_Polyps",
        )
    return output / "nnUNet_raw" / name


def own_name(images: Path) -> str:
    """Return a name for a data set made of this folder."""
    words = re.findall(r"[A-Za-z0-9]+", images.resolve().name)
    return f"Dataset{OWN_NUMBER}_" + ("".join(word[0].upper() + word[1:] for word in words) or "Own")


def draw_preview(folder: Path) -> Path:
    """Draw some training cases, evenly spread over the data set, with their labels."""
    from swin_umamba.data.image_io import read_case, read_labels
    from swin_umamba.nnunet.environment import Dataset, Folders
    from swin_umamba.nnunet.planning.integrity import list_cases
    from swin_umamba.report.orientation import radiological_view
    from swin_umamba.report.sheet import SheetCase, comparison_sheet

    dataset = Dataset(folder.name, Folders(folder.parent, folder.parent, folder.parent))
    description = dataset.description()
    cases, _ = list_cases(dataset, description)
    count = min(PREVIEW_CASES, len(cases))
    chosen = [cases[number * len(cases) // count] for number in range(count)]
    rows = []
    for case in chosen:
        image = read_case(case.images)
        turn = radiological_view(image).turn
        rows.append(SheetCase(case.name, turn(image.data), turn(read_labels(case.label).data[0])))
    return comparison_sheet(rows, folder / PREVIEW_NAME, classes=description["labels"])
