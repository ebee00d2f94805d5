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

from swin_umamba.cli.output import say, say_result
from swin_umamba.errors import SwinUMambaError, UsageError
from swin_umamba.files import write_text
from swin_umamba.json_files import write_json

if TYPE_CHECKING:
    from swin_umamba.evaluation.evaluate_instances import InstanceEvaluation
    from swin_umamba.evaluation.results import Evaluation
    from swin_umamba.inference.predictor import Predictor
    from swin_umamba.nnunet.environment import Dataset

ORDER = 10
HELP = "make a small data set, train on it, predict, evaluate and show it (under 5 minutes on 2 cores)"

DATASET_NAME = "Dataset999_DemoNuclei"
NUM_TRAINING, NUM_TEST = 40, 8
NUM_CALIBRATION = 5
IMAGE_SIZE = 128
BATCH_SIZE = 4
ITERATIONS_PER_EPOCH = 25
# There are a hundred times fewer steps than in the paper's recipe, so the learning rate starts higher and
# falls to zero at the last step.
LEARNING_RATE = 5e-4
SHEET, REPORT, METRICS = "sheet.png", "report.html", "metrics.json"
OBJECT_SCORES = "objects"
# Interior and boundary together, as the network learns them.
CLASSES = {"background": 0, "nucleus": [1, 2]}
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
    steps.announce(1, f"drawing {NUM_TRAINING} training and {NUM_TEST} test images with touching nuclei")
    from swin_umamba.data.datasets.synthetic import make_nuclei
    from swin_umamba.evaluation.evaluate_instances import ALL_OBJECTS, COUNTS
    from swin_umamba.evaluation.object_errors import ERRORS

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
    steps.announce(4, f"calibrating on {NUM_CALIBRATION} more images, predicting the test images")
    from swin_umamba.inference.predictor import Predictor

    _calibrate(model, output / "calibration", args)
    predictor = Predictor.from_folder(model, device=args.device)
    _predict(predictor, raw / "imagesTs", output / "predictions")

    steps.announce(5, "evaluating, drawing the sheet and writing the report")
    evaluation, objects = _evaluate(raw, output)
    _report(model, raw, output)
    dice, f1 = evaluation.mean("dice"), objects.pooled(ALL_OBJECTS)["f1"]
    true, found = (objects.number(count, ALL_OBJECTS) for count in COUNTS)
    steps.announce(5, "done")
    result = {
        "dice": dice,
        "num_objects": found,
        "num_true_objects": true,
        "f1": f1,
        "seconds": round(time.monotonic() - steps.started, 1),
        "sheet": str(output / SHEET),
        "report": str(output / REPORT),
        "metrics": str(output / METRICS),
        "object_metrics": str(output / OBJECT_SCORES / METRICS),
        "model": str(model),
    }
    errors = ", ".join(f"{objects.number(f'num_{kind}', ALL_OBJECTS)} {kind}" for kind in ERRORS)
    say_result(
        args,
        "demo",
        result,
        f"test Dice {dice:.4f} on {NUM_TEST} unseen images, after {result['seconds']:.0f} s",
        f"objects:  {found} found of {true}, F1 {0 if f1 is None else f1:.4f} at an IoU of 0.5 ({errors})",
        f"picture:  {result['sheet']}",
        f"report:   {result['report']}",
        f"metrics:  {result['metrics']}",
        f"model:    {result['model']}",
        f"next:     swin-umamba predict -m {shlex.quote(str(model))} -i YOUR_IMAGES -o OUTPUT --instances",
    )
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


def _calibrate(model: Path, folder: Path, args: argparse.Namespace) -> None:
    """Find how objects are best cut, on images that are drawn for it alone."""
    from swin_umamba.data.datasets.synthetic import make_nuclei
    from swin_umamba.inference.calibrate import calibrate
    from swin_umamba.inference.predictor import Predictor

    make_nuclei(folder, num_training=NUM_CALIBRATION, num_test=0, size=IMAGE_SIZE, seed=args.seed + 1)
    predictor = Predictor.from_folder(model, device=args.device)
    calibrate(predictor, images=folder / "imagesTr", references=folder / "labelsTr")


def _predict(predictor: Predictor, images: Path, predictions: Path) -> None:
    for result in predictor.predict_folder(images, predictions, confidence=True, instances=True):
        if result.error is not None:
            raise result.error


def _evaluate(raw: Path, output: Path) -> tuple[Evaluation, InstanceEvaluation]:
    """Score the test predictions as classes and as objects, write the metrics and draw the sheet."""
    from swin_umamba.data.image_io import image_stem, list_images, read_image, read_labels
    from swin_umamba.evaluation.classes import LabelClasses
    from swin_umamba.evaluation.evaluate import evaluate_folders
    from swin_umamba.evaluation.evaluate_instances import ALL_OBJECTS, evaluate_instances
    from swin_umamba.inference.objects import INSTANCES
    from swin_umamba.report.objects import told_apart
    from swin_umamba.report.sheet import SheetCase, comparison_sheet

    predictions = output / "predictions"
    classes = LabelClasses.from_mapping(CLASSES)
    evaluation = evaluate_folders(predictions, raw / "labelsTs", classes=classes)
    objects = evaluate_instances(predictions / INSTANCES, raw / "instancesTs")
    for failure in (*evaluation.failures, *objects.failures):
        raise SwinUMambaError(failure.error, where=failure.case)
    evaluation.write(output)
    objects.write(output / OBJECT_SCORES)
    images = {image_stem(path).removesuffix("_0000"): path for path in list_images(raw / "imagesTs")}
    rows = [
        SheetCase(
            name=f"{case.case}    {scores.num_prediction} of {scores.num_reference} objects,"
            f" F1 {scores.scores['f1']:.3f}",
            image=read_image(images[case.case]).data,
            truth=told_apart(read_labels(raw / "instancesTs" / f"{case.case}.png").data[0]),
            prediction=told_apart(read_labels(predictions / INSTANCES / f"{case.case}.tif").data[0]),
            dice={name: score["dice"] for name, score in case.classes.items()},
        )
        for case in evaluation.cases
        for scores in (objects.cases[case.case][ALL_OBJECTS],)
    ]
    comparison_sheet(rows, output / SHEET, classes={})
    return evaluation, objects


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
