"""A small file of weights that a server hands out, and its record in a catalogue."""

from __future__ import annotations

import hashlib
import io
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from swin_umamba.weights.backbone import WeightsRecord
from swin_umamba.weights.catalog import CATALOG
from weights.file_server import FileServer

NAME = "weights.pth"


def checkpoint_bytes() -> bytes:
    buffer = io.BytesIO()
    torch.save({"model": {"a": torch.arange(100_000.0)}}, buffer)
    return buffer.getvalue()


CONTENT = checkpoint_bytes()
SHA256 = hashlib.sha256(CONTENT).hexdigest()


def record(url: str, known: bool = True) -> WeightsRecord:
    return replace(
        CATALOG["vmamba_tiny_v0cls"],
        name="tiny",
        file_name=NAME,
        url=url,
        size=len(CONTENT) if known else None,
        sha256=SHA256 if known else None,
    )


def files(cache: Path) -> set[str]:
    """What a user sees in the cache, and partial downloads."""
    return {path.name for path in cache.iterdir() if not path.name.startswith(".lock-")}


@pytest.fixture
def served(server: FileServer, cache: Path) -> None:
    """Let the server hand it out, into an empty cache."""
    server.content = CONTENT
