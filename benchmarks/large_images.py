"""Measure the prediction of images in blocks: memory, and the gain of several processes.

    python benchmarks/large_images.py              # memory, 8192 x 8192 and 16384 x 16384; minutes
    python benchmarks/large_images.py --sides 4096
    OMP_NUM_THREADS=1 python benchmarks/large_images.py --model MODEL    # is there one answer? how fast?
    OMP_NUM_THREADS=1 python benchmarks/large_images.py --model MODEL --commands

A correctness gate comes first: the labels of images of odd sizes, in blocks of several sizes, are those of
the images predicted whole; nothing is measured if one differs. For the memory, an OME-Zarr image of colours
is made in a temporary folder, chunk by chunk, and predicted into OME-Zarr with a stand-in for the network, in
a process of its own: the highest resident memory above what the process had with the model loaded. With
``--model``, a trained model of colour pictures (such as the demo's) predicts images read whole, by one, two
and three processes, on Dask and in three parts, each process with one thread; labels and objects are
compared; ``--commands`` compares whole commands with nnU-Net's. Linux only.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import zarr
from PIL import Image as PillowImage

from frame import (
    NNUNET,
    forget_peak_of_memory,
    measured_in_child,
    memory_status,
    parser_of,
    say,
    timed_command,
)
from prediction_memory import COLOURS, make_predictor, picture
from swin_umamba.data.datasets.synthetic import make_nuclei
from swin_umamba.data.image_io import read_image, read_labels
from swin_umamba.inference.blocks.division import Block
from swin_umamba.inference.blocks.job import BlockJob, BlockWorker
from swin_umamba.inference.blocks.statistics import Basis, statistics_of
from swin_umamba.inference.predictor import Predictor
from swin_umamba.regions.label_files import create_labels
from swin_umamba.regions.labels import LabelGrid
from swin_umamba.regions.source import ArraySource
from swin_umamba.tiling.tiles import TileGrid

SIDES, CLASSES, PATCH, CHUNK = (8192, 16384), 2, 512, 512
MOST_MEMORY = 1.5 * 2**30
SHAPES = (2048, 2048), (1531, 977)


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


def make_image(path: Path, height: int, width: int, pieces: np.ndarray | None = None) -> None:
    """Write an OME-Zarr 0.4 image of colours, chunk by chunk, of pieces ``(N, colours, CHUNK, CHUNK)``."""
    group = zarr.open_group(path, mode="w", zarr_format=2)
    shape, chunks = (len(COLOURS), height, width), (len(COLOURS), CHUNK, CHUNK)
    array = group.create_array(
        "0", shape=shape, chunks=chunks, dtype="uint8", chunk_key_encoding={"name": "v2", "separator": "/"}
    )
    rng = np.random.default_rng(0)
    if pieces is None:
        squares = rng.integers(1, 255, (16, len(COLOURS), CHUNK // 32, CHUNK // 32), np.uint8)
        pieces = squares.repeat(32, 2).repeat(32, 3)
    for top in range(0, height, CHUNK):
        for left in range(0, width, CHUNK):
            piece = pieces[rng.integers(len(pieces))]
            array[:, top : top + CHUNK, left : left + CHUNK] = piece[:, : height - top, : width - left]
    axes = [{"name": "c", "type": "channel"}, *({"name": name, "type": "space"} for name in "yx")]
    scale = [{"type": "scale", "scale": [1.0, 1.0, 1.0]}]
    datasets = [{"path": "0", "coordinateTransformations": scale}]
    group.attrs["multiscales"] = [{"version": "0.4", "axes": axes, "datasets": datasets}]


def measure_memory(side: int) -> dict[str, float]:
    """Return seconds and GiB above the loaded model, in this process."""
    predictor = make_predictor(CLASSES, PATCH)
    with tempfile.TemporaryDirectory() as folder:
        image = Path(folder, "image.ome.zarr")
        make_image(image, 1024, 1024)
        predictor.predict_folder(image, Path(folder, "first"))  # modules, kernels, thread pools
        make_image(Path(folder, "large.ome.zarr"), side, side)
        before = forget_peak_of_memory()
        start = time.perf_counter()
        (result,) = predictor.predict_folder(Path(folder, "large.ome.zarr"), Path(folder, "second"))
        seconds = time.perf_counter() - start
        if result.error is not None:
            raise result.error
    return {"seconds": seconds, "bytes": memory_status("VmHWM") - before}


WAYS: dict[str, dict[str, Any]] = {
    "1 process": {},
    "2 processes": {"workers": 2},
    "3 processes": {"workers": 3},
    "Dask, 2 workers": {"scheduler": "local", "workers": 2},
    "3 parts, one after the other": {"part": 3},
}


def measure_ways(model: Path, height: int, width: int) -> bool:
    """Print seconds of each way to predict an image, and how many pixels differ; return whether none does.

    All processes have one thread. The image is made of random pieces of nuclei drawn by the demo.
    """
    predictor = Predictor.from_folder(model, device="cpu", mirroring=False)
    objects = "interior" in predictor.labels
    with tempfile.TemporaryDirectory() as folder:
        image = Path(folder, "image.ome.zarr")
        make_image(image, height, width, nuclei())
        pixels = np.asarray(zarr.open_array(image / "0", mode="r")[:])
        start = time.perf_counter()
        whole = predictor.predict(pixels, instances=objects)
        expected = [whole.labels] + ([whole.instances] if objects else [])
        seconds = {"read whole": time.perf_counter() - start}
        say(f"{height} x {width}: read whole {seconds['read whole']:.1f} s, {expected[-1].max()} objects")
        equal = True
        for number, (name, options) in enumerate(WAYS.items()):
            out = Path(folder, str(number))
            start = time.perf_counter()
            parts = options.get("part")
            for part in range(1, parts + 1) if parts else (None,):
                given = {**options, "part": f"{part}/{parts}"} if part else options
                (result,) = predictor.predict_folder(image, out, instances=objects, blocks=True, **given)
                if result.error is not None:
                    raise result.error
            seconds[name] = time.perf_counter() - start
            labels = Path(result.output, "labels")
            found = [
                np.asarray(zarr.open_array(labels / kind / "0", mode="r")[:])
                for kind in ("segmentation", "instances")[: len(expected)]
            ]
            differ = [
                int(np.count_nonzero(a != b.reshape(a.shape))) for a, b in zip(expected, found, strict=True)
            ]
            equal &= not any(differ)
            records = [json.loads(path.read_text()) for path in (out / "blocks").rglob("[0-9]*.json")]
            tiles = sum(record["tiles"] for record in records)
            window = predictor.window
            needed = len(TileGrid((1, height, width), window.patch_size, window.step_size).tiles)
            say(
                f"  {name}: {seconds[name]:.1f} s, {' and '.join(map(str, differ))} pixels differ; "
                f"{len(records)} blocks, {100 * (tiles / needed - 1):.1f} % of {needed} tiles twice"
            )
    say(f"  2 processes are {seconds['1 process'] / seconds['2 processes']:.2f} times as fast as 1")
    return equal


def measure_commands(model: Path, height: int, width: int) -> None:
    """Print time and memory of stock nnU-Net's command and of ours, and count differing pixels."""
    own = "-m", "swin_umamba", "predict", "-m", str(model), "--no-mirroring", "--no-postprocessing"
    commands: dict[str, tuple[str, ...]] = {
        "nnUNetv2_predict_from_modelfolder": ("-c", NNUNET, "-m", str(model), "-f", "all", "--disable_tta"),
        "swin-umamba predict": own,
        "swin-umamba predict --blocks": (*own, "--blocks"),
    }
    first = None
    with tempfile.TemporaryDirectory() as folder:
        make_image(Path(folder, "image.ome.zarr"), height, width, nuclei())
        pixels = np.asarray(zarr.open_array(Path(folder, "image.ome.zarr", "0"), mode="r")[:])
        images = Path(folder, "images")
        images.mkdir()
        PillowImage.fromarray(np.moveaxis(pixels, 0, -1)).save(images / "image_0000.png")
        for number, (name, command) in enumerate(commands.items()):
            out = Path(folder, str(number))
            device = ("--device" if command[0] == "-m" else "-device", "cpu")
            seconds, used = timed_command(name, [*command, "-i", str(images), "-o", str(out), *device])
            (file,) = (each for each in out.iterdir() if each.name.startswith("image."))
            labels = np.squeeze(read_labels(file).data)
            first = labels if first is None else first
            say(
                f"{name}: {seconds:.1f} s, {used.ru_utime + used.ru_stime:.1f} CPU s, "
                f"{used.ru_maxrss / 2**20:.2f} GiB, {np.count_nonzero(labels != first)} of {labels.size} "
                "pixels differ from the first"
            )


def nuclei() -> np.ndarray:
    """Return pieces ``(N, colours, CHUNK, CHUNK)`` with drawn nuclei."""
    with tempfile.TemporaryDirectory() as folder:
        make_nuclei(folder, num_training=4, num_test=0, size=CHUNK)
        pictures = sorted(Path(folder, "imagesTr").iterdir())
        return np.stack([read_image(picture).data for picture in pictures]).astype(np.uint8)


def main() -> int:
    """Run the gate and the measurements; 1 if one is above its bound."""
    parser = parser_of(__doc__)
    parser.add_argument("--sides", type=int, nargs="+", default=SIDES)
    parser.add_argument(
        "--model", type=Path, help="trained model of colour pictures: measure processes instead"
    )
    parser.add_argument("--commands", action="store_true", help="compare with nnU-Net, given --model")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        print(json.dumps(measure_memory(args.sides[0])))
        return 0
    gate()
    say("labels in blocks are those of the whole image")
    if args.model:
        torch.set_num_threads(1)
        if args.commands:
            measure_commands(args.model, *SHAPES[0])
            return 0
        return max([not measure_ways(args.model, *shape) for shape in SHAPES])
    within = True
    for side in args.sides:
        found = measured_in_child(__file__, "--sides", side)
        within &= found["bytes"] <= MOST_MEMORY
        say(f"{side} x {side}: {found['bytes'] / 2**30:.2f} GiB, {found['seconds']:.0f} s")
    return 0 if within else 1


if __name__ == "__main__":
    sys.exit(main())
