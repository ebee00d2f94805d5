"""Time the evaluation: instance scores of cell pictures, and Dice, NSD and HD95 of a volume with 13 organs.

    python benchmarks/evaluation.py                # both, 2 processes, about ten seconds
    python benchmarks/evaluation.py --workers 1
    python benchmarks/evaluation.py --json > evaluation.json

A correctness gate comes first: predictions equal to the reference score 1, a shifted one what it must, and
instance matches agree with a dense assignment; nothing is timed if one is off. The data are made in each
time: touching cells, organs with stray voxels far away (which make the boxes around them as large as the
image). Timed is the whole evaluation, from files on disk to the means.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from pathlib import Path

import nibabel
import numpy as np
import tifffile
from PIL import Image as PillowImage
from scipy import ndimage
from scipy.optimize import linear_sum_assignment

from frame import load_of_machine, parser_of, say
from swin_umamba.data.instance_labels import classes_to_instances, instances_to_classes
from swin_umamba.evaluation.evaluate import evaluate_folders
from swin_umamba.evaluation.evaluate_protocol import evaluate_protocol
from swin_umamba.evaluation.instances import count_matches, measure_overlap, score_instances
from swin_umamba.evaluation.metrics import MaskPair, dice
from swin_umamba.evaluation.protocols.abdomen_mr import AbdomenMR
from swin_umamba.evaluation.protocols.microscopy import Microscopy

PICTURES, PICTURE_SIDE, CELLS = 100, 512, 200
VOLUME_SHAPE, VOLUME_SPACING = (100, 320, 320), (3.0, 1.2, 1.2)
LIMIT_SECONDS = 20.0


def cell_picture(rng: np.random.Generator, side: int = PICTURE_SIDE, cells: int = CELLS) -> np.ndarray:
    """Return discs around random centres, cut where they meet: many touch."""
    centres = np.zeros((side, side), np.int32)
    places = rng.choice(side * side, cells, replace=False)
    centres.ravel()[places] = np.arange(1, cells + 1)
    distance, nearest = ndimage.distance_transform_edt(centres == 0, return_indices=True)
    return np.where(distance < 17, centres[tuple(nearest)], 0).astype(np.uint16)


def organ_volume(rng: np.random.Generator, shape: tuple[int, int, int] = VOLUME_SHAPE) -> np.ndarray:
    """Return 13 ellipsoids, some as large as a liver, with stray voxels of each organ anywhere."""
    labels = np.zeros(shape, np.uint8)
    grid = np.ogrid[tuple(slice(0, size) for size in shape)]
    for organ in range(13, 0, -1):
        radii = [size * (0.30 if organ == 1 else rng.uniform(0.06, 0.16)) for size in shape]
        centre = [rng.uniform(0.3, 0.7) * size for size in shape]
        inside = sum(((g - c) / r) ** 2 for g, c, r in zip(grid, centre, radii, strict=True)) < 1
        labels[inside] = organ
    for organ in range(1, 14):
        labels[tuple(rng.integers(0, size, 5) for size in shape)] = organ
    return labels


def gate(rng: np.random.Generator) -> None:
    """Raise unless scores are what they must be."""
    instances = cell_picture(rng, 256, 60)
    assert set(score_instances(instances, instances).values()) == {1.0}
    found = classes_to_instances(instances_to_classes(np.roll(instances, 3, axis=0)))
    ious = np.array(
        [
            [
                ((instances == r) & (found == p)).sum() / ((instances == r) | (found == p)).sum()
                for p in np.unique(found)[1:]
            ]
            for r in np.unique(instances)[1:]
        ]
    )
    rows, columns = linear_sum_assignment(-(ious >= 0.5).astype(float))
    assert count_matches(measure_overlap(found, instances), 0.5) == (ious[rows, columns] >= 0.5).sum()
    box = np.zeros((20, 30, 30), bool)
    box[4:12, 5:20, 5:20] = True
    moved = np.roll(box, 1, axis=0)
    assert dice(moved, box) == 7 / 8
    assert abs(MaskPair(moved, box, VOLUME_SPACING).hd95() - 3) < 1e-9
    assert (
        MaskPair(moved, box, VOLUME_SPACING, 3.0).nsd() == 1 > MaskPair(moved, box, VOLUME_SPACING, 2.9).nsd()
    )


def time_cells(folder: Path, rng: np.random.Generator, workers: int) -> dict[str, float]:
    """Return the seconds of the microscopy protocol, both forms, and the F1 found."""
    for name in ("predicted", "truth"):
        (folder / name).mkdir(parents=True)
    for number in range(PICTURES):
        instances = cell_picture(rng)
        classes = instances_to_classes(np.roll(instances, 1, axis=1))
        PillowImage.fromarray(classes).save(folder / "predicted" / f"{number}.png")
        tifffile.imwrite(folder / "truth" / f"{number}_label.tiff", instances)
    start = time.perf_counter()
    result = evaluate_protocol(folder / "predicted", folder / "truth", Microscopy(), num_workers=workers)
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "f1": result.forms["corrected"].mean("f1") or 0.0}


def time_volume(folder: Path, rng: np.random.Generator) -> dict[str, float]:
    """Return the seconds of Dice, NSD and HD95 of 13 organs, and of both forms of the protocol."""
    affine = np.diag([*VOLUME_SPACING[::-1], 1.0])
    truth = organ_volume(rng)
    for name, labels in (("predicted", np.roll(truth, (1, 2, -3), axis=(0, 1, 2))), ("truth", truth)):
        (folder / name).mkdir(parents=True)
        nibabel.save(nibabel.Nifti1Image(labels.transpose(2, 1, 0), affine), folder / name / "a.nii.gz")
    start = time.perf_counter()
    result = evaluate_folders(folder / "predicted", folder / "truth")
    seconds = time.perf_counter() - start
    start = time.perf_counter()
    evaluate_protocol(folder / "predicted", folder / "truth", AbdomenMR())
    both_forms = time.perf_counter() - start
    return {"seconds": seconds, "protocol_seconds": both_forms, "dice": result.mean("dice") or 0.0}


def main() -> int:
    """Run the gate, make the data, time, and print; 1 if a limit is exceeded."""
    parser = parser_of(__doc__)
    parser.add_argument("--workers", type=int, default=2, help="processes for the cell pictures (default: 2)")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON on stdout")
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    gate(rng)
    say("gate passed")
    with tempfile.TemporaryDirectory() as folder:
        cells = time_cells(Path(folder) / "cells", rng, args.workers)
        volume = time_volume(Path(folder) / "volume", rng)
    load = load_of_machine()
    say(f"{PICTURES} pictures of {PICTURE_SIDE} x {PICTURE_SIDE} with {CELLS} cells, workers: {args.workers}")
    say(f"  microscopy protocol, both forms  {cells['seconds']:6.2f} s   (F1 {cells['f1']:.3f})")
    say("volume of 320 x 320 x 100 with 13 organs, one process:")
    say(f"  Dice, NSD and HD95               {volume['seconds']:6.2f} s   (Dice {volume['dice']:.3f})")
    say(f"  abdominal protocol, both forms   {volume['protocol_seconds']:6.2f} s")
    say(f"limit {LIMIT_SECONDS:.0f} s each; load of the machine {load:.1f} on {os.cpu_count()} cores")
    if args.json:
        print(json.dumps({"cells": cells, "volume": volume, "load": load}, indent=2))
    seconds = (cells["seconds"], volume["seconds"], volume["protocol_seconds"])
    return 0 if max(seconds) < LIMIT_SECONDS else 1


if __name__ == "__main__":
    sys.exit(main())
