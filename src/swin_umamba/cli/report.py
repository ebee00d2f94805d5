"""``swin-umamba report``: one HTML file that shows a training or an evaluation."""

from __future__ import annotations

import argparse
from pathlib import Path

from swin_umamba.cli.options import check_new
from swin_umamba.cli.output import say_result

ORDER = 160
HELP = "show a training or an evaluation in one HTML file: curves, scores, cases, what failed"
CASES: tuple[str, ...] = ()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument(
        "folder",
        type=Path,
        metavar="RUN_OR_FOLDER",
        help="model folder, fold folder, or folder with the metrics.json of evaluate or with label maps",
    )
    parser.add_argument(
        "-o", "--output", type=Path, default=Path("report.html"), help="file to write (default: report.html)"
    )
    for name, meaning in (
        ("predictions", "folder of predicted label maps (default: the validation, or looked for)"),
        ("references", "folder of true label maps (default: looked for)"),
        ("images", "folder of images (default: looked for beside the true label maps)"),
    ):
        parser.add_argument(f"--{name}", type=Path, metavar="DIR", help=meaning)
    parser.add_argument("--metrics", type=Path, metavar="FILE", help="metrics.json of evaluate, to be shown")
    parser.add_argument("--dataset-json", type=Path, metavar="FILE", help="class names (default: looked for)")
    parser.add_argument(
        "--overwrite", action="store_true", help="replace an existing report, instead of failing"
    )


def run(args: argparse.Namespace) -> int:
    """Write the report, and print where it is and what is missing from it."""
    check_new(args.output, args)
    from swin_umamba.files import check_output_folder, write_text

    check_output_folder(args.output.absolute().parent)
    from swin_umamba.report.html import report_html
    from swin_umamba.summary.collect import collect_report
    from swin_umamba.summary.places import Sources

    sources = Sources(args.metrics, args.predictions, args.references, args.images, args.dataset_json)
    report = collect_report(args.folder, sources)
    page = report_html(report)
    write_text(args.output, page)
    size = len(page.encode())
    result = {
        "output": str(args.output),
        "bytes": size,
        "cases_shown": [case.name for case in report.cases],
        "failures": dict(report.failures),
        "missing": list(report.missing),
    }
    wrote = f"wrote {args.output} ({size / 2**20:.1f} MiB, {len(report.cases)} cases shown)"
    say_result(args, "report", result, wrote, *(f"not in it: {each}" for each in report.missing))
    return 0
