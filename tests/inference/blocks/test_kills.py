"""A process that is killed at random moments, and what the runs after it write."""

from __future__ import annotations

import itertools
import random
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

import forked
from forked import Forked
from inference.blocks.divided import squares
from swin_umamba.fingerprint import fingerprint_of_files
from swin_umamba.inference.blocks import large_image
from swin_umamba.inference.blocks.division import Block
from swin_umamba.inference.blocks.job import BlockResult, BlockWorker
from swin_umamba.inference.predictor import Predictor

MakeModel = Callable[..., Path]
NUM_MOMENTS = 10
NUM_BLOCKS = 36
PATIENCE = 600.0
"""Seconds after which what hangs is given up: far more than anything takes, however busy the machine is."""
NAMES = {"tiff": "a.tif", "zarr": "a.ome.zarr"}


@pytest.fixture(autouse=True)
def no_process_outlives_its_test() -> Iterator[None]:
    yield
    forked.end_all()


def predict(model: Path, image: Path, out: Path, label_format: str, most: int = NUM_BLOCKS) -> int:
    """Predict an image in small blocks, slowly; of more than ``most`` it waits to be killed."""
    numbers = itertools.count(1)
    large_image.CHUNK, large_image.blocks_of = 16, squares
    run = BlockWorker.run

    def slowly(self: BlockWorker, block: Block, *more: Any) -> BlockResult:
        time.sleep(0.05 if next(numbers) <= most else PATIENCE)
        return run(self, block, *more)

    BlockWorker.run = slowly  # type: ignore[method-assign]
    predictor = Predictor.from_folder(model, device="cpu", mirroring=False, step_size=1.0)
    (result,) = predictor.predict_folder(image, out, blocks=True, label_format=label_format)
    return int(result.error is not None)


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.mark.slow
@pytest.mark.parametrize("label_format", ["tiff", "zarr"])
def test_kills_at_random_moments_change_no_byte(
    make_model: MakeModel, tmp_path: Path, label_format: str
) -> None:
    model = make_model(channels=("red", "green", "blue"), patch_size=(32, 32))
    pixels = np.random.default_rng(0).integers(1, 255, (187, 161, 3), dtype=np.uint8)
    image = tmp_path / "a.tif"
    tifffile.imwrite(image, pixels, photometric="rgb", tile=(64, 64))
    undisturbed, out = tmp_path / "undisturbed", tmp_path / "out"
    assert Forked(predict, model, image, undisturbed, label_format).wait() == 0

    name = NAMES[label_format]
    expected = fingerprint_of_files([undisturbed / name])

    def is_as_undisturbed() -> bool:
        return fingerprint_of_files([out / name]) == expected

    def num_finished() -> int:
        return len(list((out / "blocks").rglob("0*.json")))

    # The first is killed in the midst of its work, however long this process is halted.
    moments = random.Random(label_format)
    run = Forked(predict, model, image, out, label_format, NUM_BLOCKS // 2)
    wait_until(lambda: num_finished() > 0)
    finished_at: list[int] = []
    while len(finished_at) < NUM_MOMENTS:
        if run.poll() is None:
            run.kill()
            finished_at.append(num_finished())
        else:
            assert run.wait() == 0
            assert is_as_undisturbed()
            shutil.rmtree(out)  # else there is nothing left to do
        run = Forked(predict, model, image, out, label_format)
        moment = moments.randrange(NUM_BLOCKS)
        wait_until(lambda run=run, moment=moment: run.poll() is not None or num_finished() >= moment)
        time.sleep(moments.uniform(0, 0.1))
    run.kill()
    assert 0 < finished_at[0] < NUM_BLOCKS
    assert Forked(predict, model, image, out, label_format).wait() == 0
    assert is_as_undisturbed()
    assert not list(out.glob("*.unfinished*"))
