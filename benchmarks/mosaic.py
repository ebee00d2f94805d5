"""Compare the statistics that normalize a large image, on a mosaic of images whose labels are known.

    python benchmarks/mosaic.py --data DATASET --model MODEL [--empty 0.8] [--background dark]

``DATASET`` is a raw data set folder of pictures with ``imagesTs`` and ``labelsTs``, ``MODEL`` a model of it.
Squares of 256 pixels from all test images with a dark (or bright) background are set into a mosaic, in an
order drawn from a fixed seed, and as many empty ones, of the images' own background colours, that they are
the given fraction of all. The mosaic is predicted in blocks under each ``--statistics``; the foreground's
Dice and that of each class is printed beside that of the images predicted one by one. The gate: with one
image as the mosaic, ``image`` has its labels.
"""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path

import numpy as np

from evaluation import say
from large_images import predicted_in_blocks
from swin_umamba.data.image_io import image_stem, list_images, read_image, read_labels
from swin_umamba.inference.blocks.statistics import Basis
from swin_umamba.inference.predictor import Predictor

SIDE = 256
BRIGHT = 100
BASES: tuple[Basis, ...] = ("image", "tissue", "field")


def squares(data: Path, bright: bool) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return images ``(channels, y, x)`` and labels ``(y, x)``."""
    found = []
    labels = {image_stem(path): path for path in list_images(data / "labelsTs")}
    for path in list_images(data / "imagesTs"):
        image = read_image(path).data
        if (np.median(image) > BRIGHT) == bright and min(image.shape[1:]) >= SIDE:
            truth = read_labels(labels[image_stem(path).removesuffix("_0000")]).data[0]
            found.append((image[:, :SIDE, :SIDE], truth[:SIDE, :SIDE]))
    return found


def mosaic(
    parts: list[tuple[np.ndarray, np.ndarray]], empty: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the mosaic, its labels, and the number of the image at each place, -1 for none."""
    rng = np.random.default_rng(0)
    places = math.ceil(len(parts) / (1 - empty))
    side = math.ceil(math.sqrt(places))
    order = rng.permutation(side * side)
    numbers = np.where(order < len(parts), order, -1).reshape(side, side)
    image = np.empty((len(parts[0][0]), side * SIDE, side * SIDE), np.uint8)
    truth = np.zeros((side * SIDE, side * SIDE), np.uint8)
    for row, column in np.ndindex(side, side):
        y, x = (slice(first * SIDE, (first + 1) * SIDE) for first in (row, column))
        number = numbers[row, column]
        if number >= 0:
            image[:, y, x], truth[y, x] = parts[number]
        else:
            colour = np.median(parts[rng.integers(len(parts))][0], axis=(1, 2))
            noise = rng.integers(-1, 2, (1, SIDE, SIDE))
            image[:, y, x] = np.clip(colour[:, None, None] + noise, 1, 255)
    return image, truth, numbers


def dice(found: np.ndarray, truth: np.ndarray) -> float:
    """Return the Dice of two masks."""
    return float(2 * np.count_nonzero(found & truth) / (np.count_nonzero(found) + np.count_nonzero(truth)))


def line(title: str, found: np.ndarray, truth: np.ndarray, classes: list[int]) -> str:
    """Return a line of the table."""
    numbers = [dice(found > 0, truth > 0), *(dice(found == value, truth == value) for value in classes)]
    return f"| {title} | " + " | ".join(f"{number:.3f}" for number in numbers) + " |"


def main() -> int:
    """Predict the mosaic and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--empty", type=float, default=0.8)
    parser.add_argument("--background", choices=("dark", "bright"), default="dark")
    args = parser.parse_args()
    predictor = Predictor.from_folder(args.model, device="cpu", mirroring=False, postprocessing=False)
    parts = squares(args.data, args.background == "bright")
    first = parts[0][0]
    assert np.array_equal(predicted_in_blocks(predictor, first, "image"), predictor.predict(first).labels)
    image, truth, numbers = mosaic(parts, args.empty)
    say(f"{len(parts)} squares with a {args.background} background in {len(truth)} x {len(truth)} pixels")
    classes = sorted(predictor.plans.label_values.values())
    names = {value: name for name, value in predictor.plans.label_values.items()}
    print("| normalized by | foreground | " + " | ".join(names[value] for value in classes) + " |")
    print("| --- " * (len(classes) + 2) + "|")
    alone = np.zeros_like(truth)
    for row, column in np.ndindex(*numbers.shape):
        if numbers[row, column] >= 0:
            y, x = (slice(first * SIDE, (first + 1) * SIDE) for first in (row, column))
            alone[y, x] = predictor.predict(parts[numbers[row, column]][0]).labels
    print(line("each square by itself", alone, truth, classes))
    for basis in BASES:
        print(line(basis, predicted_in_blocks(predictor, image, basis), truth, classes), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
