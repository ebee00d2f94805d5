"""Weights fetched by hand get into the cache only as what they are."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from swin_umamba.errors import CheckpointError, UsageError
from swin_umamba.files import file_sha256
from swin_umamba.models import import_file
from swin_umamba.models.import_file import import_weights
from swin_umamba.weights import download
from swin_umamba.weights.backbones.vmamba import VMAMBA_TINY
from swin_umamba.weights.catalog import BACKBONES, CATALOG
from swin_umamba.weights.download import locate_weights, weights_path
from weights.vmamba_files import Payload, vmamba_classifier

HASHED, SEEN_FIRST = "vmamba_tiny_v0cls", "vmamba_tiny_e292"


@pytest.fixture
def file(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
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


def test_a_file_is_known_by_its_hash(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWIN_UMAMBA_OFFLINE", "1")
    record, path = import_weights(file)
    assert record.name == HASHED
    assert path == weights_path(record) == locate_weights(HASHED)
    assert path.read_bytes() == file.read_bytes()


def test_a_file_of_unknown_hash_is_known_by_its_name_and_pinned(file: Path) -> None:
    named = file.with_name(CATALOG[SEEN_FIRST].file_name)
    tensors = vmamba_classifier((1, 1, 1, 1), (8, 16, 24, 32))
    torch.save({"model": {name: value + 1 for name, value in tensors.items()}}, named)
    record, path = import_weights(named)
    assert record.name == SEEN_FIRST
    assert path.with_name(path.name + ".sha256").read_text().split() == [file_sha256(named), path.name]
    torch.save({"model": {"head.weight": torch.zeros(3)}}, named)
    with pytest.raises(CheckpointError, match="not the file of vmamba_tiny_e292"):
        import_weights(named)


def test_another_file_is_not_taken_for_a_known_one(file: Path) -> None:
    torch.save({"model": {"head.weight": torch.ones(3)}}, file)
    with pytest.raises(UsageError, match="neither the name nor the hash"):
        import_weights(file)
    with pytest.raises(CheckpointError, match="SHA-256"):
        import_weights(file, HASHED)
    assert not weights_path(CATALOG[HASHED]).exists()


def test_a_payload_stays_out(file: Path, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    torch.save({"model": Payload(os.system, f"touch {canary}")}, file)
    with pytest.raises(CheckpointError, match="system"):
        import_weights(file, SEEN_FIRST)
    assert not canary.exists()
    assert not weights_path(CATALOG[SEEN_FIRST]).exists()


@pytest.mark.parametrize("change", ["one tensor", "a shape", "a missing one", "another size", "NaN"])
def test_another_network_is_not_pinned(change: str, file: Path) -> None:
    tensors = vmamba_classifier((1, 1, 1, 1), (8, 16, 24, 32))
    name = "layers.0.blocks.0.self_attention.Ds"
    if change == "one tensor":
        tensors = {"patch_embed.proj.weight": torch.zeros(1)}
    elif change == "a shape":
        tensors[name] = torch.zeros(63)
    elif change == "a missing one":
        del tensors[name]
    elif change == "another size":
        tensors = vmamba_classifier((1, 1, 1, 1), (16, 32, 48, 64))
    else:
        tensors[name] = torch.full((64,), float("nan"))
    torch.save({"model": tensors}, file)
    with pytest.raises(CheckpointError):
        import_weights(file, SEEN_FIRST)
    path = weights_path(CATALOG[SEEN_FIRST])
    assert not path.exists()
    assert not path.with_name(path.name + ".sha256").exists()


@pytest.mark.parametrize("after", ["file_sha256", "copy_file", "load_checkpoint", "put_in_place"])
@pytest.mark.parametrize("name", [HASHED, SEEN_FIRST])
def test_what_is_checked_is_what_is_kept(
    after: str, name: str, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever may write to the source exchanges it while it is imported."""
    checked, canary = file.read_bytes(), tmp_path / "canary"
    step = getattr(import_file, after)

    def exchanging(*given: object, **options: object) -> object:
        result = step(*given, **options)
        torch.save({"model": Payload(os.system, f"touch {canary}")}, file)
        return result

    monkeypatch.setattr(import_file, after, exchanging)
    path = weights_path(CATALOG[name])
    if after == "file_sha256":
        with pytest.raises(CheckpointError, match="changed" if name == HASHED else "system") as caught:
            import_weights(file, name)
        assert caught.value.where == str(file)
        assert list(path.parent.iterdir()) == []
    else:
        import_weights(file, name)
        assert path.read_bytes() == checked
        assert not list(path.parent.glob(".import-*"))
    assert not canary.exists()


def test_what_is_no_file(tmp_path: Path, cache: Path) -> None:
    for source in (tmp_path, tmp_path / "missing.pth"):
        with pytest.raises(CheckpointError, match="cannot be read"):
            import_weights(source, HASHED)
