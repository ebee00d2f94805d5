"""Fixtures of the weights tests."""

from __future__ import annotations

import sys
from pathlib import Path

# Test folders are not on the import path; the helpers beside this file are imported by name.
sys.path.insert(0, str(Path(__file__).parent))

from file_server import cache, server

__all__ = ["cache", "server"]
