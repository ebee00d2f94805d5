"""A tiny data set, planned once, and trainers whose networks take milliseconds."""

from __future__ import annotations

from nnunet.planned_data import (
    planned_dataset,
    planned_folder,
    raw_dataset,
    tiny_trainers,
    trained,
)

__all__ = ["planned_dataset", "planned_folder", "raw_dataset", "tiny_trainers", "trained"]
