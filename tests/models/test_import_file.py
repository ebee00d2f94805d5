"""Weights fetched by hand get into the cache only as what they are."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from models.classifier_file import HASHED, SEEN_FIRST
from swin_umamba.errors import CheckpointError
from swin_umamba.files import file_sha256
from swin_umamba.models.import_file import import_weights
from swin_umamba.weights.catalog import CATALOG
from swin_umamba.weights.download import locate_weights, weights_path
from weights.vmamba_files import vmamba_classifier


def test_a_file_is_known_by_its_hash(classifier_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWIN_UMAMBA_OFFLINE", "1")
    record, path = import_weights(classifier_file)
    assert record.name == HASHED
    assert path == weights_path(record) == locate_weights(HASHED)
    assert path.read_bytes() == classifier_file.read_bytes()


def test_a_file_of_unknown_hash_is_known_by_its_name_and_pinned(classifier_file: Path) -> None:
    named = classifier_file.with_name(CATALOG[SEEN_FIRST].file_name)
    tensors = vmamba_classifier((1, 1, 1, 1), (8, 16, 24, 32))
    torch.save({"model": {name: value + 1 for name, value in tensors.items()}}, named)
    record, path = import_weights(named)
    assert record.name == SEEN_FIRST
    assert path.with_name(path.name + ".sha256").read_text().split() == [file_sha256(named), path.name]
    torch.save({"model": {"head.weight": torch.zeros(3)}}, named)
    with pytest.raises(CheckpointError, match="not the file of vmamba_tiny_e292"):
        import_weights(named)


def test_what_is_no_file(tmp_path: Path, cache: Path) -> None:
    for source in (tmp_path, tmp_path / "missing.pth"):
        with pytest.raises(CheckpointError, match="cannot be read"):
            import_weights(source, HASHED)
