"""Time the way from class maps to objects: decoding, table, outlines, scores.

    python benchmarks/instances.py                # about a minute
    python benchmarks/instances.py --workers 1
    python benchmarks/instances.py --json > instances.json

A correctness gate comes first: cells that a class map keeps apart come back, the table is that of
scikit-image's ``regionprops``, and outlines cover the pixels they came from; nothing is timed if one is off.
Timed are 100 pictures of 512 x 512 with 200 cells, decoded with and without cutting cells at necks, and one
of 4096 x 4096 with 20,000: decoded, measured with three channels, outlined and scored.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial

import numpy as np
from skimage.measure import regionprops

from evaluation import CELLS, PICTURE_SIDE, PICTURES, cell_picture
from frame import load_of_machine, parser_of, say
from swin_umamba.data.instance_labels import classes_to_instances, instances_to_classes
from swin_umamba.evaluation.instances import score_instances
from swin_umamba.instances.outlines import outlines_of
from swin_umamba.instances.table import objects_of
from swin_umamba.instances.tidy import ordered, tidy

LARGE_SIDE, LARGE_CELLS = 4096, 20_000
SPLIT_DISTANCE = 8
LIMITS = {"pictures": 5.0, "pictures_split": 5.0, "large": 15.0, "large_split": 15.0, "scores": 10.0}


def gate(rng: np.random.Generator) -> None:
    """Raise unless decoding, table and outlines are right."""
    squares = np.zeros((60, 60), np.uint16)
    for number, (y, x) in enumerate(np.ndindex(3, 3), start=1):
        squares[y * 20 + 2 : y * 20 + 18, x * 20 + 2 : x * 20 + 18] = number
    for distance in (None, SPLIT_DISTANCE):
        found = classes_to_instances(instances_to_classes(squares), split_distance=distance)
        assert (ordered(found) == squares).all()
    instances = cell_picture(rng, 200, 50)
    image = rng.integers(0, 2**16, (1, 200, 200)).astype(np.uint16)
    table = objects_of(instances, image=image)
    for row, each in enumerate(regionprops(instances, image[0])):
        assert table.number[row] == each.label
        assert table.pixels[row] == each.area
        assert np.allclose(table.centroid[row], each.centroid)
        assert np.isclose(table.eccentricity[row], each.eccentricity, atol=1e-6)
        assert np.isclose(table.mean[row, 0], each.intensity_mean)
    for number, polygons in outlines_of(instances).items():
        rings = [ring for polygon in polygons for ring in polygon]
        areas = [(ring[:-1, 0] * np.diff(ring[:, 1])).sum() for ring in rings]
        assert sum(areas) == (instances == number).sum()


def decode(split_distance: int | None, classes: np.ndarray) -> int:
    """Return how many objects a class map holds."""
    found = classes_to_instances(classes, split_distance=split_distance)
    return int(ordered(tidy(found, min_size=10)).max())


def time_pictures(rng: np.random.Generator, workers: int) -> dict[str, float]:
    """Return the seconds for all pictures, without and with cutting cells at necks."""
    maps = [instances_to_classes(cell_picture(rng)) for _ in range(PICTURES)]
    seconds = {}
    with ProcessPoolExecutor(workers) as pool:
        list(pool.map(partial(decode, None), maps[:workers]))  # processes begin
        for name, distance in (("pictures", None), ("pictures_split", SPLIT_DISTANCE)):
            start = time.perf_counter()
            found = sum(pool.map(partial(decode, distance), maps, chunksize=5))
            seconds[name] = time.perf_counter() - start
            assert found > 0.9 * PICTURES * CELLS
    return seconds


def time_large(rng: np.random.Generator) -> dict[str, float]:
    """Return the seconds for each step on the large picture, in this process alone."""
    truth = cell_picture(rng, LARGE_SIDE, LARGE_CELLS)
    image = rng.integers(0, 256, (3, LARGE_SIDE, LARGE_SIDE)).astype(np.uint8)
    classes = instances_to_classes(truth)
    seconds: dict[str, float] = {}

    def timed(name: str, step: Callable[[], object]) -> object:
        start = time.perf_counter()
        result = step()
        seconds[name] = time.perf_counter() - start
        return result

    for name, distance in (("large", None), ("large_split", SPLIT_DISTANCE)):
        timed(f"{name}_decoding", partial(classes_to_instances, classes, split_distance=distance))
    found = classes_to_instances(classes)
    found = timed("tidy", lambda: ordered(tidy(found, min_size=10)))
    table = timed("table", partial(objects_of, found, image=image))
    assert len(table) == found.max() > 0.9 * LARGE_CELLS
    for name in ("large", "large_split"):
        seconds[name] = seconds[f"{name}_decoding"] + seconds["tidy"] + seconds["table"]
    timed("outlines", partial(outlines_of, found))
    timed("scores", partial(score_instances, found, truth))
    return seconds


def main() -> int:
    """Run the gate, make the data, time, and print; 1 if a limit is exceeded."""
    parser = parser_of(__doc__)
    parser.add_argument("--workers", type=int, default=2, help="processes for the pictures (default: 2)")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON on stdout")
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    gate(rng)
    say("gate passed")
    seconds = time_pictures(rng, args.workers) | time_large(rng)
    load = load_of_machine()
    say(
        f"{PICTURES} pictures of {PICTURE_SIDE} x {PICTURE_SIDE} with {CELLS} cells, {args.workers} workers; "
        f"one of {LARGE_SIDE} x {LARGE_SIDE} with {LARGE_CELLS}, one process"
    )
    for name, value in seconds.items():
        say(f"  {name:22}{value:7.2f} s" + (f"   limit {LIMITS[name]:.0f} s" if name in LIMITS else ""))
    say(f"load of the machine {load:.1f} on {os.cpu_count()} cores")
    if args.json:
        print(json.dumps({"seconds": seconds, "load": load}, indent=2))
    return 0 if all(seconds[name] < limit for name, limit in LIMITS.items()) else 1


if __name__ == "__main__":
    sys.exit(main())
