"""Compare ways to find objects: the paper's classes, the depth within objects, and stock nnU-Net.

    python benchmarks/objects.py --data Dataset910_NucleiDSB -o objects

``--data`` is a raw data set folder with instance maps in ``instancesTr`` and ``instancesTs``. All networks
take the same number of steps on the same fold; the decoding is fitted on the fold's validation cases, and the
test cases are predicted without mirroring. Each training is kept, so that a stopped comparison goes on where
it was. With the defaults and two cores it takes one to two hours.

The rows are the paper's representation (background, interior, boundary) with the published decoding
(connected interiors), the same predictions with our decoding, our second representation (with the depth
within objects), and nnU-Net's own network with our decoding. The last column counts pairs of touching objects
of which both were found. Intervals are 95 % paired bootstrap intervals over cases and seeds of the difference
from the first row. Ceilings come from the true maps, decoded as if a network had predicted them. Before them,
two ellipses that overlap more and more show what is lost when no boundary is seen between them.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from swin_umamba.data.image_io import image_stem, list_images, read_labels
from swin_umamba.data.instance_labels import INTERIOR, instances_to_classes, interior_components
from swin_umamba.evaluation.bootstrap import mean_score, paired_interval
from swin_umamba.evaluation.instances import measure_overlap, scores_of
from swin_umamba.instances.decoding import Decoding, ObjectClasses
from swin_umamba.instances.targets import depths_of
from swin_umamba.trainer_names import NNUNET, SWIN_UMAMBA_D_OBJECTS, SWIN_UMAMBA_D_SCRATCH

NAME = "Dataset001_Objects"
EPOCHS = 6
ENDING = "_label"
"""Ending of the true maps' names after those of their cases."""
MATCH = 0.5
METRICS = ("f1", "ap", "count_error")


@dataclass(frozen=True)
class Way:
    """A row of the table: a trainer, and whether its interiors alone are the objects."""

    title: str
    trainer: str
    published: bool = False


WAYS = (
    Way("paper's classes, published decoding", SWIN_UMAMBA_D_SCRATCH, published=True),
    Way("paper's classes, our decoding", SWIN_UMAMBA_D_SCRATCH),
    Way("with depth, our decoding", SWIN_UMAMBA_D_OBJECTS),
    Way("nnU-Net, our decoding", NNUNET),
)


def touching_pairs(truth: np.ndarray) -> np.ndarray:
    """Return the pairs of numbers of objects that share an edge, ``(pairs, 2)``."""
    found = []
    for first, second in ((truth[1:], truth[:-1]), (truth[:, 1:], truth[:, :-1])):
        both = (first != second) & (first > 0) & (second > 0)
        found.append(np.sort(np.stack([first[both], second[both]], axis=1), axis=1))
    return np.unique(np.concatenate(found), axis=0)


def kept_apart(found: np.ndarray, truth: np.ndarray) -> tuple[int, int]:
    """Return how many pairs of touching objects have a match (IoU of 0.5) each, and how many there are."""
    pairs = touching_pairs(truth)
    overlap = measure_overlap(found, truth)
    numbers = np.unique(truth[truth > 0])
    matched = numbers[np.unique(overlap.pairs[0, overlap.ious > MATCH])]
    return int(np.isin(pairs, matched).all(axis=1).sum()), len(pairs)


def scores(found: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Return the scores of one case."""
    overlap = measure_overlap(found, truth)
    apart, pairs = kept_apart(found, truth)
    ours = scores_of(overlap)
    error = abs(overlap.num_prediction - overlap.num_reference) / max(overlap.num_reference, 1)
    return {"f1": ours["f1"], "ap": ours["ap"], "count_error": error, "apart": apart, "pairs": pairs}


def gate() -> None:
    """Raise unless two touching squares are a pair, kept apart by the truth and not by their union."""
    truth = np.zeros((20, 40), np.uint16)
    truth[4:16, 4:16], truth[4:16, 16:28] = 7, 3
    assert touching_pairs(truth).tolist() == [[3, 7]]
    assert kept_apart(truth, truth) == (1, 1)
    assert kept_apart((truth > 0).astype(np.uint16), truth) == (0, 1)
    assert scores((truth > 0).astype(np.uint16), truth)["count_error"] == 0.5


def run(out: Path, seed: int, *words: str | Path | int) -> None:
    """Run a command of ours with nnU-Net's folders for a seed; show the end of the log if it fails."""
    command = [sys.executable, "-m", "swin_umamba", *map(str, words)]
    log, shared = out / "log.txt", {"nnUNet_raw": out / "raw", "nnUNet_preprocessed": out / "preprocessed"}
    folders = {**shared, "nnUNet_results": out / f"results_{seed}"}
    print("  ", *command[2:], flush=True)
    with log.open("a") as file:
        environment = os.environ | {name: str(path.resolve()) for name, path in folders.items()}
        if subprocess.run(command, stdout=file, stderr=file, env=environment).returncode:
            sys.exit(f"{log.read_text()[-2000:]}\nfailed: see {log}")


def prepare(args: argparse.Namespace) -> None:
    """Convert and plan the training cases."""
    out = args.output
    if not (out / "raw" / NAME / "dataset.json").is_file():
        pictures = ("--images", args.data / "imagesTr", "--masks", args.data / "instancesTr")
        run(out, 0, "convert", "folder", *pictures, "--instances", "--name", NAME, "-o", out / "raw" / NAME)
    if not (out / "planned").exists():
        run(out, 0, "plan", NAME)
        (out / "planned").touch()


def predictions(args: argparse.Namespace, trainer: str, seed: int) -> Path:
    """Train, fit the decoding, and predict the test cases; return the folder of the predictions."""
    out, target = args.output, args.output / f"predictions_{seed}" / trainer
    model = out / f"results_{seed}" / NAME / f"{trainer}__SwinUMambaPlans__2d"
    if (target / "objects.csv").is_file():
        return target
    steps = ("--epochs", EPOCHS, "--iterations", args.steps // EPOCHS, "--validation-iterations", 5)
    sizes = ("--patch-size", args.patch_size, args.patch_size, "--batch-size", args.batch_size)
    same = ("--schedule", "annealed", "--seed", seed, "--workers", 1, "--skip-validation")
    start = ("--pretrained", "none") if trainer == SWIN_UMAMBA_D_OBJECTS else ()
    if not (model / "fold_0" / "checkpoint_final.pth").is_file():
        again = ("--continue",) if list(model.glob("fold_0/checkpoint*")) else ()
        run(out, seed, "train", NAME, "--trainer", trainer, *steps, *sizes, *same, *start, *again)
    run(out, seed, "calibrate", "-m", model, "--fold", 0, "--no-mirroring")
    test = ("-i", args.data / "imagesTs", "-o", target, "--fold", 0, "--no-mirroring")
    run(out, seed, "predict", "-m", model, *test, "--instances")
    return target


def ceilings(truths: Mapping[str, np.ndarray]) -> dict[str, list[dict[str, float]]]:
    """Return the scores of perfect class maps and depths."""
    classes = ObjectClasses({1: "object"}, 2)
    decoders: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "perfect classes, published decoding": lambda truth: interior_components(instances_to_classes(truth))[
            0
        ],
        "perfect classes, our decoding": lambda truth: classes.decode(
            instances_to_classes(truth), Decoding()
        )[0],
        "perfect classes and depth": lambda truth: classes.decode(
            instances_to_classes(truth, min_interior_size=1), Decoding(), depth=depths_of(truth)
        )[0],
    }
    return {
        title: [scores(decode(truth), truth) for truth in truths.values()]
        for title, decode in decoders.items()
    }


def found_by(way: Way, folder: Path, case: str) -> np.ndarray:
    """Return the instance map of a case."""
    if way.published:
        path = next(each for each in list_images(folder) if image_stem(each) == case)
        return interior_components(read_labels(path).data[0])[0]
    return read_labels(folder / "instances" / f"{case}.tif").data[0]


def show(table: Mapping[str, np.ndarray], pairs: Mapping[str, tuple[int, int]]) -> str:
    """Return the table; scores are (seeds, cases, metrics)."""
    lines = ["| way | F1 at 0.5 | AP at 0.5 | count error | touching pairs apart |", "| --- " * 5 + "|"]
    first = next(iter(table.values()))
    for title, values in table.items():
        cells = []
        for index in range(len(METRICS)):
            one = values[..., index : index + 1]
            cell = f"{mean_score(one):.3f}"
            interval = None if values is first else paired_interval(one, first[..., index : index + 1])
            if interval is not None:
                cell += f" ({interval.difference:+.3f} [{interval.low:+.3f}, {interval.high:+.3f}])"
            cells.append(cell)
        apart, total = pairs[title]
        lines.append("| " + " | ".join([title, *cells, f"{apart} of {total}"]) + " |")
    return "\n".join(lines)


def ellipses(gap: float, angle: float, size: int = 96) -> tuple[np.ndarray, np.ndarray]:
    """Return two ellipses of half axes 20 and 15, and how far each pixel is from the line between them."""
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    truth = np.zeros((size, size), int)
    for number, side in ((1, -1), (2, 1)):
        inside = ((along - side * (15 + gap / 2)) / 15) ** 2 + (across / 20) ** 2 < 1
        truth[inside & (along * side > 0)] = number
    return truth, np.abs(along)


def gaps() -> str:
    """Return the table of the mean IoU of two ellipses against the gap between them, over three angles."""
    titles = ("perfect classes", "no boundary seen", "cut at necks 10 apart", "with depth")
    lines = ["| gap | " + " | ".join(titles) + " |", "| ---: " * 5 + "|"]
    classes = ObjectClasses({1: "object"}, 2)
    for gap in (6, 4, 2, 0, -4, -8, -12, -16):
        rows = []
        for angle in (0.0, 0.4, 1.1):
            truth, from_line = ellipses(gap, angle)
            perfect = instances_to_classes(truth)
            lost, depth = perfect.copy(), depths_of(truth)
            inside = instances_to_classes((truth > 0).astype(int)) == INTERIOR
            lost[(from_line < 6) & inside & (truth > 0)] = INTERIOR
            found = (
                classes.decode(perfect, Decoding()),
                classes.decode(lost, Decoding()),
                classes.decode(lost, Decoding(split_distance=10)),
                classes.decode(lost, Decoding(), depth=depth),
            )
            rows.append([mean_iou(instances, truth) for instances, _ in found])
        lines.append(f"| {gap} | " + " | ".join(f"{value:.3f}" for value in np.mean(rows, axis=0)) + " |")
    return "\n".join(lines)


def mean_iou(found: np.ndarray, truth: np.ndarray) -> float:
    """Return the mean over true objects of the best IoU with a found one."""
    overlap = measure_overlap(found, truth)
    best = np.zeros(overlap.num_reference)
    np.maximum.at(best, overlap.pairs[0], overlap.ious)
    return float(best.mean())


def add_up(rows: list[list[dict[str, float]]]) -> tuple[np.ndarray, tuple[int, int]]:
    """Return scores (seeds, cases, metrics), and the pairs kept apart of all pairs."""
    values = np.array([[[case[metric] for metric in METRICS] for case in cases] for cases in rows])
    apart, pairs = (int(sum(case[key] for cases in rows for case in cases)) for key in ("apart", "pairs"))
    return values, (apart, pairs)


def main() -> None:
    """Train, predict, score, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="raw data set folder with instance maps")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder for everything")
    parser.add_argument("--steps", type=int, default=600, help="steps of each training")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--patch-size", type=int, default=128)
    parser.add_argument("--batch-size", type=int, default=4)
    args = parser.parse_args()
    gate()
    args.output.mkdir(parents=True, exist_ok=True)
    print(gaps(), end="\n\n")
    truths = {
        image_stem(path).removesuffix(ENDING): read_labels(path).data[0]
        for path in list_images(args.data / "instancesTs")
    }
    prepare(args)
    rows: dict[str, list[list[dict[str, float]]]] = {way.title: [] for way in WAYS}
    for seed in args.seeds:
        for way in WAYS:
            folder = predictions(args, way.trainer, seed)
            rows[way.title].append(
                [scores(found_by(way, folder, case), truth) for case, truth in truths.items()]
            )
    for found in ({title: [cases] for title, cases in ceilings(truths).items()}, rows):
        summed = {title: add_up(cases) for title, cases in found.items()}
        print(show({k: v[0] for k, v in summed.items()}, {k: v[1] for k, v in summed.items()}), end="\n\n")
    (args.output / "scores.json").write_text(json.dumps({"cases": list(truths), "scores": rows}))


if __name__ == "__main__":
    main()
