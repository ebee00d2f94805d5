"""Measure the prediction of many small images: one by one, overlapping, and by stock nnU-Net's command.

    python benchmarks/many_images.py                                 # some minutes
    python benchmarks/many_images.py --images 200 --network-images 8
    python benchmarks/many_images.py --network-images 0              # without stock nnU-Net

A correctness gate comes first: the files of a folder, probabilities among them, are byte for byte those of
images predicted one after the other, with a stand-in of a network and with SwinUMambaD; nothing is measured
if one is off. Then pictures of 128 x 128 are predicted with the stand-in, which takes next to no time, so
that the rest is left: the cases of a folder one by one, and as ``predict`` does it, in turns. At last stock
nnU-Net's command and ours predict a folder with SwinUMambaD (random weights, mean over mirrored images), each
from its start to its end.
"""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path

from swin_umamba.torch_settings import apply_settings

apply_settings()

import numpy as np
import torch
from PIL import Image as PillowImage

from frame import NNUNET, parser_of, say, timed_command
from prediction_memory import make_predictor
from swin_umamba.data.image_io import read_labels
from swin_umamba.inference.case_run import result_of
from swin_umamba.inference.case_work import CaseWork
from swin_umamba.inference.cases import find_cases, output_paths
from swin_umamba.inference.options import FolderOptions
from swin_umamba.inference.predictor import Predictor
from swin_umamba.inference.records import PredictionRecords
from swin_umamba.nnunet.architecture import PlannedSwinUMambaD, architecture_entry
from swin_umamba.trainer_names import SWIN_UMAMBA_D
from swin_umamba.weights.checkpoint import save_checkpoint

SIDE, CLASSES = 128, 2
ROUNDS = 3


def make_images(folder: Path, count: int, *, mixed: bool = False) -> Path:
    """Write colour pictures, of several sizes if ``mixed``."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number in range(count):
        height, width = (SIDE + number % 7 * 11, SIDE - number % 5 * 9) if mixed else (SIDE, SIDE)
        pixels = rng.integers(1, 256, (height, width, 3), dtype=np.uint8)
        PillowImage.fromarray(pixels).save(folder / f"case{number:05d}_0000.png")
    return folder


def make_model(folder: Path) -> Path:
    """Write a model folder of SwinUMambaD with random weights."""
    model = make_predictor(CLASSES, SIDE).model
    plans = model.plans
    architecture = architecture_entry(PlannedSwinUMambaD, {})
    plans["configurations"]["2d"]["architecture"] = architecture
    torch.manual_seed(0)
    network = PlannedSwinUMambaD(3, CLASSES, deep_supervision=True, **architecture["arch_kwargs"])
    folder = folder / f"{SWIN_UMAMBA_D}__nnUNetPlans__2d"
    (folder / "fold_0").mkdir(parents=True)
    (folder / "plans.json").write_text(json.dumps(plans))
    (folder / "dataset.json").write_text(json.dumps(model.dataset_json))
    content = {
        "network_weights": network.state_dict(),
        "trainer_name": SWIN_UMAMBA_D,
        "init_args": {"configuration": "2d", "plans": plans, "fold": 0, "dataset_json": model.dataset_json},
        "inference_allowed_mirroring_axes": (0, 1),
    }
    save_checkpoint(folder / "fold_0" / "checkpoint_final.pth", content)
    return folder


def one_by_one(predictor: Predictor, images: Path, out: Path, options: FolderOptions) -> None:
    """Predict the cases of a folder, each read when the one before is recorded."""
    out.mkdir()
    cases, records = find_cases(images, len(predictor.channel_names)), PredictionRecords(out)
    for case, path in zip(cases, output_paths(cases, out, ".png", options), strict=True):
        result_of(CaseWork(predictor, case, path, options, records))


def content(folder: Path) -> dict[str, bytes]:
    """Return the results of a folder."""
    files = [path for path in folder.rglob("*") if path.suffix in (".png", ".npz", ".tif")]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def gate(folder: Path, model: Path) -> None:
    """Raise unless a folder's results are those of its images one by one."""
    predictors = {"a stand-in": make_predictor(CLASSES, SIDE), "SwinUMambaD": Predictor.from_folder(model)}
    for number, (name, predictor) in enumerate(predictors.items()):
        for more in (False, True):
            options = FolderOptions(probabilities=more, confidence=more)
            place = folder / f"{number}{int(more)}"
            images = make_images(place / "in", 60 if number == 0 else 4, mixed=True)
            one_by_one(predictor, images, place / "alone", options)
            predictor.predict_folder(images, place / "together", probabilities=more, confidence=more)
            alone, together = content(place / "alone"), content(place / "together")
            if not alone or alone != together:
                raise AssertionError(f"{name}: a folder's results are not those of its images one by one")
            say(f"gate: {len(alone)} files of {name} are equal byte for byte")


def measure_stand_in(folder: Path, count: int) -> None:
    """Print the time of an image if the network takes none."""
    predictor, images = make_predictor(CLASSES, SIDE), make_images(folder / "images", count)
    times: dict[str, list[tuple[float, float]]] = {"one by one": [], "overlapping": []}
    for turn in range(ROUNDS + 1):
        for name, found in times.items():
            wall, processor = time.perf_counter(), time.process_time()
            out = folder / f"{name} {turn}"
            if name == "overlapping":
                predictor.predict_folder(images, out)
            else:
                one_by_one(predictor, images, out, FolderOptions())
            if turn:  # the first warms up
                found.append((time.perf_counter() - wall, time.process_time() - processor))
    say(f"\n{count} pictures of {SIDE} x {SIDE}, network a stand-in, milliseconds an image:")
    for name, found in times.items():
        walls, processors = (
            sorted(1000 * each / count for each in column) for column in zip(*found, strict=True)
        )
        say(
            f"  {name:12} {walls[0]:5.2f} at best, {walls[len(walls) // 2]:5.2f} in the middle of {ROUNDS}; "
            f"{processors[len(walls) // 2]:5.2f} of a processor"
        )


def measure_commands(folder: Path, model: Path, count: int) -> None:
    """Print the time of stock nnU-Net's command and of ours, in turns, and how many pixels differ."""
    images = make_images(folder / "images", count)
    commands = {
        "nnUNetv2_predict_from_modelfolder": ("-c", NNUNET, "-m", str(model), "-f", "0", "-device", "cpu"),
        "swin-umamba predict": ("-m", "swin_umamba", "predict", "-m", str(model), "--device", "cpu"),
    }
    labels: dict[str, list[np.ndarray]] = {}
    best: dict[str, float] = {}
    say(f"\n{count} pictures of {SIDE} x {SIDE}, SwinUMambaD, mean over four mirrored images:")
    for turn in range(2):
        for name, command in commands.items():
            out = folder / f"{name} {turn}"
            seconds, used = timed_command(name, [*command, "-i", str(images), "-o", str(out)])
            best[name] = min(seconds, best.get(name, seconds))
            labels[name] = [np.squeeze(read_labels(file).data) for file in sorted(out.glob("*.png"))]
            say(f"  {name}: {seconds:.1f} s, {used.ru_utime + used.ru_stime:.1f} CPU s")
    theirs, ours = labels.values()
    differ = sum(int(np.count_nonzero(a != b)) for a, b in zip(theirs, ours, strict=True))
    say(f"  {differ} of {count * SIDE**2} pixels differ")
    theirs_best, ours_best = best.values()
    say(f"  ours takes {ours_best / theirs_best:.2f} times as long, best against best")


def main() -> None:
    """Run the gate, then the measurements."""
    parser = parser_of(__doc__)
    parser.add_argument("--images", type=int, default=1000, help="pictures for the stand-in")
    parser.add_argument("--network-images", type=int, default=40, help="pictures for SwinUMambaD")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = make_model(folder / "model")
        gate(folder / "gate", model)
        measure_stand_in(folder / "stand-in", args.images)
        if args.network_images:
            measure_commands(folder / "network", model, args.network_images)


if __name__ == "__main__":
    main()
