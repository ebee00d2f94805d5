"""The result of one training of a comparison: its cost, and scores for every case."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypedDict, cast

import numpy as np

from swin_umamba.errors import DataError
from swin_umamba.json_files import LARGEST_RESULTS, read_contract, write_contract
from swin_umamba.schema import Provenance, left_out, named, number, optional, rule_of, table, text, whole

# Case to class to metric to value; None where the class is not applicable.
Scores = Mapping[str, Mapping[str, Mapping[str, float | None]]]


class TrainingCost(TypedDict):
    """``training_cost.json`` of a training of a comparison."""

    steps: int
    seconds: float
    median_step_seconds: float
    peak_memory_bytes: int | None
    skipped_steps: int
    device: str
    threads: int
    processors: int | None


_COST = rule_of(TrainingCost)
_SECONDS = number(0)
RESULT = table(
    {
        "network": text(),
        "seed": whole(0),
        "cost": table(
            {"seconds": _SECONDS, "median_step_seconds": _SECONDS, "steps": number(0)},
            {
                "peak_memory_bytes": optional(whole(0)),
                "skipped_steps": whole(0),
                "device": text(),
                "threads": whole(1),
                "processors": optional(whole(1)),
                "prediction_seconds": _SECONDS,
            },
            left_out,
        ),
        "scores": named(named(named(optional(number())), 1), 1),
    },
    others=left_out,
)


@dataclass(frozen=True)
class RunResult:
    """The result of training one network with one seed.

    Attributes
    ----------
    network
        Name of the network.
    seed
        Seed of weights, sampling and augmentation.
    cost
        See ``swin_umamba.compare.trainer``, with ``prediction_seconds`` for all test cases.
    scores
        Scores of the test cases.
    """

    network: str
    seed: int
    cost: Mapping[str, Any]
    scores: Scores

    def write(self, path: Path) -> None:
        """Write the result as JSON."""
        write_contract("comparison-result", path, asdict(self))

    @classmethod
    def read(cls, path: Path) -> RunResult:
        """Read a result written by ``write``.

        Raises
        ------
        DataError
            If the file is damaged.
        """
        hint = "delete the file; the training is then repeated"
        stored = read_contract(path, hint=hint, largest=LARGEST_RESULTS)
        Provenance(path, hint, beginning="the result of a training cannot be read: ").check(stored, RESULT)
        return cls(**stored)


def read_cost(path: Path) -> TrainingCost:
    """Read the cost of a training of a comparison.

    Raises
    ------
    DataError
        If the file is missing or damaged.
    """
    hint = "compare again, in an empty folder"
    cost = read_contract(path, hint=hint)
    Provenance(path, hint, beginning="the cost of a training cannot be read: ").check(cost, _COST)
    return cast(TrainingCost, cost)


def score_array(results: Sequence[RunResult], metric: str) -> np.ndarray:
    """Return scores as an array (trainings, cases, classes), NaN where not applicable.

    Cases and classes are sorted by name, trainings are in the order of ``results``.

    Raises
    ------
    DataError
        If the trainings were not scored on the same cases and classes.
    """
    cases = sorted(results[0].scores)
    classes = sorted(results[0].scores[cases[0]])
    for result in results:
        scores = result.scores.values()
        if (
            sorted(result.scores) != cases
            or any(sorted(each) != classes for each in scores)
            or not all(metric in values for each in scores for values in each.values())
        ):
            raise DataError(
                f"{result.network}, seed {result.seed}, was scored on other cases or classes, or otherwise",
                hint="compare again in an empty folder",
            )
    values = [
        [[result.scores[case][name][metric] for name in classes] for case in cases] for result in results
    ]
    return np.array(values, dtype=np.float64)  # None becomes NaN
