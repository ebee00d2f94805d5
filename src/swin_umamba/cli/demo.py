"""``swin-umamba demo``: from raw images to a picture of the result, on generated data."""

from __future__ import annotations

import argparse
import shlex
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from swin_umamba.cli.output import say, say_json
from swin_umamba.errors import SwinUMambaError, UsageError
from swin_umamba.files import write_text
from swin_umamba.json_files import write_json

if TYPE_CHECKING:
    from swin_umamba.evaluation.results import Evaluation
    from swin_umamba.inference.predictor import Predictor
    from swin_umamba.nnunet.environment import Dataset

ORDER = 10
HELP = "make a small data set, train on it, predict, evaluate and show it (under 5 minutes on 2 cores)"

DATASET_NAME = "Dataset999_DemoNuclei"
NUM_TRAINING, NUM_TEST = 40, 8
IMAGE_SIZE = 128
BATCH_SIZE = 4
ITERATIONS_PER_EPOCH = 25
# There are a hundred times fewer steps than in the paper's recipe, so the learning rate starts higher and
# falls to zero at the last step.
LEARNING_RATE = 5e-4
SHEET, REPORT, METRICS = "sheet.png", "report.html", "metrics.json"
MARKER = "made_by_swin_umamba_demo"


@dataclass(frozen=True)
class _Steps:
    """Announces the steps and the elapsed time of the demo."""

    total: int
    started: float

    def announce(self, number: int, text: str) -> None:
        """Print a line on stderr; stdout is for the result."""
        seconds = time.monotonic() - self.started
        say(f"[{number}/{self.total}] {seconds:4.0f} s  {text}", file=sys.stderr, flush=True)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument(
        "-o", "--output", type=Path, default=Path("demo"), help="folder for all output (default: demo)"
    )
    parser.add_argument(
        "--epochs",
        type=int,
        default=4,
        help=f"training epochs of {ITERATIONS_PER_EPOCH} iterations (default: %(default)s)",
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="seed of data and training (default: %(default)s)"
    )
    parser.add_argument("--device", default="cpu", help="cpu (default), cuda, mps or auto")


def run(args: argparse.Namespace) -> int:
    """Run the demo and print its result."""
    steps = _Steps(5, time.monotonic())
    output = _fresh_folder(args.output.absolute())
    steps.announce(1, f"drawing {NUM_TRAINING} training and {NUM_TEST} test images with nuclei")
    from swin_umamba.data.datasets.synthetic import make_nuclei

    raw = make_nuclei(
        output / "nnUNet_raw" / DATASET_NAME,
        num_training=NUM_TRAINING,
        num_test=NUM_TEST,
        size=IMAGE_SIZE,
        seed=args.seed,
    )
    steps.announce(2, "planning and preprocessing")
    from swin_umamba.nnunet.environment import find_dataset
    from swin_umamba.nnunet.planning.plan import plan

    dataset = find_dataset(raw, output)
    plan(dataset, patch_size=(IMAGE_SIZE, IMAGE_SIZE), batch_size=BATCH_SIZE)

    steps.announce(3, f"training SwinUMambaD from scratch: {args.epochs} x {ITERATIONS_PER_EPOCH} iterations")
    model = _train(dataset, args)
    steps.announce(4, "predicting the test images")
    from swin_umamba.inference.predictor import Predictor

    predictor = Predictor.from_folder(model, device=args.device)
    _predict(predictor, raw / "imagesTs", output / "predictions")

    steps.announce(5, "evaluating, drawing the sheet and writing the report")
    evaluation = _evaluate(raw, output)
    _report(model, raw, output)
    dice = evaluation.mean("dice")
    steps.announce(5, "done")
    result = {
        "dice": dice,
        "seconds": round(time.monotonic() - steps.started, 1),
        "sheet": str(output / SHEET),
        "report": str(output / REPORT),
        "metrics": str(output / METRICS),
        "model": str(model),
    }
    if args.json:
        say_json("demo", result)
    else:
        say(f"test Dice {dice:.4f} on {NUM_TEST} unseen images, after {result['seconds']:.0f} s")
        say(f"picture:  {result['sheet']}\nreport:   {result['report']}")
        say(f"metrics:  {result['metrics']}\nmodel:    {result['model']}")
        say(f"next:     swin-umamba predict -m {shlex.quote(str(model))} -i YOUR_IMAGES -o OUTPUT")
    return 0


def _fresh_folder(output: Path) -> Path:
    """Empty the folder if an earlier demo made it; refuse to touch any other."""
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        if not (output / MARKER).is_file():
            raise UsageError(
                "the folder of the demo exists and is not empty",
                where=output,
                hint="give another folder with --output",
            )
        shutil.rmtree(output)
    write_json(output / MARKER, {"note": "swin-umamba demo replaces this folder when it runs again"})
    return output


def _train(dataset: Dataset, args: argparse.Namespace) -> Path:
    """Train on all cases, and return the model folder."""
    from swin_umamba.nnunet.training.train import train

    result = train(
        dataset,
        trainer="nnUNetTrainerSwinUMambaDScratch",
        fold="all",
        skip_validation=True,
        epochs=args.epochs,
        iterations_per_epoch=ITERATIONS_PER_EPOCH,
        validation_iterations=1,
        learning_rate=LEARNING_RATE,
        schedule="annealed",
        seed=args.seed,
        workers=0,
        device=args.device,
    )
    return result.fold_folder.parent


def _predict(predictor: Predictor, images: Path, predictions: Path) -> None:
    for result in predictor.predict_folder(images, predictions, confidence=True):
        if result.error is not None:
            raise result.error


def _evaluate(raw: Path, output: Path) -> Evaluation:
    """Score the test predictions, write the metrics and draw the sheet."""
    from swin_umamba.data.image_io import image_stem, list_images, read_image, read_labels
    from swin_umamba.evaluation.classes import LabelClasses
    from swin_umamba.evaluation.evaluate import evaluate_folders
    from swin_umamba.report.sheet import SheetCase, comparison_sheet

    classes = LabelClasses.from_dataset_json(raw / "dataset.json")
    evaluation = evaluate_folders(output / "predictions", raw / "labelsTs", classes=classes)
    if evaluation.failures:
        raise SwinUMambaError(evaluation.failures[0].error, where=evaluation.failures[0].case)
    evaluation.write(output)
    images = {image_stem(path).removesuffix("_0000"): path for path in list_images(raw / "imagesTs")}
    rows = [
        SheetCase(
            name=case.case,
            image=read_image(images[case.case]).data,
            truth=read_labels(raw / "labelsTs" / f"{case.case}.png").data[0],
            prediction=read_labels(output / "predictions" / f"{case.case}.png").data[0],
            dice={name: score["dice"] for name, score in case.classes.items()},
        )
        for case in evaluation.cases
    ]
    comparison_sheet(
        rows, output / SHEET, classes={name: values[0] for name, values in classes.values.items()}
    )
    return evaluation


def _report(model: Path, raw: Path, output: Path) -> None:
    from swin_umamba.report.html import report_html
    from swin_umamba.summary.collect import collect_report
    from swin_umamba.summary.places import Sources

    sources = Sources(
        metrics=output / METRICS,
        predictions=output / "predictions",
        references=raw / "labelsTs",
        images=raw / "imagesTs",
    )
    write_text(output / REPORT, report_html(collect_report(model, sources)))
