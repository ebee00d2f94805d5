"""Pixels sampled from labelled cases, to calibrate a model and to measure its calibration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from swin_umamba.confidence.temperature import Reliability, fit_temperature, reliability, tempered

POSSIBLE = 0.01


@dataclass(frozen=True)
class LabelledPixels:
    """Pixels with a model's probabilities and the truth.

    Attributes
    ----------
    probabilities
        ``(classes, pixels)``, float32.
    truth
        ``(pixels,)``, index of the true class; for regions ``(regions, pixels)``, booleans.
    near_structure
        ``(pixels,)`` whether the model gives any structure a probability of at least ``POSSIBLE`` there. The
        truth must not matter: otherwise all misses would be counted but not all hits, and a well calibrated
        model would look badly calibrated.
    """

    probabilities: np.ndarray
    truth: np.ndarray
    near_structure: np.ndarray

    @property
    def independent(self) -> bool:
        """Whether the classes are regions."""
        return self.truth.ndim == 2

    def near_structures(self) -> LabelledPixels:
        """Return only the pixels near structures."""
        kept = self.near_structure
        return LabelledPixels(self.probabilities[:, kept], self.truth[..., kept], kept[kept])

    def tempered(self, temperature: float) -> LabelledPixels:
        """Return the pixels with the probabilities that follow from dividing the logits by a temperature."""
        scaled = tempered(self.probabilities, temperature, independent=self.independent)
        return LabelledPixels(scaled, self.truth, self.near_structure)

    def reliability(self) -> Reliability:
        """Return how often predictions of each confidence are right."""
        return reliability(self.probabilities, self.truth, independent=self.independent)


@dataclass(frozen=True)
class CalibrationCurves:
    """Relation of confidence and accuracy before and after a calibration.

    Attributes
    ----------
    before, after
        Reliability over all pixels.
    structures_before, structures_after
        Reliability near structures; the easy background would hide their error.
    """

    before: Reliability
    after: Reliability
    structures_before: Reliability
    structures_after: Reliability


def draw_pixels(
    probabilities: np.ndarray,
    labels: np.ndarray,
    classes: Mapping[str, tuple[int, ...]],
    *,
    regions: bool,
    ignore: int | None,
    number: int,
    random: np.random.Generator,
) -> LabelledPixels:
    """Sample annotated pixels of a case uniformly.

    Parameters
    ----------
    probabilities
        ``(classes, *shape)``, float32.
    labels
        ``shape``, integers.
    classes
        Label values of each foreground class or region, in the order of the probabilities.
    regions
        Whether these are regions; otherwise the label value is the index of the class.
    ignore
        Label of pixels without annotation.
    number
        Largest number of pixels to sample.
    random
        Generator that decides which.
    """
    flat = labels.ravel()
    known = np.flatnonzero(flat != ignore) if ignore is not None else np.arange(flat.size)
    places = random.choice(known, min(number, known.size), replace=False)
    chosen, truth = probabilities.reshape(len(probabilities), -1)[:, places], flat[places].astype(np.int64)
    if regions:
        masks = np.stack([np.isin(truth, values) for values in classes.values()])
        return LabelledPixels(chosen, masks, chosen.max(axis=0) >= POSSIBLE)
    return LabelledPixels(chosen, truth, chosen[0] <= 1 - POSSIBLE)


def joined(parts: Sequence[LabelledPixels]) -> LabelledPixels:
    """Return the pixels of several cases together."""
    return LabelledPixels(
        np.concatenate([each.probabilities for each in parts], axis=1),
        np.concatenate([each.truth for each in parts], axis=-1),
        np.concatenate([each.near_structure for each in parts]),
    )


def temperature_of(parts: Sequence[LabelledPixels]) -> float:
    """Return the temperature that makes the truth of all cases most likely."""
    pixels = joined(parts)
    return fit_temperature(pixels.probabilities, pixels.truth, independent=pixels.independent)


def calibration_curves(parts: Sequence[LabelledPixels]) -> CalibrationCurves:
    """Measure the calibration of a model, without and with a temperature.

    Each half of the cases is judged with the temperature of the other half, so that no case is judged with
    one fitted to it, except a single case.

    Parameters
    ----------
    parts
        Pixels of each case.
    """
    halves = [parts[::2], parts[1::2]] if len(parts) > 1 else [parts]
    temperatures = [temperature_of(half) for half in halves][::-1]
    before = joined([each for half in halves for each in half])
    after = joined(
        [
            each.tempered(temperature)
            for half, temperature in zip(halves, temperatures, strict=True)
            for each in half
        ]
    )
    return CalibrationCurves(
        before.reliability(),
        after.reliability(),
        before.near_structures().reliability(),
        after.near_structures().reliability(),
    )
