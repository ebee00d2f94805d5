"""A file of a classifier that the catalogue knows by its hash."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from swin_umamba.files import file_sha256
from swin_umamba.models import import_file
from swin_umamba.weights import download
from swin_umamba.weights.backbones.vmamba import VMAMBA_TINY
from swin_umamba.weights.catalog import BACKBONES, CATALOG
from weights.vmamba_files import vmamba_classifier

HASHED, SEEN_FIRST = "vmamba_tiny_v0cls", "vmamba_tiny_e292"


@pytest.fixture
def classifier_file(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A classifier's file whose hash the catalogue knows."""
    path = tmp_path / "downloaded by a browser.pth"
    torch.save({"model": vmamba_classifier((1, 1, 1, 1), (8, 16, 24, 32))}, path)
    records = dict(CATALOG)
    small = replace(VMAMBA_TINY, arguments={"depths": (1, 1, 1, 1)}, features_per_stage=(8, 16, 24, 32))
    monkeypatch.setitem(BACKBONES, small.name, small)
    records[HASHED] = replace(records[HASHED], sha256=file_sha256(path), size=path.stat().st_size)
    for module in (download, import_file):
        monkeypatch.setattr(module, "CATALOG", records)
    monkeypatch.setattr("swin_umamba.weights.catalog.CATALOG", records)
    return path
