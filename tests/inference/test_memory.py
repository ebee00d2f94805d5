"""How much memory a prediction takes: counted, not measured, so that small images will do."""

from __future__ import annotations

import itertools
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from swin_umamba.inference.predictor import Predictor
from swin_umamba.trained import label_map

MakeModel = Callable[..., Path]
CLASSES, HEIGHT, WIDTH, PATCH = 12, 1600, 32, 32
BYTES = 4 * CLASSES


def peak_of_tensors(run: Callable[[], object]) -> int:
    """Return the most bytes that PyTorch had taken at a time."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        run()
    kineto: Any = recorded.profiler
    events = [each for each in kineto.kineto_results.events() if each.name() == "[memory]"]
    changes = [each.nbytes() for each in sorted(events, key=lambda each: each.start_ns())]
    return max(itertools.accumulate(changes))


def peak_of_arrays(run: Callable[[], object]) -> int:
    """Return the most bytes that NumPy and Python had taken at a time."""
    tracemalloc.start()
    try:
        run()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


class PerPixel(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.factors = torch.randn(CLASSES, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(1, keepdim=True) * self.factors


@pytest.fixture
def one(make_model: MakeModel, monkeypatch: pytest.MonkeyPatch) -> Predictor:
    monkeypatch.setattr(label_map, "NUMBERS_AT_ONCE", 2**14)  # a small part of this image, too
    labels = {"background": 0, **{f"{number}": number for number in range(1, CLASSES)}}
    folder = make_model(channels=("red", "green", "blue"), labels=labels, patch_size=(PATCH, PATCH))
    predictor = Predictor.from_folder(folder, device="cpu", mirroring=False)
    predictor.networks._networks[0] = PerPixel()
    # One tile at a time, as of the paper's largest patch: several of this size would be most of the image.
    predictor.window = replace(predictor.window, tiles_per_batch=1)
    return predictor


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return np.random.default_rng(0).integers(1, 256, (3, HEIGHT, WIDTH), dtype=np.uint8)


@pytest.mark.parametrize(
    ("wanted", "most_of_tensors", "most_of_arrays"),
    [
        # Float32 colours 12, the zeros that nnU-Net's resampling begins with and never touches 12, a mask.
        ({}, 0.2 * BYTES, 27),
        ({"probabilities": True}, 1.2 * BYTES, 27),
    ],
)
def test_memory_of_a_pixel(
    one: Predictor, image: np.ndarray, wanted: dict[str, bool], most_of_tensors: float, most_of_arrays: float
) -> None:
    """With 12 classes all logits are 48 bytes; a band's are less, and probabilities take their place."""
    run = partial(one.predict, image, **wanted)
    run()
    tensors, arrays = peak_of_tensors(run) / image[0].size, peak_of_arrays(run) / image[0].size
    assert tensors < most_of_tensors
    assert arrays < most_of_arrays
