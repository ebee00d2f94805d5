"""What a report shows, as plain data: whoever collects it knows the files, the report knows only this."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from swin_umamba.metric_table import Metric


@dataclass(frozen=True)
class Facts:
    """A table of names and values under a heading."""

    heading: str
    rows: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class TrainingCurves:
    """What a training logged; NaN where it has no number.

    Attributes
    ----------
    name
        Name of the training, such as its fold.
    train_loss, validation_loss, learning_rate, seconds
        One number for each epoch.
    pseudo_dice
        Class name to one number for each epoch.
    mean_pseudo_dice
        The moving average over epochs of the mean over classes.
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
        The first is the one that cases are ranked by.
    class_names, cases
        Names.
    values
        (cases, classes, metrics), NaN where a class is not applicable.
    notes
        Remarks on how they came about.
    """

    heading: str
    metrics: tuple[Metric, ...]
    class_names: tuple[str, ...]
    cases: tuple[str, ...]
    values: np.ndarray
    notes: tuple[str, ...] = ()

    def case_means(self) -> dict[str, float]:
        """Return the mean over classes of the first metric, of each case that has any."""
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
    """

    index: int
    image: np.ndarray
    truth: np.ndarray | None
    prediction: np.ndarray | None
    uncertainty: np.ndarray | None = None


@dataclass(frozen=True)
class CasePictures:
    """A case to look at.

    Attributes
    ----------
    name
        Name of the case.
    rank
        Why it is shown: ``worst``, ``median`` or ``best``.
    score
        Its score as text.
    slices
        In order; several of a volume.
    aspect
        Height of a pixel divided by its width.
    note
        What was left out or made smaller.
    edges
        What is at the left, right, top and bottom, as one letter each; empty where the image does not say.
    """

    name: str
    rank: str
    score: str
    slices: tuple[Slice, ...]
    aspect: float = 1.0
    note: str = ""
    edges: tuple[str, ...] = ()


@dataclass(frozen=True)
class Confusion:
    """Pixels of each true class (rows) by predicted class (columns); row and column 0 are the background."""

    names: tuple[str, ...]
    counts: np.ndarray
    num_cases: int


@dataclass(frozen=True)
class ReliabilityCurve:
    """How often predictions of a confidence are right; a point for each bin of confidence that has any.

    Attributes
    ----------
    confidence, accuracy
        Means of each bin, from 0 to 1.
    counts
        Predictions in each bin.
    expected_calibration_error
        Mean distance of both over all predictions.
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
        What logits are divided by.
    quality_exponent
        Exponent of the agreement of the ensemble members that estimates the Dice; None if it is not known.
    before, after
        Without and with it, of all pixels.
    structures_before, structures_after
        The same where the model gives structures a probability of 1 % or more.
    qualities
        Estimated and true mean Dice of each case; estimated with the exponent of other cases.
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
    """What predict recorded of a case; None where it has not.

    Attributes
    ----------
    name
        Name of the case.
    seconds
        Time taken.
    quality
        Estimated, from 0 to 1.
    mean_entropy
        Mean entropy of its pixels, from 0 (certain) to 1.
    """

    name: str
    seconds: float | None
    quality: float | None
    mean_entropy: float | None


@dataclass(frozen=True)
class Report:
    """Everything that a report shows; what is empty is left out, and ``missing`` says why.

    Attributes
    ----------
    title, subtitle
        Title and subtitle of the page.
    classes
        Class name to label value, which decides its colour.
    facts
        Tables of what was trained on what, and with what.
    curves
        One for each training.
    scores
        Scores, and the summary of each class.
    cases
        Cases to look at, worst first.
    confusion
        Confusion matrix.
    calibrations
        One for each calibrated fold.
    predicted
        What predict recorded of the cases.
    failures
        What failed, and why.
    missing
        What the report could not show, and how to add it.
    notes
        What bounds the report.
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
    failures: tuple[tuple[str, str], ...] = ()
    missing: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
