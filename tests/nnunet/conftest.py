"""A tiny data set, planned once, and trainers whose networks take milliseconds."""

from __future__ import annotations

import sys
from pathlib import Path

# Test folders are not on the import path; the helpers beside this file are imported by name.
sys.path.insert(0, str(Path(__file__).parent))

from planned_data import (
    planned_dataset,
    planned_folder,
    raw_dataset,
    tiny_trainers,
    trained,
)

__all__ = ["planned_dataset", "planned_folder", "raw_dataset", "tiny_trainers", "trained"]
