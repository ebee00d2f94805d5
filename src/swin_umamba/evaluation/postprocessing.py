"""Post-processing of label maps by connected components; each step is kept only where it helps.

nnU-Net's rule (Isensee et al., Nature Methods 2021): a step is kept if the mean Dice of all classes over the
validation cases rises and that of no class falls. The steps are tried first for the whole foreground, then
class by class: keep only the largest component, or remove components below a size; then fill holes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import scipy

from swin_umamba.evaluation.metrics import dice

Kind = Literal["largest", "minimum", "holes"]
KINDS = ("largest", "minimum", "holes")
PARTS_OF_SMALLEST = (0.1, 0.5, 1.0)
"""Sizes to try, as fractions of the smallest component of a class in the references."""

Scores = dict[str, float]


@dataclass(frozen=True)
class ComponentStep:
    """One step of a post-processing.

    Attributes
    ----------
    kind
        ``largest``: keep only the largest component (all of them on ties); ``minimum``: remove components
        below ``size``; ``holes``: give enclosed background the label.
    labels
        Label values; the step is applied to their union.
    size
        Smallest size that ``minimum`` keeps: in mm3 (mm2 for flat images), or in pixels for models that count
        pixels.

    Raises
    ------
    ValueError
        If an entry is invalid.
    """

    kind: Kind
    labels: tuple[int, ...]
    size: float | None = None

    def __post_init__(self) -> None:
        numbers = self.labels and all(type(each) is int and each > 0 for each in self.labels)
        sized = isinstance(self.size, float) and 0 < self.size < np.inf
        if (
            self.kind not in KINDS
            or not numbers
            or sized != (self.kind == "minimum")
            or (self.kind == "holes" and len(self.labels) > 1)
            or (self.size is not None and not sized)
        ):
            raise ValueError(f"{self!r} is not a post-processing step")


@dataclass(frozen=True)
class LabelledCase:
    """A predicted and a true label map on the same grid, and the size of a pixel or voxel."""

    prediction: np.ndarray
    reference: np.ndarray
    pixel_size: float


@dataclass(frozen=True)
class Postprocessing:
    """Post-processing steps and the mean Dice of each class on the validation cases without and with them."""

    steps: tuple[ComponentStep, ...]
    before: Mapping[str, float]
    after: Mapping[str, float]


def apply_steps(labels: np.ndarray, steps: Iterable[ComponentStep], pixel_size: float) -> np.ndarray:
    """Return a label map after post-processing.

    Parameters
    ----------
    labels
        Label map, ``(y, x)`` or ``(z, y, x)``; it is not modified.
    steps
        Steps, in order.
    pixel_size
        Size of a pixel or voxel, in the unit of the steps' sizes.
    """
    result: np.ndarray = labels.copy()
    for step in steps:
        mask = np.isin(result, step.labels)
        if step.kind == "holes":
            result[scipy.ndimage.binary_fill_holes(mask) & (result == 0)] = step.labels[0]
            continue
        parts, number = scipy.ndimage.label(mask, np.ones((3,) * mask.ndim))
        sizes = np.bincount(parts.ravel(), minlength=number + 1)
        sizes[0] = 0
        if step.kind == "largest":
            gone = sizes != sizes.max()
        else:
            assert step.size is not None
            gone = sizes * pixel_size < step.size
        gone[0] = False
        result[gone[parts]] = 0
    return result


def choose_steps(
    cases: Callable[[], Iterable[LabelledCase]],
    classes: Mapping[str, tuple[int, ...]],
    ignore: int | None = None,
) -> Postprocessing:
    """Choose the steps that help on validation cases.

    Parameters
    ----------
    cases
        Function that returns an iterator over the cases. It is called for each pass, so that not all cases
        need to be in memory.
    classes
        Label values of each class or region by its name.
    ignore
        Reference value of pixels to ignore.
    """
    foreground = tuple(sorted({value for values in classes.values() for value in values}))
    together: tuple[ComponentStep, ...] = (ComponentStep("largest", foreground),)
    smallest = dict.fromkeys(classes, np.inf)
    before, after = _scores(cases, [(), together], classes, ignore, smallest)
    kept = together if _helps(before, after) else ()
    now = after if kept else before
    for tried in (_of_size(classes, smallest), _of_holes(classes)):
        chosen = _best_of_classes(cases, kept, tried, now, classes, ignore)
        if chosen == kept:
            continue
        (joint,) = _scores(cases, [chosen], classes, ignore)
        if _helps(now, joint):
            kept, now = chosen, joint
    return Postprocessing(kept, before, now)


def _of_size(
    classes: Mapping[str, tuple[int, ...]], smallest: Mapping[str, float]
) -> dict[str, list[ComponentStep]]:
    return {
        name: [
            ComponentStep("largest", values),
            *(
                ComponentStep("minimum", values, float(part * smallest[name]))
                for part in PARTS_OF_SMALLEST
                if np.isfinite(smallest[name])
            ),
        ]
        for name, values in classes.items()
    }


def _of_holes(classes: Mapping[str, tuple[int, ...]]) -> dict[str, list[ComponentStep]]:
    return {
        name: [ComponentStep("holes", values)] if len(values) == 1 else [] for name, values in classes.items()
    }


def _best_of_classes(
    cases: Callable[[], Iterable[LabelledCase]],
    kept: tuple[ComponentStep, ...],
    tried: Mapping[str, Sequence[ComponentStep]],
    now: Scores,
    classes: Mapping[str, tuple[int, ...]],
    ignore: int | None,
) -> tuple[ComponentStep, ...]:
    """Return the steps to keep, and for each class the best single step that helps."""
    steps = [step for of_class in tried.values() for step in of_class]
    scores = dict(zip(steps, _scores(cases, [(*kept, step) for step in steps], classes, ignore), strict=True))
    chosen = kept
    for of_class in tried.values():
        helpful = [step for step in of_class if _helps(now, scores[step])]
        if helpful:
            chosen = (*chosen, max(helpful, key=lambda step: _mean(scores[step])))
    return chosen


def _scores(
    cases: Callable[[], Iterable[LabelledCase]],
    candidates: Sequence[tuple[ComponentStep, ...]],
    classes: Mapping[str, tuple[int, ...]],
    ignore: int | None,
    smallest: dict[str, float] | None = None,
) -> list[Scores]:
    """Return the mean Dice of each class after each candidate; NaN for a class that does not occur.

    ``smallest`` receives the size of the smallest component of each class in the references.
    """
    of_candidates: list[dict[str, list[float]]] = [{name: [] for name in classes} for _ in candidates]
    for case in cases():
        counted = np.ones(case.reference.shape, bool) if ignore is None else case.reference != ignore
        truth = {name: np.isin(case.reference, values) & counted for name, values in classes.items()}
        if smallest is not None:
            for name, mask in truth.items():
                smallest[name] = min(smallest[name], _smallest_component(mask) * case.pixel_size)
        for steps, lists in zip(candidates, of_candidates, strict=True):
            labels = apply_steps(case.prediction, steps, case.pixel_size)
            for name, values in classes.items():
                score = dice(np.isin(labels, values) & counted, truth[name])
                if not np.isnan(score):
                    lists[name].append(score)
    return [
        {name: float(np.mean(values)) if values else np.nan for name, values in lists.items()}
        for lists in of_candidates
    ]


def _smallest_component(mask: np.ndarray) -> float:
    parts, number = scipy.ndimage.label(mask, np.ones((3,) * mask.ndim))
    return float(np.bincount(parts.ravel())[1:].min()) if number else np.inf


def _mean(scores: Scores) -> float:
    finite = [value for value in scores.values() if not np.isnan(value)]
    return float(np.mean(finite)) if finite else np.nan


def _helps(before: Scores, after: Scores) -> bool:
    # A class that a step removes everywhere was only predicted where it is absent: its Dice was 0 before.
    worse = any(after[name] < value for name, value in before.items())
    return not worse and _mean(after) > _mean(before)


def steps_from_json(stored: Any) -> tuple[ComponentStep, ...]:
    """Return steps from plain data, the inverse of ``dataclasses.asdict``.

    Raises
    ------
    ValueError
        If the data are not steps.
    """
    try:
        return tuple(
            ComponentStep(
                each["kind"], tuple(each["labels"]), None if each["size"] is None else float(each["size"])
            )
            for each in stored
        )
    except (TypeError, LookupError, OverflowError) as error:
        raise ValueError(f"these are not post-processing steps: {stored!r:.80}") from error
