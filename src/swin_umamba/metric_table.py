"""The metrics: their names, their units, and which of two values is better.

Plain data for all code that measures, prints, draws or compares scores. A metric is an entry here and a
method named like its key on the class it is measured on; a user's own metric brings its function along.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from swin_umamba.errors import UsageError


@dataclass(frozen=True)
class Metric:
    """One metric.

    Attributes
    ----------
    key
        Name in Python and in files.
    title
        Name for readers.
    of
        Class it is measured on: ``masks`` is ``evaluation.metrics.MaskPair``, ``instances`` is
        ``evaluation.instances.Overlap``; ``files`` if it is only read from files.
    unit
        Unit; empty if it ranges from 0 (worst) to 1.
    lower_is_better
        Whether lower values are better, as for distances.
    function
        Function that measures it; None for the method of that name.
    """

    key: str
    title: str
    of: Literal["masks", "instances", "files"]
    unit: str = ""
    lower_is_better: bool = False
    function: Callable[[Any], float] | None = None

    def measure(self, measured: Any) -> float:
        """Return the value for a ``MaskPair`` or an ``Overlap``."""
        return getattr(measured, self.key)() if self.function is None else self.function(measured)

    @property
    def digits(self) -> int:
        """Number of decimals shown."""
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


def register_metric(metric: Metric) -> None:
    """Add a metric to every evaluation, table and report.

    Call it in a file of your own named in ``SWIN_UMAMBA_EXTENSIONS`` (``docs/extending.md``). A later
    registration replaces an earlier one with the same key.

    Raises
    ------
    UsageError
        If a metric of the package already has the key, the key is not an identifier, or there is no function
        that other processes can import.
    """
    before = METRICS.get(metric.key)
    if before is not None and before.function is None:
        raise UsageError(f"there is a metric {metric.key!r} already", hint="give yours another key")
    if metric.function is None or metric.of == "files" or not metric.key.isidentifier():
        raise UsageError(
            f"the metric {metric.key!r} cannot be measured",
            hint="give it a key of letters, digits and underscores, a function, and masks or instances that "
            "it measures",
        )
    try:
        pickle.dumps(metric)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise UsageError(
            f"the function of the metric {metric.key!r} cannot be handed to other processes: {error}",
            hint="define it with def in a module, not inside of a function and not with lambda",
        ) from error
    METRICS[metric.key] = metric


def own_metrics() -> list[Metric]:
    """Return the registered metrics, for other processes to register as well."""
    return [metric for metric in METRICS.values() if metric.function is not None]


def register_metrics(metrics: list[Metric]) -> None:
    """Register several metrics, when a new process starts."""
    for metric in metrics:
        register_metric(metric)


def metrics_of(what: Literal["masks", "instances"]) -> tuple[str, ...]:
    """Return the keys of the metrics measured on masks or instances, in order."""
    return tuple(key for key, metric in METRICS.items() if metric.of == what)
