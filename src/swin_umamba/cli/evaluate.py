"""``swin-umamba evaluate``: score predicted label maps against references."""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from swin_umamba.cli.options import add_classes, add_options, classes_of, given_options
from swin_umamba.cli.output import say, say_json
from swin_umamba.data.label_options import LabelOptions
from swin_umamba.errors import UsageError, by_reason
from swin_umamba.evaluation.protocols import PROTOCOLS, find_protocol
from swin_umamba.files import check_output_folder
from swin_umamba.metric_table import METRICS, metrics_of

if TYPE_CHECKING:
    from swin_umamba.evaluation.evaluate_instances import InstanceEvaluation
    from swin_umamba.evaluation.evaluate_protocol import ProtocolEvaluation
    from swin_umamba.evaluation.protocols.base import PaperProtocol
    from swin_umamba.evaluation.results import Evaluation

ORDER = 110
HELP = "score predictions: Dice, NSD and HD95 of classes, F1 and AP of objects, or a protocol of the paper"
CASES = ("predictions", "references")

MEAN_OF_CLASSES = "mean of classes"
logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument("predictions", type=Path, help="folder of predicted label maps")
    parser.add_argument("references", type=Path, help="folder of reference label maps of the same names")
    add_classes(parser, "score")
    how = parser.add_mutually_exclusive_group()
    how.add_argument(
        "--instances",
        action="store_true",
        help="the label values number objects: score how many objects are found (F1, AP, PQ, AJI)",
    )
    how.add_argument(
        "--protocol",
        choices=PROTOCOLS,
        help="score as in one of the paper's experiments: its classes, metrics and tolerances",
    )
    parser.add_argument(
        "--form",
        choices=("as-published", "corrected", "both"),
        help="form of the protocol: with the flaws of the published scripts, without them, or both (default)",
    )
    parser.add_argument(
        "--outer-rim",
        type=int,
        choices=(0, 1),
        help="with --protocol microscopy: pixels by which the boundary class reaches outside the cells; "
        "1 as in the paper's labels (default), 0 where it lies inside them",
    )
    parser.add_argument(
        "--class-maps",
        nargs=2,
        type=Path,
        metavar=("PREDICTED", "TRUE"),
        help="with --instances: folders of label maps of the same names; an object has the class of most of "
        "its pixels",
    )
    parser.add_argument(
        "--tolerance",
        type=float,
        metavar="MM",
        help="tolerance of the NSD in mm, or in pixels for pictures (default: 2)",
    )
    parser.add_argument(
        "--missing",
        choices=("error", "worst"),
        default="error",
        help="references without a prediction: an error, or scored as if nothing was predicted",
    )
    parser.add_argument(
        "--num-workers", type=int, default=1, help="number of parallel processes (default: 1)"
    )
    add_options(parser, LabelOptions)
    parser.add_argument(
        "-o", "--output", type=Path, metavar="DIR", help="write metrics.json and metrics.csv here"
    )


def run(args: argparse.Namespace) -> int:
    """Evaluate, print the table or JSON, and write the files; return 1 if a case failed."""
    if args.output is not None:
        check_output_folder(args.output)
    evaluation: Evaluation | ProtocolEvaluation | InstanceEvaluation
    if args.instances:
        evaluation = _evaluate_instances(args)
    else:
        evaluation = _evaluate(args) if args.protocol is None else _evaluate_protocol(args)
    if args.output is not None:  # written before printing, which ends early if the reader closes the pipe
        for path in evaluation.write(args.output):
            logger.info("wrote %s", path)
    if not args.json:
        say(table(evaluation))
    for cases, why in by_reason((each.case, each.error) for each in evaluation.failures):
        say(f"error: {cases} could not be evaluated: {why}", file=sys.stderr)
    if args.json:
        # Last, so that stdout holds either this or an error.
        say_json(evaluation.contract, evaluation.to_dict())
    return 1 if evaluation.failures else 0


def _evaluate(args: argparse.Namespace) -> Evaluation:
    from swin_umamba.evaluation.evaluate import DEFAULT_TOLERANCE, evaluate_folders

    _refuse_options_of_a_protocol(args)
    _refuse(args.class_maps, "only objects have class maps", "--class-maps", hint="add --instances")
    classes = classes_of(args)
    evaluation = evaluate_folders(
        args.predictions,
        args.references,
        classes=classes,
        tolerance=DEFAULT_TOLERANCE if args.tolerance is None else args.tolerance,
        missing=args.missing,
        num_workers=args.num_workers,
        **given_options(args, LabelOptions),
    )
    if classes is None and evaluation.mean("dice") == 0:
        logger.warning(
            "no prediction overlaps its reference in any class; if the values mean different classes in the "
            "two folders (such as 1 and 255), convert the references with swin-umamba convert folder"
        )
    return evaluation


def _evaluate_instances(args: argparse.Namespace) -> InstanceEvaluation:
    from swin_umamba.evaluation.evaluate_instances import evaluate_instances

    _refuse_options_of_a_protocol(args)
    _refuse(args.tolerance, "objects have no tolerance", "--tolerance")
    return evaluate_instances(
        args.predictions,
        args.references,
        class_maps=None if args.class_maps is None else tuple(args.class_maps),
        classes=classes_of(args),
        missing=args.missing,
        num_workers=args.num_workers,
    )


def _refuse(given: object, what: str, option: str, hint: str = "leave it out") -> None:
    if given is not None:
        raise UsageError(what, where=option, hint=hint)


def _refuse_options_of_a_protocol(args: argparse.Namespace) -> None:
    for option, value in (("--form", args.form), ("--outer-rim", args.outer_rim)):
        if value is not None:
            raise UsageError(f"{option} belongs to a protocol", hint="name it with --protocol")


def _evaluate_protocol(args: argparse.Namespace) -> ProtocolEvaluation:
    from swin_umamba.evaluation.evaluate_protocol import evaluate_protocol
    from swin_umamba.evaluation.protocols.base import FORMS

    return evaluate_protocol(
        args.predictions,
        args.references,
        _protocol(args),
        forms=FORMS if args.form in (None, "both") else (args.form,),
        missing=args.missing,
        num_workers=args.num_workers,
    )


def _protocol(args: argparse.Namespace) -> PaperProtocol:
    """Return the protocol, and refuse options that it would ignore."""
    protocol: Any = find_protocol(args.protocol)
    classes = classes_of(args)
    _refuse(args.class_maps, "a protocol has its own classes", "--class-maps")
    _refuse(args.tolerance, "a protocol has its own tolerances", "--tolerance")
    if not hasattr(protocol, "outer_rim"):
        _refuse(args.outer_rim, "only cells have a boundary class", "--outer-rim")
    if classes is not None and not hasattr(protocol, "from_classes"):
        raise UsageError(
            f"the protocol {args.protocol} has its own classes", hint="leave out --labels and --dataset-json"
        )
    chosen: PaperProtocol
    if classes is not None:
        chosen = protocol.from_classes(classes)
    else:
        chosen = protocol() if args.outer_rim is None else protocol(outer_rim=args.outer_rim)
    return chosen


def table(evaluation: Evaluation | ProtocolEvaluation | InstanceEvaluation) -> str:
    """Return the printed summary of an evaluation."""
    from swin_umamba.evaluation.evaluate_instances import InstanceEvaluation
    from swin_umamba.evaluation.results import Evaluation

    if isinstance(evaluation, InstanceEvaluation):
        return _instance_table(evaluation)
    return _class_table(evaluation) if isinstance(evaluation, Evaluation) else _protocol_table(evaluation)


def _instance_table(evaluation: InstanceEvaluation) -> str:
    """Return a line for each class and metric: the mean over images, and the score of all objects."""
    from swin_umamba.evaluation.evaluate_instances import COUNTS
    from swin_umamba.evaluation.object_errors import ERRORS

    rows: list[tuple[str, ...]] = [("class", "metric", "mean of images", "all objects")]
    lines = []
    for name in evaluation.class_names:
        pooled = evaluation.pooled(name)
        rows += [
            (name, METRICS[key].heading, _number(evaluation.mean(key, name), 4), _number(pooled.get(key), 4))
            for key in metrics_of("instances")
        ]
        reference, prediction = (evaluation.number(count, name) for count in COUNTS)
        error = _number(evaluation.count_error(name), 2)
        errors = ", ".join(f"{evaluation.number(f'num_{kind}', name)} {kind}" for kind in ERRORS)
        lines.append(
            f"{name}: {prediction} predicted, {reference} true ({errors}); count error {error} an image"
        )
    lines += _gaps(len(evaluation.missing), len(evaluation.failures), "scores")
    return "\n".join([*aligned(rows, left=2), *lines])


def _class_table(evaluation: Evaluation) -> str:
    metrics = [METRICS[key] for key in metrics_of("masks")]
    rows: list[tuple[str, ...]] = [
        ("class", *(metric.heading for metric in metrics), "cases", "not applicable")
    ]
    for name in evaluation.class_names:
        summary = evaluation.summary(name)
        means = (_number(summary[metric.key], metric.digits) for metric in metrics)
        rows.append((name, *means, str(summary["cases"]), str(summary["not_applicable"])))
    means = (_number(evaluation.mean(metric.key), metric.digits) for metric in metrics)
    rows.append((MEAN_OF_CLASSES, *means, "", ""))
    tolerance = f"NSD: within {evaluation.tolerance:g} mm, or pixels for pictures"
    missing = sum(case.missing for case in evaluation.cases)
    return "\n".join([*aligned(rows), tolerance, *_gaps(missing, len(evaluation.failures), "means")])


def _gaps(missing: int, failed: int, those: str) -> list[str]:
    lines = [f"{missing} cases have no prediction and count as empty"] if missing else []
    return [*lines, f"{failed} cases failed and are not in the {those}"] if failed else lines


def _protocol_table(evaluation: ProtocolEvaluation) -> str:
    """Return a line for each metric and class, and a column for each form."""
    forms = tuple(evaluation.forms.items())
    rows: list[tuple[str, ...]] = [
        ("metric", "class", *(form for form, _ in forms), *(["difference"] if len(forms) == 2 else []))
    ]
    for metric in evaluation.metrics:
        for name in (*forms[0][1].class_names, MEAN_OF_CLASSES):
            values = [
                None
                if metric not in scores.metrics
                else scores.mean(metric)
                if name == MEAN_OF_CLASSES
                else scores.class_mean(name, metric)
                for _, scores in forms
            ]
            rows.append(
                (METRICS[metric].heading, name, *(_number(value, 4) for value in values), *_change(values))
            )
    if len(forms[0][1].class_names) == 1:
        rows = [row for row in rows if row[1] != MEAN_OF_CLASSES]
    lines = aligned(rows, left=2)
    lines += _notes(evaluation)
    return "\n".join(lines)


def _change(values: list[float | None]) -> list[str]:
    if len(values) < 2:
        return []
    before, after = values
    if before is None or after is None:
        return [""]
    change = f"{after - before:+.4f}"
    return ["" if float(change) == 0 else change]


def _notes(evaluation: ProtocolEvaluation) -> list[str]:
    lines = [f"cases: {', '.join(f'{len(each.cases)} {form}' for form, each in evaluation.forms.items())}"]
    if evaluation.missing:
        names = ", ".join(evaluation.missing)
        lines.append(
            f"{len(evaluation.missing)} cases have no prediction; they get the worst score if corrected "
            f"and are left out as published: {names}"
        )
    if evaluation.failures:
        lines.append(f"{len(evaluation.failures)} cases failed and are not in the means")
    for scores in evaluation.forms.values():
        lines += [f"{case}: {remark}" for case, result in scores.cases.items() for remark in result.remarks]
    if "as-published" in evaluation.forms:
        lines.append("as published:")
        lines += [f"  - {rule.as_published} (corrected: {rule.corrected})" for rule in evaluation.rules]
    return lines


def aligned(rows: list[tuple[str, ...]], *, left: int = 1) -> list[str]:
    """Return lines with aligned columns, the first ``left`` of them flush left."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(
            cell.ljust(width) if column < left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
