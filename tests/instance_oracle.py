"""Scores of instance maps by cellpose and StarDist, written to ``instance_oracle.json`` beside this file.

Run it where both are installed (no weights, no TensorFlow): ``python tests/instance_oracle.py``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

ORACLE = Path(__file__).with_suffix(".json")
THRESHOLDS = [percent / 100 for percent in range(50, 100, 5)]
NUM_PAIRS = 4


def map_pair(number: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a reference and a prediction: ellipses, some moved, merged, split, missed or of nothing."""
    state = 12345 + 977 * number

    def draw(most: int) -> int:  # the same on every platform and in every version
        nonlocal state
        state = (1103515245 * state + 12345) % 2**31
        return (state >> 12) % most

    maps = np.zeros((2, 90, 110), np.uint16)
    y, x = np.mgrid[:90, :110]
    maps[:, 80:88, 96:104] = 50
    for label in range(1, 13 + number):
        centre, axes = (draw(90), draw(110)), (4 + draw(7), 4 + draw(7))
        for index, moved in enumerate((0, draw(4))):
            inside = ((y - centre[0] - moved) / axes[0]) ** 2 + ((x - centre[1] + moved) / axes[1]) ** 2 <= 1
            maps[index][inside & (maps[index] == 0)] = label
    prediction = maps[1]
    prediction[prediction == 2] = 0  # missed
    prediction[prediction == 4] = 3  # merged
    prediction[(prediction == 50) & (x < 100)] = 60  # split in halves: a tie at an IoU of 0.5
    prediction[:3, :3] = 61  # of nothing
    return numbered(maps[0]), numbered(prediction)


def numbered(labels: np.ndarray) -> np.ndarray:
    """Return the map with numbers from 1 without gaps, as both packages need them."""
    return np.unique(labels, return_inverse=True)[1].reshape(labels.shape).astype(np.uint16)


def scores_of_cellpose(reference: np.ndarray, prediction: np.ndarray) -> dict[str, Any]:
    """Return the AP at all thresholds, and AJI+."""
    from cellpose import metrics

    average, matches, _, _ = metrics.average_precision([reference], [prediction], threshold=THRESHOLDS)
    (aji_plus,) = metrics.aggregated_jaccard_index([reference], [prediction])
    return {"ap": average[0].tolist(), "matches": matches[0].tolist(), "aji_plus": float(aji_plus)}


def scores_of_stardist(reference: np.ndarray, prediction: np.ndarray) -> list[dict[str, float]]:
    """Return the scores at each threshold."""
    from stardist.matching import matching

    keys = ("precision", "recall", "accuracy", "f1", "panoptic_quality")
    found = (matching(reference, prediction, thresh=threshold) for threshold in THRESHOLDS)
    return [{key: float(getattr(each, key)) for key in keys} for each in found]


def main() -> None:
    """Write the file."""
    pairs = [map_pair(number) for number in range(NUM_PAIRS)]
    rows = [{"cellpose": scores_of_cellpose(*pair), "stardist": scores_of_stardist(*pair)} for pair in pairs]
    ORACLE.write_text("[\n" + ",\n".join(map(json.dumps, rows)) + "\n]\n")


if __name__ == "__main__":
    main()
