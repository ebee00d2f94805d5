"""The metrics: what they are called, in which unit, and which of two values is the better one.

Plain data for everything that measures, prints, draws or compares scores. A metric is an entry here and a
method with the name of its key at what it is measured of.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Metric:
    """One metric.

    Attributes
    ----------
    key
        In Python and in files.
    title
        For people.
    of
        What measures it: ``masks`` is ``evaluation.metrics.MaskPair``, ``instances`` is
        ``evaluation.instances.Overlap``; nothing here if it comes from files alone.
    unit
        Empty if it goes from 0 (worst) to 1.
    lower_is_better
        As distances are.
    """

    key: str
    title: str
    of: Literal["masks", "instances", "files"]
    unit: str = ""
    lower_is_better: bool = False

    @property
    def digits(self) -> int:
        """How many decimals are shown."""
        return 2 if self.unit else 4

    @property
    def heading(self) -> str:
        """The title with the unit."""
        return f"{self.title} {self.unit}".rstrip()


METRICS = {
    metric.key: metric
    for metric in (
        Metric("dice", "Dice", "masks"),
        Metric("nsd", "NSD", "masks"),
        Metric("hd95", "HD95", "masks", unit="mm", lower_is_better=True),
        Metric("f1", "F1 (IoU 0.5)", "instances"),
        Metric("precision", "precision", "instances"),
        Metric("recall", "recall", "instances"),
        Metric("f1_50_95", "F1 (IoU 0.5:0.95)", "instances"),
        Metric("ap", "AP (IoU 0.5)", "instances"),
        Metric("ap_50_95", "AP (IoU 0.5:0.95)", "instances"),
        Metric("pq", "PQ", "instances"),
        Metric("aji", "AJI", "instances"),
        Metric("aji_plus", "AJI+", "instances"),
        Metric("iou", "IoU", "files"),
    )
}


def metrics_of(what: Literal["masks", "instances"]) -> tuple[str, ...]:
    """Return the keys of the metrics that are measured of masks or of instances, in their order."""
    return tuple(key for key, metric in METRICS.items() if metric.of == what)
