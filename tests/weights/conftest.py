"""Fixtures of the weights tests."""

from __future__ import annotations

from weights.file_server import cache, server

__all__ = ["cache", "server"]
