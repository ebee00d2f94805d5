"""Fixtures of the tests of prediction."""

from __future__ import annotations

from trained.model_folder import make_model, make_model_at

__all__ = ["make_model", "make_model_at"]
