"""Folders of textures, and a classifier whose epochs take a second."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as PILImage

EDGE = 40
CLASSES = ("checks", "columns", "rows")
TINY: dict[str, Any] = {"depths": (1, 1, 1, 1), "features_per_stage": (8, 16, 24, 32), "d_state": 2}


def texture(name: str, random: np.random.Generator) -> np.ndarray:
    """A noisy grey picture of stripes along the rows, along the columns, or of both."""
    period, phase = random.integers(4, 9), random.integers(0, 8, 2)
    rows, columns = (np.arange(EDGE) + phase[:, None]) // (period // 2) % 2
    pattern = {
        "rows": np.broadcast_to(rows[:, None], (EDGE, EDGE)),
        "columns": np.broadcast_to(columns, (EDGE, EDGE)),
        "checks": rows[:, None] ^ columns,
    }[name]
    return np.clip(60 + 120 * pattern + random.normal(0, 20, (EDGE, EDGE)), 0, 255).astype(np.uint8)


def write_textures(folder: Path, per_class: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    for name in CLASSES:
        (folder / name).mkdir(parents=True)
        for number in range(per_class):
            PILImage.fromarray(texture(name, random)).save(folder / name / f"{number:03}.png")


@pytest.fixture(scope="session")
def textures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``train`` and ``val`` folders of three textures; not to be written to."""
    folder = tmp_path_factory.mktemp("textures")
    write_textures(folder / "train", 24, seed=1)
    write_textures(folder / "val", 10, seed=2)
    return folder


@pytest.fixture
def recipe() -> dict[str, Any]:
    """Options of a short run on the CPU."""
    return {
        "network_kwargs": TINY,
        "in_channels": 1,
        "image_size": 32,
        "epochs": 4,
        "batch_size": 12,
        "learning_rate": 5e-3,
        "device": "cpu",
        "workers": 0,
    }
