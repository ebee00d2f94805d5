"""The contents of a report as plain data: only the code that collects them knows the files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from swin_umamba.metric_table import Metric


@dataclass(frozen=True)
class Facts:
    """A table of names and values with a heading."""

    heading: str
    rows: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class TrainingCurves:
    """Log of a training; NaN where it has no number.

    Attributes
    ----------
    name
        Name of the training, such as its fold.
    train_loss, validation_loss, learning_rate, seconds
        One number for each epoch.
    pseudo_dice
        One number for each epoch, by class name.
    mean_pseudo_dice
        Moving average over epochs of the mean over classes.
    """

    name: str
    train_loss: tuple[float, ...]
    validation_loss: tuple[float, ...]
    learning_rate: tuple[float, ...]
    seconds: tuple[float, ...]
    pseudo_dice: Mapping[str, tuple[float, ...]]
    mean_pseudo_dice: tuple[float, ...]


@dataclass(frozen=True)
class Scores:
    """Scores of cases.

    Attributes
    ----------
    heading
        What was scored.
    metrics
        Metrics; cases are ranked by the first one.
    class_names, cases
        Names.
    values
        Scores, (cases, classes, metrics), NaN where a class is not applicable.
    notes
        Remarks on how the scores were computed.
    objects
        For an evaluation of objects, their numbers in each case, by ``evaluate_instances.NUMBERS``.
    label_values
        Value of each class that is known to have one, in label maps.
    """

    heading: str
    metrics: tuple[Metric, ...]
    class_names: tuple[str, ...]
    cases: tuple[str, ...]
    values: np.ndarray
    notes: tuple[str, ...] = ()
    objects: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    label_values: Mapping[str, int] = field(default_factory=dict)

    def case_means(self) -> dict[str, float]:
        """Return the mean over classes of the first metric for each case that has one."""
        if not self.metrics:
            return {}
        return {
            case: float(np.nanmean(row))
            for case, row in zip(self.cases, self.values[:, :, 0], strict=True)
            if not np.isnan(row).all()
        }


@dataclass(frozen=True)
class SummaryRow:
    """Mean and 95 % interval (None where there is none) of each metric of a class."""

    name: str
    num_cases: int
    means: tuple[float, ...]
    intervals: tuple[tuple[float, float] | None, ...]


@dataclass(frozen=True)
class Slice:
    """One picture of a case.

    Attributes
    ----------
    index
        Index of the slice in its volume; 0 for a flat image.
    image
        uint8, (y, x, 3).
    truth, prediction
        Label values, (y, x); None if there is no such file.
    uncertainty
        0 (certain) to 1, (y, x), or None.
    true_objects, objects
        Values that tell neighbouring objects apart, see ``report.objects``; at any scale, or None.
    object_errors
        1 plus the index in ``evaluation.object_errors.ERRORS``, at any scale, or None.
    """

    index: int
    image: np.ndarray
    truth: np.ndarray | None = None
    prediction: np.ndarray | None = None
    uncertainty: np.ndarray | None = None
    true_objects: np.ndarray | None = None
    objects: np.ndarray | None = None
    object_errors: np.ndarray | None = None


@dataclass(frozen=True)
class CasePictures:
    """A case to be shown.

    Attributes
    ----------
    name
        Name of the case.
    rank
        Reason for showing it: ``worst``, ``median`` or ``best``.
    score
        Its score as text.
    slices
        Slices, in order; several for a volume.
    aspect
        Height of a pixel divided by its width.
    note
        Remark on what was left out or scaled down.
    edges
        Directions at the left, right, top and bottom, as one letter each; empty if the image has no
        orientation.
    errors
        Number of errors of objects of each kind in ``evaluation.object_errors.ERRORS``.
    """

    name: str
    rank: str
    score: str
    slices: tuple[Slice, ...]
    aspect: float = 1.0
    note: str = ""
    edges: tuple[str, ...] = ()
    errors: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Confusion:
    """Pixels of each true class (rows) by predicted class (columns); row and column 0 are the background."""

    names: tuple[str, ...]
    counts: np.ndarray
    num_cases: int


@dataclass(frozen=True)
class ReliabilityCurve:
    """Accuracy of predictions by their confidence; a point for each non-empty bin.

    Attributes
    ----------
    confidence, accuracy
        Mean of each bin, from 0 to 1.
    counts
        Number of predictions in each bin.
    expected_calibration_error
        Mean absolute difference of both over all predictions.
    """

    confidence: tuple[float, ...]
    accuracy: tuple[float, ...]
    counts: tuple[int, ...]
    expected_calibration_error: float


@dataclass(frozen=True)
class CalibrationSummary:
    """The calibration of a fold.

    Attributes
    ----------
    name
        Name of the fold.
    temperature
        Divisor of the logits.
    quality_exponent
        Exponent of the agreement of the ensemble members that estimates the Dice; None if it is not known.
    before, after
        Calibration of all pixels without and with the temperature.
    structures_before, structures_after
        The same for pixels where the model gives structures a probability of 1 % or more.
    qualities
        Estimated and true mean Dice of each case; the estimate uses an exponent from other cases.
    """

    name: str
    temperature: float
    quality_exponent: float | None
    before: ReliabilityCurve
    after: ReliabilityCurve
    structures_before: ReliabilityCurve
    structures_after: ReliabilityCurve
    qualities: Mapping[str, tuple[float, float]]


@dataclass(frozen=True)
class PredictedCase:
    """Record of a predicted case; None where nothing was recorded.

    Attributes
    ----------
    name
        Name of the case.
    seconds
        Time taken.
    quality
        Estimated Dice, from 0 to 1.
    mean_entropy
        Mean entropy of its pixels, from 0 (certain) to 1.
    """

    name: str
    seconds: float | None
    quality: float | None
    mean_entropy: float | None


@dataclass(frozen=True, eq=False)
class ObjectOverview:
    """The objects of a folder of predictions.

    Attributes
    ----------
    columns, rows
        Table of the first objects, as texts.
    counts
        Number of objects of each case.
    sizes
        Area or volume of every object.
    size_column
        The column that holds them.
    unit
        Their unit: px, voxels, µm² or µm³.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    counts: Mapping[str, int]
    sizes: np.ndarray
    size_column: str
    unit: str


@dataclass(frozen=True)
class Report:
    """All contents of a report; empty parts are left out, and ``missing`` gives the reasons.

    Attributes
    ----------
    title, subtitle
        Title and subtitle of the page.
    classes
        Label value of each class, which determines its colour.
    facts
        Tables about the training, its data and its software.
    curves
        Curves of each training.
    scores
        Scores, and the summary of each class.
    cases
        Cases to be shown, worst first.
    confusion
        Confusion matrix.
    calibrations
        Calibration of each calibrated fold.
    predicted
        Records of the predicted cases.
    objects
        The objects of the predictions.
    failures
        Failures, and their reasons.
    missing
        Parts that the report could not show, and how to add them.
    notes
        Limits of the report.
    """

    title: str
    subtitle: str = ""
    classes: Mapping[str, int] = field(default_factory=dict)
    facts: tuple[Facts, ...] = ()
    curves: tuple[TrainingCurves, ...] = ()
    scores: Scores | None = None
    summary: tuple[SummaryRow, ...] = ()
    cases: tuple[CasePictures, ...] = ()
    confusion: Confusion | None = None
    calibrations: tuple[CalibrationSummary, ...] = ()
    predicted: tuple[PredictedCase, ...] = ()
    objects: ObjectOverview | None = None
    failures: tuple[tuple[str, str], ...] = ()
    missing: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
