"""Files of weights that are not what their name of the catalogue says."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from models.classifier_file import HASHED, SEEN_FIRST
from payload import Payload
from swin_umamba.errors import CheckpointError, UsageError
from swin_umamba.models import import_file
from swin_umamba.models.import_file import import_weights
from swin_umamba.weights.catalog import CATALOG
from swin_umamba.weights.download import weights_path
from weights.vmamba_files import vmamba_classifier


def test_another_file_is_not_taken_for_a_known_one(classifier_file: Path) -> None:
    torch.save({"model": {"head.weight": torch.ones(3)}}, classifier_file)
    with pytest.raises(UsageError, match="neither the name nor the hash"):
        import_weights(classifier_file)
    with pytest.raises(CheckpointError, match="SHA-256"):
        import_weights(classifier_file, HASHED)
    assert not weights_path(CATALOG[HASHED]).exists()


def test_a_payload_stays_out(classifier_file: Path, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    torch.save({"model": Payload(os.system, f"touch {canary}")}, classifier_file)
    with pytest.raises(CheckpointError, match="system"):
        import_weights(classifier_file, SEEN_FIRST)
    assert not canary.exists()
    assert not weights_path(CATALOG[SEEN_FIRST]).exists()


@pytest.mark.parametrize("change", ["one tensor", "a shape", "a missing one", "another size", "NaN"])
def test_another_network_is_not_pinned(change: str, classifier_file: Path) -> None:
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
    torch.save({"model": tensors}, classifier_file)
    with pytest.raises(CheckpointError):
        import_weights(classifier_file, SEEN_FIRST)
    path = weights_path(CATALOG[SEEN_FIRST])
    assert not path.exists()
    assert not path.with_name(path.name + ".sha256").exists()


@pytest.mark.parametrize("after", ["file_sha256", "copy_file", "load_checkpoint", "put_in_place"])
@pytest.mark.parametrize("name", [HASHED, SEEN_FIRST])
def test_what_is_checked_is_what_is_kept(
    after: str, name: str, classifier_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever may write to the source exchanges it while it is imported."""
    checked, canary = classifier_file.read_bytes(), tmp_path / "canary"
    step = getattr(import_file, after)

    def exchanging(*given: object, **options: object) -> object:
        result = step(*given, **options)
        torch.save({"model": Payload(os.system, f"touch {canary}")}, classifier_file)
        return result

    monkeypatch.setattr(import_file, after, exchanging)
    path = weights_path(CATALOG[name])
    if after == "file_sha256":
        with pytest.raises(CheckpointError, match="changed" if name == HASHED else "system") as caught:
            import_weights(classifier_file, name)
        assert caught.value.where == str(classifier_file)
        assert list(path.parent.iterdir()) == []
    else:
        import_weights(classifier_file, name)
        assert path.read_bytes() == checked
        assert not list(path.parent.glob(".import-*"))
    assert not canary.exists()
