"""``swin-umamba predict``: segment images with a trained model."""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from swin_umamba.cli.options import add_model, add_options, given_options
from swin_umamba.cli.output import say, say_json
from swin_umamba.errors import by_reason, printable
from swin_umamba.inference.options import FolderOptions, ModelOptions
from swin_umamba.inference.studies.options import StudyOptions
from swin_umamba.options import declared_options
from swin_umamba.pseudonyms import hidden

if TYPE_CHECKING:
    from swin_umamba.inference.case_result import CaseResult
    from swin_umamba.inference.predictor import Predictor

logger = logging.getLogger(__name__)

ORDER = 80
HELP = "segment images with a trained model"
CASES = ("input",)

SHOWN_CASES = 5

AFTER_INTERRUPT = "continue with the same command: finished cases are kept"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    add_model(parser)
    parser.add_argument(
        "-i",
        "--input",
        type=Path,
        nargs="+",
        required=True,
        help="folder of images, image files or DICOM folders",
    )
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        required=True,
        help="folder for the label maps; for a single case also a file name",
    )
    add_options(parser, ModelOptions)
    of_studies = {each.name for each in declared_options(StudyOptions)}
    add_options(
        parser,
        FolderOptions,
        [each.name for each in declared_options(FolderOptions) if each.name not in of_studies],
    )
    group = parser.add_argument_group(
        "trees of DICOM studies", "which series of a disc or an archive are predicted; see docs/studies.md"
    )
    add_options(group, StudyOptions)


def run(args: argparse.Namespace) -> int:
    """Predict, print a summary and name what failed; return 1 if a case failed."""
    options = given_options(args, FolderOptions)
    if options.get("dry_run"):
        return _list(args, FolderOptions(**options))
    from swin_umamba.inference.predictor import Predictor
    from swin_umamba.inference.studies.manifest import TABLE_FILE

    predictor = Predictor.from_folder(args.model, **given_options(args, ModelOptions))
    if options.get("confidence"):
        _tell_limits(predictor)
    inputs = args.input[0] if len(args.input) == 1 else args.input
    start = time.perf_counter()
    results = predictor.predict_folder(inputs, args.output, **options)
    seconds = time.perf_counter() - start
    failures = [(result.case, str(result.error)) for result in results if result.error is not None]
    if args.json:
        say_json("predict", _summary(predictor, results, args.output))
    else:
        say(_text(results, args.output, seconds))
        if FolderOptions(**options).with_studies:
            say(f"what became of each series: {args.output / TABLE_FILE}")
    for cases, why in by_reason(failures):
        say(f"error: {cases}: {why}", file=sys.stderr)
    return 1 if failures else 0


def _list(args: argparse.Namespace, options: FolderOptions) -> int:
    """List the series of a tree of studies, those first that would be predicted, without reading weights."""
    from swin_umamba.inference.studies.choice import list_studies
    from swin_umamba.inference.studies.manifest import manifest_of
    from swin_umamba.trained.model_files import foreseen_channels

    wanted = ModelOptions(**given_options(args, ModelOptions))
    channels = foreseen_channels(args.model, wanted.folds, wanted.checkpoint)
    studies = list_studies(args.input, options)
    studies.check(channels, args.model, args.output)
    content = manifest_of(studies)
    if args.json:
        say_json("studies", content)
        return 0
    left_out = [each for each in content["series"] if each["status"] == "left_out"]
    chosen = [each for each in content["series"] if each["status"] != "left_out"]
    say(f"{len(chosen)} of {len(content['series'])} series of {content['patients']} patient(s):")
    for each in chosen:
        say(_line(each))
    if left_out:
        say("left out:")
    for each in left_out:
        say(_line(each))
    for each in content["problems"]:
        say(f"problem: {_one_line(each['path'] or '')}: {_one_line(each['reason'])}")
    if content["other_files"]:
        kinds = (f"{count} x {kind}" for kind, count in content["other_files"].items())
        say(f"not images: {', '.join(kinds)}")
    return 0


def _line(series: Mapping[str, Any]) -> str:
    words = f" {_one_line(series['description'])!r}" if series["description"] else ""
    why = f": {_one_line(series['reason'])}" if series["reason"] else ""
    about = f"patient {series['patient']}, {series['images']} images, {series['plane']}"
    return f"  {series['case']}  {about}{words}{why}"


def _tell_limits(predictor: Predictor) -> None:
    if predictor.model.temperature is None:
        logger.warning(
            "the model is not calibrated and will be overconfident; see swin-umamba calibrate --help"
        )
    if not predictor.mirroring and len(predictor.model.parameters) == 1:
        logger.warning(
            "the Dice cannot be estimated: that needs mirrored images or several folds, and there is neither"
        )


def _one_line(name: str) -> str:
    """Return a name that cannot control the terminal and stays on one line."""
    return printable(name).replace("\n", " ")


def _text(results: list[CaseResult], output: Path, seconds: float) -> str:
    counts = Counter(result.status for result in results)
    # Of the clock, not the sum over cases, which overlap.
    lines = [f"{counts['written']} of {len(results)} cases written to {output} in {seconds:.1f} s"]
    if counts["kept"]:
        lines.append(f"{counts['kept']} existed already and were kept (--overwrite replaces them)")
    if counts["begun"]:
        lines.append(f"{counts['begun']} wait for other parts to finish their blocks")
    if counts["failed"]:
        lines.append(f"{counts['failed']} failed")
    estimates = [
        (result.confidence["quality"], result.case)
        for result in results
        if result.confidence is not None and result.confidence.get("quality") is not None
    ]
    if estimates:
        lines.append("lowest estimated Dice, to be reviewed first:")
        lines += [f"  {quality:.3f}  {_one_line(case)}" for quality, case in sorted(estimates)[:SHOWN_CASES]]
    return "\n".join(lines)


def _summary(predictor: Predictor, results: list[CaseResult], output: Path) -> dict[str, object]:
    counts = Counter(result.status for result in results)
    return {
        "output": str(output),
        "checkpoints": [str(path) for path in predictor.model.checkpoints],
        "device": str(predictor.device),
        "labels": predictor.labels,
        "written": counts["written"],
        "kept": counts["kept"],
        "begun": counts["begun"],
        "failed": counts["failed"],
        "cases": [
            {
                "case": result.case,
                "inputs": [hidden(str(path)) for path in result.files],
                "output": str(result.output),
                "status": result.status,
                "seconds": round(result.seconds, 3),
                "confidence": result.confidence,
                "error": None if result.error is None else result.error.parts(),
            }
            for result in results
        ],
    }
