"""Measure the prediction of images in blocks: memory, and the gain of several processes.

    python benchmarks/large_images.py              # memory, 8192 x 8192 and 16384 x 16384; minutes
    python benchmarks/large_images.py --sides 4096
    python benchmarks/large_images.py --model MODEL    # 1 and 2 processes of one thread each

A correctness gate comes first: the labels of images of odd sizes, in blocks of several sizes, are those of
the images predicted whole; nothing is measured if one differs. For the memory, an OME-Zarr image of colours
is made in a temporary folder, chunk by chunk, and predicted into OME-Zarr with a stand-in for the network, in
a process of its own: the highest resident memory above what the process had with the model loaded. With
``--model``, a trained model of colour pictures predicts an image by one process and by two, and the labels
are compared. Linux only.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
import zarr

from evaluation import say
from prediction_memory import COLOURS, make_predictor, picture, status
from swin_umamba.inference.blocks.division import Block
from swin_umamba.inference.blocks.job import BlockJob, BlockWorker
from swin_umamba.inference.blocks.statistics import Basis, statistics_of
from swin_umamba.inference.predictor import Predictor
from swin_umamba.regions.label_files import create_labels
from swin_umamba.regions.labels import LabelGrid
from swin_umamba.regions.source import ArraySource

SIDES, CLASSES, PATCH, CHUNK = (8192, 16384), 2, 512, 512
MOST_MEMORY = 1.5 * 2**30


def predicted_in_blocks(
    predictor: Predictor, image: np.ndarray, basis: Basis, side: int = 1024, chunk: int = 64
) -> np.ndarray:
    """Return the labels ``(y, x)`` of an image ``(channels, y, x)``, predicted in squares."""
    source = ArraySource(image)
    _, _, height, width = source.shape
    everything = slice(None)
    with tempfile.TemporaryDirectory() as folder:
        grid = LabelGrid((1, height, width), np.dtype(np.uint8), (1, chunk, chunk), flat=True)
        writer = create_labels(Path(folder, "labels.ome.zarr"), grid)
        worker = BlockWorker(predictor, BlockJob(source, writer, statistics_of(source, basis)))
        for top in range(0, height, side):
            for left in range(0, width, side):
                rows, columns = (top, min(top + side, height)), (left, min(left + side, width))
                worker.run(Block(0, (0, 1), rows, columns))
        return writer.read(everything, everything, everything)[0]


def gate() -> None:
    """Raise unless labels in blocks are those of the whole image."""
    predictor = make_predictor(5, 64)
    for height, width in ((1001, 65), (517, 203), (40, 300)):
        image = picture(height, width)
        expected = predictor.predict(image).labels
        for side in (128, 192):
            found = predicted_in_blocks(predictor, image, "image", side)
            assert np.array_equal(found, expected), (height, width, side)


def make_image(path: Path, side: int) -> None:
    """Write an OME-Zarr 0.4 image of colours, chunk by chunk."""
    group = zarr.open_group(path, mode="w", zarr_format=2)
    shape, chunks = (len(COLOURS), side, side), (len(COLOURS), CHUNK, CHUNK)
    array = group.create_array(
        "0", shape=shape, chunks=chunks, dtype="uint8", chunk_key_encoding={"name": "v2", "separator": "/"}
    )
    rng = np.random.default_rng(0)
    cells = (
        rng.integers(1, 255, (16, len(COLOURS), CHUNK // 32, CHUNK // 32), np.uint8)
        .repeat(32, 2)
        .repeat(32, 3)
    )
    for top in range(0, side, CHUNK):
        for left in range(0, side, CHUNK):
            array[:, top : top + CHUNK, left : left + CHUNK] = cells[rng.integers(len(cells))]
    axes = [{"name": "c", "type": "channel"}, *({"name": name, "type": "space"} for name in "yx")]
    scale = [{"type": "scale", "scale": [1.0, 1.0, 1.0]}]
    datasets = [{"path": "0", "coordinateTransformations": scale}]
    group.attrs["multiscales"] = [{"version": "0.4", "axes": axes, "datasets": datasets}]


def measure_memory(side: int) -> dict[str, float]:
    """Return seconds and GiB above the loaded model, in this process."""
    predictor = make_predictor(CLASSES, PATCH)
    with tempfile.TemporaryDirectory() as folder:
        image = Path(folder, "image.ome.zarr")
        make_image(image, 1024)
        predictor.predict_folder(image, Path(folder, "first"))  # modules, kernels, thread pools
        make_image(Path(folder, "large.ome.zarr"), side)
        before = status("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts anew
        start = time.perf_counter()
        (result,) = predictor.predict_folder(Path(folder, "large.ome.zarr"), Path(folder, "second"))
        seconds = time.perf_counter() - start
        if result.error is not None:
            raise result.error
    return {"seconds": seconds, "bytes": status("VmHWM") - before}


def measure_processes(model: Path, side: int) -> None:
    """Print the seconds of one and of two processes, and whether their labels are equal."""
    torch.set_num_threads(1)
    os.environ["OMP_NUM_THREADS"] = "1"
    predictor = Predictor.from_folder(model, device="cpu", mirroring=False)
    labels, seconds = [], []
    with tempfile.TemporaryDirectory() as folder:
        image = Path(folder, "image.ome.zarr")
        make_image(image, side)
        for workers in (1, 2):
            start = time.perf_counter()
            (result,) = predictor.predict_folder(image, Path(folder, str(workers)), workers=workers)
            if result.error is not None:
                raise result.error
            seconds.append(time.perf_counter() - start)
            array = zarr.open_array(result.output / "labels" / "segmentation" / "0", mode="r")
            labels.append(np.asarray(array[:]))
            say(f"{workers} processes of one thread: {seconds[-1]:.1f} s")
    differ = int(np.count_nonzero(labels[0] != labels[1]))
    say(f"{differ} of {labels[0].size} pixels differ; {seconds[0] / seconds[1]:.2f} times as fast")


def main() -> int:
    """Run the gate and the measurements; 1 if one is above its bound."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sides", type=int, nargs="+", default=SIDES)
    parser.add_argument(
        "--model", type=Path, help="trained model of colour pictures: measure processes instead"
    )
    parser.add_argument("--side", type=int, default=2048, help="of the image for --model")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        print(json.dumps(measure_memory(args.sides[0])))
        return 0
    gate()
    say("labels in blocks are those of the whole image")
    if args.model:
        measure_processes(args.model, args.side)
        return 0
    within = True
    for side in args.sides:
        command = [sys.executable, __file__, "--child", "--sides", str(side)]
        found = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
        within &= found["bytes"] <= MOST_MEMORY
        say(f"{side} x {side}: {found['bytes'] / 2**30:.2f} GiB, {found['seconds']:.0f} s")
    return 0 if within else 1


if __name__ == "__main__":
    sys.exit(main())
