"""``swin-umamba weights import``: import a trained model of the published code, or ImageNet weights."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from swin_umamba.cli.options import add_force, add_options, given_options
from swin_umamba.cli.output import say_result
from swin_umamba.cli.weights_download import training
from swin_umamba.inference.options import ModelOptions

if TYPE_CHECKING:
    from swin_umamba.trained.import_model import ImportedModel

HELP = "make a published trained model ready for prediction, or put ImageNet weights into the cache"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument(
        "model",
        type=Path,
        metavar="MODEL",
        help="model folder (with plans.json, dataset.json and fold_*), a zip archive of one, or a file of "
        "ImageNet weights that was downloaded by hand",
    )
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        help="new model folder (default: its place below nnUNet_results if that is set, else MODEL_imported)",
    )
    add_options(parser, ModelOptions, ("folds",))
    parser.add_argument(
        "--checkpoint", metavar="NAME", help="file in each fold (default: the one of the published results)"
    )
    parser.add_argument(
        "--name", help="of ImageNet weights: which they are, see weights list (default: by hash or file name)"
    )
    add_force(parser, "replace the model that is at the output")


def run(args: argparse.Namespace) -> int:
    """Import, and report what was taken, checked and written."""
    folds = given_options(args, ModelOptions).get("folds")
    if args.model.is_file() and args.model.suffix.lower() != ".zip":
        return _import_weights(args)
    from swin_umamba.trained.import_model import import_model

    imported = import_model(
        args.model, args.output, folds=folds, checkpoint=args.checkpoint, force=args.overwrite
    )
    say_result(args, "weights-import-model", _summary(imported), _text(imported))
    return 0


def _import_weights(args: argparse.Namespace) -> int:
    from swin_umamba.models.import_file import import_weights

    record, path = import_weights(args.model, args.name)
    lines = [f"these are {record.name}: copied to {path}"]
    if record.sha256 is None:
        pin = path.with_name(path.name + ".sha256")
        lines += [
            f"the catalogue has no hash of them; from now on, only this file is accepted as {record.name}",
            f"  to undo that: rm {shlex.quote(str(path))} {shlex.quote(str(pin))}",
        ]
    lines.append(f"train with them: {training(record.name, record.name)}")
    say_result(args, "weights-import", {"name": record.name, "path": str(path)}, *lines, indent=None)
    return 0


def _text(imported: ImportedModel) -> str:
    summary = _summary(imported)
    size = sum(file.stat().st_size for file in imported.path.rglob("*") if file.is_file())
    lines = [f"took {imported.checkpoint} of {', '.join(imported.folds)}: {imported.reason}"]
    if imported.others:
        lines.append(f"  not taken: {', '.join(imported.others)} (--checkpoint NAME takes another)")
    lines += [
        f"network: {summary['network']}, {summary['tensors']} tensors, {summary['parameters']:,} parameters, "
        "all with the right names and shapes",
        f"written: {imported.path} ({size / 1e6:.0f} MB, without the optimizer's state)",
        f"predict with it: swin-umamba predict -m {shlex.quote(str(imported.path))} -i IMAGES -o LABELS",
    ]
    return "\n".join(lines)


def _summary(imported: ImportedModel) -> dict[str, object]:
    model = imported.model
    architecture = model.plans["configurations"][model.configuration]["architecture"]
    network = architecture["network_class_name"].rsplit(".", 1)[1].removeprefix("Planned")
    if architecture["arch_kwargs"].get("use_last_stage") is False:
        network += " of the first version (no decoder6)"
    return {
        "output": str(imported.path),
        "checkpoint": imported.checkpoint,
        "reason": imported.reason,
        "not_taken": list(imported.others),
        "folds": list(imported.folds),
        "trainer": model.trainer_name,
        "network": network,
        "tensors": len(model.parameters[0]),
        "parameters": sum(value.numel() for value in model.parameters[0].values()),
    }
