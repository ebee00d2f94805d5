"""Sizes of the small networks that the tests of this folder use."""

from __future__ import annotations

from typing import Any

TINY: dict[str, Any] = {
    "depths": (1, 2, 1, 1),
    "features_per_stage": (8, 12, 16, 20),
    "d_state": 2,
    "deep_supervision": True,
}
IN_CHANNELS, NUM_CLASSES = 2, 3
