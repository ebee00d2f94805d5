"""The table of a comparison: size, scores, differences from a baseline, time and memory."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from swin_umamba.compare.complexity import Complexity
from swin_umamba.compare.results import RunResult, score_array
from swin_umamba.csv_files import csv_text
from swin_umamba.errors import UsageError
from swin_umamba.evaluation.bootstrap import Interval, mean_score, paired_interval
from swin_umamba.evaluation.results import none_for_nan
from swin_umamba.metric_table import METRICS, Metric

NO_DIFFERENCE = "no difference"
MEBIBYTE = 2**20


@dataclass(frozen=True)
class Row:
    """Row of one network.

    Attributes
    ----------
    name, title
        Name and title of the network.
    seeds
        Seeds it was trained with.
    parameters, macs
        Its size at the patch size of the training.
    scores
        Mean over classes, cases and seeds, by metric.
    differences
        Difference from the baseline, by metric; empty for the baseline itself, None if no interval can be
        given.
    step_seconds, seconds, steps
        Median over seeds of the median time of a step; mean time and mean number of steps of a training.
    prediction_seconds
        Mean time to predict all test cases; None if a training did not note it.
    memory_bytes
        Largest peak among the seeds; None if the system does not report it.
    """

    name: str
    title: str
    seeds: tuple[int, ...]
    parameters: int
    macs: int
    scores: Mapping[str, float]
    differences: Mapping[str, Interval | None]
    step_seconds: float
    seconds: float
    steps: float
    prediction_seconds: float | None
    memory_bytes: int | None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        values = asdict(self)
        values["scores"] = {metric: none_for_nan(value) for metric, value in self.scores.items()}
        for metric, interval in self.differences.items():
            if interval is not None:
                values["differences"][metric]["no_difference"] = interval.holds_zero
        return values


@dataclass(frozen=True)
class Table:
    """All rows, and the terms of the comparison in words."""

    rows: tuple[Row, ...]
    metrics: tuple[str, ...]
    baseline: str
    caption: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "caption": list(self.caption),
            "baseline": self.baseline,
            "rows": [row.to_dict() for row in self.rows],
        }

    def to_csv(self) -> str:
        """Return unrounded values, one line per network."""
        header = ["network", "seeds", "parameters", "macs"]
        for metric in self.metrics:
            header += [metric, f"{metric}_difference", f"{metric}_low", f"{metric}_high"]
        header += ["step_seconds", "seconds", "steps", "prediction_seconds", "memory_bytes"]
        rows: list[list[Any]] = [header]
        for row in self.rows:
            cells: list[Any] = [row.name, " ".join(map(str, row.seeds)), row.parameters, row.macs]
            for metric in self.metrics:
                interval = row.differences.get(metric)
                ends: tuple[Any, ...] = ("", "", "")
                if interval is not None:
                    ends = (interval.difference, interval.low, interval.high)
                cells += [row.scores[metric], *ends]
            costs = (row.step_seconds, row.seconds, row.steps, row.prediction_seconds, row.memory_bytes)
            rows.append([*cells, *costs])
        return csv_text(rows)

    def to_markdown(self) -> str:
        """Return the table for human readers, with its caption."""
        header = ["network", "parameters", "GMACs"]
        for metric in self.metrics:
            title = METRICS[metric].title
            header += [title, f"{title} against {self.baseline}"]
        header += ["s per step", "steps", "s to predict", "peak MiB"]
        lines = [header, ["---", *["---:"] * (len(header) - 1)]]
        lines += [self._cells(row) for row in self.rows]
        caption = [f"- {line}" for line in self.caption]
        return "\n".join([*("| " + " | ".join(line) + " |" for line in lines), "", *caption]) + "\n"

    def _cells(self, row: Row) -> list[str]:
        cells = [row.title, f"{row.parameters / 1e6:.1f}M", f"{row.macs / 1e9:.2f}"]
        for metric in self.metrics:
            score = row.scores[metric]
            cells.append("-" if math.isnan(score) else f"{score:.{METRICS[metric].digits}f}")
            if row.name == self.baseline:
                cells.append("baseline")
            else:
                cells.append(describe_difference(row.differences[metric], METRICS[metric]))
        memory = "-" if row.memory_bytes is None else f"{row.memory_bytes / MEBIBYTE:.0f}"
        predict = "-" if row.prediction_seconds is None else f"{row.prediction_seconds:.1f}"
        return [*cells, f"{row.step_seconds:.3f}", f"{row.steps:.0f}", predict, memory]


def describe_difference(interval: Interval | None, metric: Metric) -> str:
    """Return ``better: +0.0213 [+0.0102, +0.0330]``, ``worse: ...``, or a statement of no difference."""
    if interval is None:
        return "too few cases to tell"
    digits = metric.digits
    ends = f"[{interval.low:+.{digits}f}, {interval.high:+.{digits}f}]"
    if interval.holds_zero:
        return f"{NO_DIFFERENCE} {ends}"
    better = (interval.difference > 0) != metric.lower_is_better
    return f"{'better' if better else 'worse'}: {interval.difference:+.{digits}f} {ends}"


def make_table(
    results: Mapping[str, Sequence[RunResult]],
    sizes: Mapping[str, Complexity],
    titles: Mapping[str, str],
    *,
    baseline: str,
    caption: Sequence[str],
) -> Table:
    """Return the table of finished trainings.

    Parameters
    ----------
    results
        Results of each network, one per seed.
    sizes, titles
        Sizes and titles of the same networks.
    baseline
        Network to compare the others with.
    caption
        Terms of the comparison; an explanation of the intervals is added.

    Raises
    ------
    UsageError
        If the baseline is not among the networks, or they differ in seeds.
    DataError
        If networks were scored on different cases or classes.
    """
    if baseline not in results:
        raise UsageError(
            f"the baseline {baseline!r} is none of the networks compared",
            hint=f"choose one of {', '.join(results)}",
        )
    if len({tuple(result.seed for result in runs) for runs in results.values()}) > 1:
        raise UsageError("the networks were trained with different seeds", hint="finish all trainings first")
    first = next(iter(results[baseline][0].scores.values()))
    metrics = tuple(next(iter(first.values())))
    rows = [_row(results, name, sizes[name], titles[name], baseline, metrics) for name in results]
    reading = (
        f"Intervals: 95 % paired bootstrap over {len(results[baseline][0].scores)} cases and "
        f'{len(results[baseline])} seeds, "{NO_DIFFERENCE}" where the interval holds 0; not corrected for '
        "the number of networks."
    )
    return Table(tuple(rows), metrics, baseline, (*caption, reading))


def _row(
    results: Mapping[str, Sequence[RunResult]],
    name: str,
    size: Complexity,
    title: str,
    baseline: str,
    metrics: Sequence[str],
) -> Row:
    runs = results[name]
    # Together, to check that both were scored on the same cases and classes.
    both = {metric: score_array([*runs, *results[baseline]], metric) for metric in metrics}
    peaks = [run.cost["peak_memory_bytes"] for run in runs]
    predictions = [run.cost["prediction_seconds"] for run in runs if "prediction_seconds" in run.cost]
    return Row(
        name=name,
        title=title,
        seeds=tuple(run.seed for run in runs),
        parameters=size.parameters,
        macs=size.macs,
        scores={metric: mean_score(values[: len(runs)]) for metric, values in both.items()},
        differences={}
        if name == baseline
        else {
            metric: paired_interval(values[: len(runs)], values[len(runs) :])
            for metric, values in both.items()
        },
        step_seconds=statistics.median(run.cost["median_step_seconds"] for run in runs),
        seconds=statistics.fmean(run.cost["seconds"] for run in runs),
        steps=statistics.fmean(run.cost["steps"] for run in runs),
        prediction_seconds=statistics.fmean(predictions) if len(predictions) == len(runs) else None,
        memory_bytes=None if None in peaks else max(peaks),
    )
