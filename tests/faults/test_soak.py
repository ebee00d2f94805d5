"""Many predictions in one process: memory, processes, threads and temporary files stay as they were."""

from __future__ import annotations

import gc
import os
import tempfile
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PILImage

from faults.training_process import children
from swin_umamba.inference.predictor import Predictor
from trained.model_folder import make_model_folder

pytestmark = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads memory from /proc")

MAX_GROWTH = 1.05
WARM_UP = 30  # predictions until caches and the allocator are full


def resident_bytes() -> int:
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def predict_often(folder: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    temporary = folder / "tmp"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    images, results = folder / "images", folder / "results"
    images.mkdir()
    random = np.random.default_rng(0)
    for size in (64, 70, 83):  # as images come: of several sizes
        pixels = random.integers(0, 255, (size, 96), dtype=np.uint8)
        PILImage.fromarray(pixels).save(images / f"case{size}_0000.png")
    files = sorted(images.iterdir())
    predictor = Predictor.from_folder(make_model_folder(folder, network="swin_umamba"), device="cpu")
    before: tuple[int, int, list[int], int] | None = None
    for count in range(number):
        if count % 30 == 29:
            predictor.predict_folder(images, results)
        predictor.predict(files[count % 3])
        if count == WARM_UP:
            before = _state()
    assert before is not None
    memory, threads, processes, handles = _state()
    assert memory <= MAX_GROWTH * before[0], f"{before[0] / 2**20:.0f} MiB became {memory / 2**20:.0f} MiB"
    assert threads <= before[1]
    assert set(processes) <= set(before[2])
    assert handles <= before[3]
    assert list(temporary.iterdir()) == []
    assert sorted(path.suffix for path in results.iterdir() if path.name.startswith("case")) == [".png"] * 3
    assert not [path for path in results.iterdir() if path.name.startswith(".")]


def _state() -> tuple[int, int, list[int], int]:
    """Memory, threads, child processes and open files of this process."""
    handles = len(list(Path("/proc/self/fd").iterdir()))
    return resident_bytes(), threading.active_count(), children(os.getpid()), handles


@pytest.mark.slow
def test_memory_stays_flat_over_300_predictions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    predict_often(tmp_path, monkeypatch, 300)
