"""Real faults, one test a fault: fixtures that all files of this folder share."""

from __future__ import annotations

from faults.fault_files import command, no_process_outlives_its_test
from weights.file_server import cache, server
from weights.served_weights import served

__all__ = ["cache", "command", "no_process_outlives_its_test", "served", "server"]
