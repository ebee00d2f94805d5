"""Networks travel through the Hub's own methods and stay what they were."""

from __future__ import annotations

import importlib
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from models.tiny_network import IN_CHANNELS, NUM_CLASSES, TINY
from payload import Payload
from swin_umamba.errors import CheckpointError
from swin_umamba.models import swin_umamba, swin_umamba_d

huggingface_hub = pytest.importorskip("huggingface_hub")

from swin_umamba.models import hub  # noqa: E402 - cannot be imported without huggingface_hub

CASES = [
    (hub.SwinUMamba, swin_umamba.SwinUMamba, TINY),
    (hub.SwinUMamba, swin_umamba.SwinUMamba, {**TINY, "use_last_stage": False}),
    (hub.SwinUMambaD, swin_umamba_d.SwinUMambaD, TINY),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A tiny SwinUMambaD as it was saved."""
    hub.SwinUMambaD(IN_CHANNELS, NUM_CLASSES, **TINY).save_pretrained(tmp_path / "saved")
    return tmp_path / "saved"


@pytest.mark.parametrize(("of_hub", "plain", "arguments"), CASES)
def test_round_trip(of_hub: Any, plain: Any, arguments: dict[str, Any], tmp_path: Path) -> None:
    network = of_hub(IN_CHANNELS, num_classes=NUM_CLASSES, **arguments).eval()
    assert isinstance(network, plain)
    network.save_pretrained(tmp_path / "saved")
    assert sorted(os.listdir(tmp_path / "saved")) == ["README.md", "config.json", "model.safetensors"]
    other = of_hub.from_pretrained(tmp_path / "saved")
    given = {"in_channels": IN_CHANNELS, "num_classes": NUM_CLASSES, **arguments}
    config = json.loads((tmp_path / "saved/config.json").read_text())
    assert {key: config[key] for key in given} == json.loads(json.dumps(given))
    assert not other.training
    assert list(other.state_dict()) == list(network.state_dict())
    assert all(parameter.requires_grad for parameter in other.parameters())
    for key, value in network.state_dict().items():
        assert torch.equal(other.state_dict()[key], value), key
        assert other.state_dict()[key].dtype == value.dtype
    image = torch.randn(1, IN_CHANNELS, 40, 32)
    with torch.no_grad():
        for ours, theirs in zip(other(image), network(image), strict=True):
            assert torch.equal(ours, theirs)
    other.save_pretrained(tmp_path / "again")
    for name in ("config.json", "model.safetensors"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "saved" / name).read_bytes()
    # A network without the Hub's methods has the same names, and trains on from there.
    plain(IN_CHANNELS, NUM_CLASSES, **arguments).load_state_dict(other.state_dict())
    other.train()(image)[0].sum().backward()


def test_arguments_given_win_over_the_saved_ones(folder: Path) -> None:
    assert hub.SwinUMambaD.from_pretrained(folder).deep_supervision
    assert not hub.SwinUMambaD.from_pretrained(folder, deep_supervision=False).deep_supervision


def test_weights_in_torchs_own_format(folder: Path) -> None:
    network = hub.SwinUMambaD.from_pretrained(folder)
    torch.save(network.state_dict(), folder / "pytorch_model.bin")
    with torch.device("meta"):
        other = hub.SwinUMambaD(IN_CHANNELS, NUM_CLASSES, **TINY)
    other = hub.SwinUMambaD._load_as_pickle(other, str(folder / "pytorch_model.bin"), "cpu", False)
    assert all(torch.equal(a, b) for a, b in zip(other.parameters(), network.parameters(), strict=True))

    torch.save({"x": Payload(os.mkdir, str(folder / "executed"))}, folder / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="mkdir"):
        hub.SwinUMambaD._load_as_pickle(other, str(folder / "pytorch_model.bin"), "cpu", False)
    assert not (folder / "executed").exists()


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"num_classes": NUM_CLASSES + 1}, "do not fit SwinUMambaD(.|\n)*size mismatch"),
        ({"depths": [1, 1, 1, 1]}, "Unexpected key"),
        ({"depths": [1, 3, 1, 1]}, "Missing key"),
        ({"features_per_stage": [8_000_000, 12_000_000, 16_000_000, 20_000_000]}, "size mismatch"),
        ({"depths": [1, 1, 10**9, 1]}, "more than 1000(.|\n)*smaller depths"),
        ({"depths": "deep"}, "describe no SwinUMambaD"),
        ({"depths": [1, 2]}, "describe no SwinUMambaD"),
        ({"in_channels": None}, "describe no SwinUMambaD"),
    ],
)
def test_a_config_that_does_not_fit(folder: Path, entries: dict[str, Any], message: str) -> None:
    """Not even with huggingface_hub's default, ``strict=False``, may anything stay at random."""
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | entries))
    with pytest.raises(CheckpointError, match=message):
        hub.SwinUMambaD.from_pretrained(folder)


@pytest.mark.parametrize(
    "text", [b"", b"{", b"\xff\xfe", b"[1, 2]", b"7", b'"depths"', b"[" * 100_000, b'{"depths":' * 100_000]
)
def test_a_config_that_is_no_table(text: bytes, folder: Path) -> None:
    (folder / "config.json").write_bytes(text)
    with pytest.raises(CheckpointError):
        hub.SwinUMambaD.from_pretrained(folder)


def test_a_config_that_is_too_large(folder: Path) -> None:
    with (folder / "config.json").open("r+b") as file:
        file.truncate(2**40)  # sparse: reading it would need the memory
    with pytest.raises(CheckpointError, match=r"config\.json"):
        hub.SwinUMambaD.from_pretrained(folder)


def test_the_config_of_a_repository_is_checked(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[Any, ...]] = []

    def download(repo_id: str, filename: str, **given: Any) -> str:
        asked.append((repo_id, filename, given))
        return str(folder / filename)

    monkeypatch.setattr("swin_umamba.models.hub.hf_hub_download", download)
    (folder / "config.json").write_text("[1, 2]")
    with pytest.raises(CheckpointError, match=r"config\.json"):
        hub.SwinUMambaD.from_pretrained("user/repository", revision="v1", deep_supervision=False)
    assert asked == [("user/repository", "config.json", {"revision": "v1"})]


def test_damaged_weights(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(CheckpointError, match=r"damaged(.|\n)*model\.safetensors"):
        hub.SwinUMambaD.from_pretrained(folder)
    path.unlink()
    with pytest.raises(CheckpointError, match="no checkpoint file"):
        hub.SwinUMambaD.from_pretrained(folder)


def test_push(monkeypatch: pytest.MonkeyPatch) -> None:
    pushed: dict[str, Any] = {}

    class Api:
        def __init__(self, token: str | None = None) -> None:
            pass

        def create_repo(self, repo_id: str, **_: Any) -> Any:
            return huggingface_hub.RepoUrl(f"https://huggingface.co/{repo_id}")

        def upload_folder(self, *, repo_id: str, folder_path: Path, **_: Any) -> str:
            pushed.update(repo_id=repo_id, files=sorted(os.listdir(folder_path)))
            pushed["card"] = (folder_path / "README.md").read_text()
            return "done"

    monkeypatch.setattr("huggingface_hub.hub_mixin.HfApi", Api)
    network = hub.SwinUMambaD(IN_CHANNELS, NUM_CLASSES, **TINY)
    assert network.push_to_hub("user/repository") == "done"
    assert pushed["repo_id"] == "user/repository"
    assert pushed["files"] == ["README.md", "config.json", "model.safetensors"]
    assert "library_name: swin-umamba" in pushed["card"]


def test_absence_of_huggingface_hub_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    monkeypatch.delitem(sys.modules, hub.__name__)
    with pytest.raises(ImportError, match=r"pip install 'swin-umamba\[hub\]'"):
        importlib.import_module(hub.__name__)
