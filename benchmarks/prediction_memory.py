"""Measure the memory that predicting one large image takes, in bytes a pixel.

    python benchmarks/prediction_memory.py                   # about a minute
    python benchmarks/prediction_memory.py --classes 14 --side 2048
    python benchmarks/prediction_memory.py --json > memory.json

A correctness gate comes first: labels, probabilities and entropy of small images of odd sizes, predicted in
bands, are those of sums over the whole image; nothing is measured if one is off. Each measurement then has a
process of its own: the highest resident memory during the prediction, above what the process had before it
got its image of 4096 x 4096 colours. The network is a stand-in without weights of its own. The bound is 15
bytes of image (a byte a colour, and the same as float32), four for each class, and four for the sums of
weights. Linux only.
"""

from __future__ import annotations

import argparse
import gc
import json
import math
import sys
import time
from pathlib import Path
from typing import Any

from swin_umamba.torch_settings import apply_settings

apply_settings()  # before torch, as in every process of the command line

import numpy as np
import torch
from torch import Tensor, nn

from frame import forget_peak_of_memory, measured_in_child, memory_status, parser_of, say
from swin_umamba.confidence.temperature import entropy
from swin_umamba.inference.predictor import Predictor
from swin_umamba.tiling import bands
from swin_umamba.tiling.tiles import gaussian_weights, tile_starts
from swin_umamba.trained.model import TrainedModel

CLASSES, SIDE, PATCH = (2, 14, 104), 4096, 512
COLOURS = ("red", "green", "blue")
_UNET = {
    "n_stages": 2,
    "features_per_stage": [4, 4],
    "conv_op": "torch.nn.modules.conv.Conv2d",
    "kernel_sizes": [[3, 3], [3, 3]],
    "strides": [[1, 1], [2, 2]],
    "n_conv_per_stage": [1, 1],
    "n_conv_per_stage_decoder": [1],
}


class PerPixel(nn.Module):
    """Logits that depend on the grey value of a pixel alone."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(classes)
        self.factors = torch.randn(classes, 1, 1, generator=generator)
        self.offsets = torch.randn(classes, 1, 1, generator=generator)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits of a batch."""
        return x.mean(1, keepdim=True) * self.factors + self.offsets


def make_predictor(classes: int, patch: int) -> Predictor:
    """Return a predictor of a model of colour pictures whose network is a stand-in."""
    from dynamic_network_architectures.architectures.unet import PlainConvUNet

    sizes = {**_UNET, "conv_op": nn.Conv2d}
    weights = PlainConvUNet(len(COLOURS), num_classes=classes, **sizes).state_dict()  # type: ignore[arg-type]
    order: dict[str, Any] = {"is_seg": False, "order": 3, "order_z": 0, "force_separate_z": None}
    name = "resample_data_or_seg_to_shape"
    configuration = {
        "data_identifier": "nnUNetPlans_2d",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": 2,
        "patch_size": [patch, patch],
        "median_image_size_in_voxels": [512.0, 512.0],
        "spacing": [1.0, 1.0],
        "normalization_schemes": ["ZScoreNormalization"] * len(COLOURS),
        "use_mask_for_norm": [False] * len(COLOURS),
        "resampling_fn_data": name,
        "resampling_fn_seg": name,
        "resampling_fn_probabilities": name,
        "resampling_fn_data_kwargs": order,
        "resampling_fn_seg_kwargs": {**order, "is_seg": True, "order": 1},
        "resampling_fn_probabilities_kwargs": {**order, "order": 1},
        "batch_dice": True,
        "architecture": {
            "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
            "arch_kwargs": _UNET,
            "_kw_requires_import": ["conv_op"],
        },
    }
    labels = {"background": 0, **{f"class {number}": number for number in range(1, classes)}}
    plans = {
        "dataset_name": "Dataset999_Benchmark",
        "plans_name": "nnUNetPlans",
        "original_median_spacing_after_transp": [999.0, 1.0, 1.0],
        "original_median_shape_after_transp": [1, 512, 512],
        "image_reader_writer": "NaturalImage2DIO",
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "experiment_planner_used": "ExperimentPlanner",
        "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": {str(number): {} for number in range(len(COLOURS))},
        "configurations": {"2d": configuration},
    }
    description = {
        "channel_names": {str(number): each for number, each in enumerate(COLOURS)},
        "labels": labels,
        "numTraining": 1,
        "file_ending": ".png",
    }
    model = TrainedModel(
        Path("benchmark"), (), plans, description, "2d", "nnUNetTrainer", (0, 1), (dict(weights),)
    )
    predictor = Predictor(model, device="cpu", mirroring=False)
    predictor.networks._networks[:] = [PerPixel(classes).eval()]
    return predictor


def picture(height: int, width: int) -> np.ndarray:
    """Return colours without black, which nnU-Net would crop."""
    rng = np.random.default_rng(0)
    return rng.integers(1, 256, (len(COLOURS), height, width), dtype=np.uint8)


def gate() -> None:
    """Raise unless predictions in bands are those of sums over the whole image."""
    classes, patch = 5, 64
    predictor = make_predictor(classes, patch)
    network = PerPixel(classes)
    for height, width in ((1001, 65), (517, 203), (40, 300)):
        image = picture(height, width)
        x = image.astype(np.float32)
        for channel, values in zip(x, image.astype(np.int64), strict=True):
            total, squares, count = int(values.sum()), int((values**2).sum()), values.size
            channel -= np.float32(total / count)
            channel /= np.float32(math.sqrt((count * squares - total**2) / count**2))
        missing = max(0, patch - height)
        padded = np.pad(x, ((0, 0), (missing // 2, missing - missing // 2), (0, 0)))
        sums = torch.zeros(classes, *padded.shape[1:])
        weight_sums = torch.zeros(padded.shape[1:])
        weights = gaussian_weights((patch, patch))
        for top in tile_starts(padded.shape[1], patch, 0.5):
            for left in tile_starts(width, patch, 0.5):
                tile = (slice(top, top + patch), slice(left, left + patch))
                sums[:, tile[0], tile[1]] += (
                    network(torch.from_numpy(padded[:, tile[0], tile[1]])[None])[0] * weights
                )
                weight_sums[tile] += weights
        inside = slice(missing // 2, missing // 2 + height)
        logits = (sums / weight_sums)[:, None, inside].contiguous()
        probabilities = torch.softmax(logits, 0).numpy()
        found = predictor.predict(image, probabilities=True, confidence=True)
        assert np.array_equal(predictor.predict(image).labels, logits[:, 0].numpy().argmax(0))
        assert found.probabilities is not None
        assert found.confidence is not None
        assert np.array_equal(found.labels, probabilities[:, 0].argmax(0))
        assert np.array_equal(found.probabilities, probabilities[:, 0])
        assert np.array_equal(found.confidence.entropy, entropy(probabilities, independent=False)[0])
    assert bands.SMALLEST_IN_PATCHES * patch < 517  # the largest two are predicted in bands


def measure(classes: int, side: int, probabilities: bool) -> dict[str, float]:
    """Return seconds and bytes a pixel of one prediction in this process."""
    predictor = make_predictor(classes, PATCH)
    predictor.predict(picture(600, 600), probabilities=probabilities)  # modules, kernels, thread pools
    gc.collect()
    before = memory_status("VmRSS")
    image = picture(side, side)
    forget_peak_of_memory()
    start = time.perf_counter()
    predictor.predict(image, probabilities=probabilities)
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "bytes_a_pixel": (memory_status("VmHWM") - before) / side**2}


def main() -> int:
    """Run the gate and all measurements; 1 if one is above its bound."""
    parser = parser_of(__doc__)
    parser.add_argument("--classes", type=int, nargs="+", default=CLASSES)
    parser.add_argument("--side", type=int, default=SIDE)
    parser.add_argument("--probabilities", action="store_true", help="keep the probabilities, too")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        print(json.dumps(measure(args.classes[0], args.side, args.probabilities)))
        return 0
    gate()
    say("predictions in bands are those of the whole image, bit for bit")
    results, within = {}, True
    for classes in args.classes:
        more = ["--probabilities"] * args.probabilities
        found = measured_in_child(__file__, "--classes", classes, "--side", args.side, *more)
        bound = 15 + 4 * classes + 4
        within &= found["bytes_a_pixel"] <= bound
        results[str(classes)] = {**found, "bound": bound}
        say(
            f"{classes:4} classes: {found['bytes_a_pixel']:7.1f} bytes a pixel (bound {bound}), "
            f"{found['seconds']:.1f} s"
        )
    if args.json:
        print(json.dumps({"side": args.side, "probabilities": args.probabilities, "classes": results}))
    return 0 if within else 1


if __name__ == "__main__":
    sys.exit(main())
