"""Fixtures of the comparisons' tests."""

from __future__ import annotations

from nnunet.planned_data import planned_dataset, planned_folder

__all__ = ["planned_dataset", "planned_folder"]
