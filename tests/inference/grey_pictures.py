"""A folder of grey pictures, of which one is damaged."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image as PillowImage


def write_grey_pictures(folder: Path, names: str) -> Path:
    """Write a picture of coarse squares for each letter, half of the second one, and return the folder."""
    folder.mkdir()
    generator = np.random.default_rng(0)
    for name in names:
        pixels = np.kron(generator.integers(0, 255, (4, 5)), np.ones((8, 8))).astype(np.uint8)
        PillowImage.fromarray(pixels).save(folder / f"{name}.png")
    damaged = folder / f"{names[1]}.png"
    damaged.write_bytes(damaged.read_bytes()[:50])
    return folder
