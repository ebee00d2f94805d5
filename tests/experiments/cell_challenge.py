"""The folders of the NeurIPS cell challenge, with pictures of a grid of cells."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tifffile
from PIL import Image as PillowImage

SIZE = 64


def write_cell_challenge(source: Path) -> None:
    """Write four training and two tuning images with a grid of cells."""
    instances = np.zeros((SIZE, SIZE), np.uint16)
    for number, (y, x) in enumerate([(8, 8), (8, 36), (36, 8), (36, 36)], start=1):
        instances[y : y + 20, x : x + 20] = number
    random = np.random.default_rng(0)
    for part, count in (("Training-labeled", 4), ("Tuning", 2)):
        for name in ("images", "labels"):
            (source / part / name).mkdir(parents=True)
        for number in range(1, count + 1):
            image = random.integers(0, 60, (SIZE, SIZE, 3)) + 150 * (instances > 0)[..., None]
            path = source / part / "images" / f"cell_{number:05d}.png"
            PillowImage.fromarray(image.astype(np.uint8)).save(path)
            tifffile.imwrite(source / part / "labels" / f"{path.stem}_label.tiff", instances)
