"""The report of an experiment: what was done, its scores beside the paper's, and the deviations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from swin_umamba import __version__
from swin_umamba.data.datasets.conversion import REPORT_NAME, Conversion
from swin_umamba.errors import DataError
from swin_umamba.experiments.settings import deviations
from swin_umamba.experiments.steps import Experiment, needed_weights
from swin_umamba.files import write_text
from swin_umamba.json_files import LARGEST_RESULTS, read_contract, write_contract

PUBLISHED, CORRECTED = "as-published", "corrected"
NOT_THE_PAPERS = "This is not the experiment of the paper."


def write_report(experiment: Experiment, seconds: Mapping[str, float]) -> tuple[Path, Path]:
    """Write ``report.md`` and ``report.json`` of a finished experiment.

    Parameters
    ----------
    experiment
        Experiment with all steps done.
    seconds
        Duration of the steps done in this session.

    Returns
    -------
    tuple of Path
        The two files.
    """
    report = _collect(experiment, seconds)
    folder = experiment.root / experiment.trainer
    paths = folder / "report.md", folder / "report.json"
    write_contract("experiment-report", paths[1], report)
    write_text(paths[0], _markdown(report))
    return paths


def _collect(experiment: Experiment, seconds: Mapping[str, float]) -> dict[str, Any]:
    metrics_file = experiment.result_folder("evaluation") / "metrics.json"
    raw = experiment.dataset.raw_folder
    conversion = Conversion.of_folder(raw) if (raw / REPORT_NAME).is_file() else None
    paper = experiment.recipe.published_results.get(experiment.trainer, {})
    return {
        "recipe": experiment.recipe.name,
        "trainer": experiment.trainer,
        "swin_umamba_version": __version__,
        "settings": experiment.settings.as_dict(),
        "weights": needed_weights(experiment),
        "seed": experiment.seed,
        "deviations_from_the_paper": deviations(experiment.recipe, experiment.settings),
        "data": None if conversion is None else conversion.to_dict(),
        **_scores(metrics_file, paper),
        "seconds_in_this_session": {name: round(value, 1) for name, value in seconds.items()},
        "files": {
            "model": str(experiment.model_folder),
            "predictions": str(experiment.result_folder("predictions")),
            "metrics": str(metrics_file),
        },
    }


def _scores(metrics_file: Path, paper: Mapping[str, float]) -> dict[str, Any]:
    """Return the scores by both forms of a protocol, beside the paper's numbers."""
    hint = "delete the file and run the same command again"
    metrics = read_contract(metrics_file, largest=LARGEST_RESULTS, hint=hint)
    try:
        published, corrected = (metrics["forms"][form] for form in (PUBLISHED, CORRECTED))
        return {
            "test_cases": len(corrected["cases"]),
            "results": {
                name: {
                    "paper": paper.get(name),
                    PUBLISHED: published["mean"].get(name),
                    CORRECTED: corrected["mean"][name],
                }
                for name in corrected["mean"]
            },
            "classes": {
                name: {
                    form: {metric: values["mean"] for metric, values in scores["classes"][name].items()}
                    for form, scores in ((PUBLISHED, published), (CORRECTED, corrected))
                }
                for name in corrected["classes"]
            },
            "rules": metrics["rules"],
        }
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError("these are not scores of the protocol", where=metrics_file, hint=hint) from error


def _markdown(report: Mapping[str, Any]) -> str:
    lines = [f"# {report['recipe']}: {report['trainer']}", ""]
    if report["deviations_from_the_paper"]:
        lines += [f"**{NOT_THE_PAPERS}**", ""]
        lines += [f"- {each}" for each in report["deviations_from_the_paper"]] + [""]
    lines += ["## Result", "", f"{report['test_cases']} test cases, without mirroring.", ""]
    lines += _table(
        ["metric", "paper", PUBLISHED, CORRECTED, "difference"],
        [[name, *_row(values)] for name, values in report["results"].items()],
    )
    if len(report["classes"]) > 1:
        metrics = list(report["results"])
        lines += ["", f"## Classes, {CORRECTED}", ""]
        lines += _table(
            ["class", *metrics],
            [
                [name, *(_number(values[CORRECTED][metric]) for metric in metrics)]
                for name, values in report["classes"].items()
            ],
        )
    lines += ["", "## Where the two forms differ", ""]
    lines += [f"- {rule['as_published']}; {CORRECTED}: {rule['corrected']}" for rule in report["rules"]]
    lines += ["", "## Training and data", ""]
    lines += [f"- {name.replace('_', ' ')}: {value}" for name, value in report["settings"].items()]
    lines += [f"- start: {report['weights'] or 'random weights'}", f"- seed: {report['seed']}"]
    if report["data"] is not None:
        data = report["data"]
        lines.append(f"- {data['num_training']} training and {data['num_test']} test cases")
        lines.append(f"- {len(data['left_out'])} files left out, {len(data['damaged'])} damaged")
        lines += [f"- note: {remark}" for remark in data["remarks"]]
    lines += [f"- {name}: {path}" for name, path in report["files"].items()]
    return "\n".join(lines) + "\n"


def _row(values: Mapping[str, float | None]) -> list[str]:
    before, after = values[PUBLISHED], values[CORRECTED]
    change = "-" if before is None or after is None else f"{after - before:+.4f}"
    return [_number(values["paper"]), _number(before), _number(after), change]


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    marks = ["---", *["---:"] * (len(header) - 1)]
    return [f"| {' | '.join(cells)} |" for cells in (header, marks, *rows)]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
