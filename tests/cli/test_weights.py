"""The command weights: what it prints, its exit codes, and that no file makes it run anything."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from payload import Payload
from swin_umamba.cli import main as main_module
from swin_umamba.cli import train
from swin_umamba.cli.main import main
from swin_umamba.cli.weights_download import training
from swin_umamba.models.registry import list_models
from swin_umamba.nnunet.trainers import find_trainer
from swin_umamba.nnunet.training.options import TrainingOptions
from swin_umamba.nnunet.training.swin_umamba_trainer import SwinUMambaTrainer
from swin_umamba.weights import catalog, download
from swin_umamba.weights.checkpoint import load_checkpoint
from weights.file_server import FileServer
from weights.vmamba_files import SMALL, vmamba_classifier

ACTIONS = ["convert", "download", "import", "inspect", "list"]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    torch.save({"model": vmamba_classifier(**SMALL), "epoch": 292}, tmp_path / "vmamba.pth")
    return tmp_path / "vmamba.pth"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SWIN_UMAMBA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.delenv("SWIN_UMAMBA_OFFLINE", raising=False)
    return tmp_path / "cache" / "weights"


def text_of(capsys: pytest.CaptureFixture[str], *arguments: object, code: int = 0) -> str:
    assert main(["weights", *map(str, arguments)]) == code
    captured = capsys.readouterr()
    return captured.err if code else captured.out


@pytest.mark.parametrize("action", ACTIONS)
def test_help_of_each_action(action: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_info:
        main(["weights", action, "--help"])
    assert exit_info.value.code == 0
    assert "--json" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [[], ["fetch"], ["inspect"], ["convert", "a.pth"]])
def test_wrong_usage_is_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert "--help" in text_of(capsys, *arguments, code=2)


@pytest.mark.parametrize("place", ["before", "after"])
def test_json_before_and_after_the_action(place: str, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--json", "list"] if place == "before" else ["list", "--json"]
    entries = json.loads(text_of(capsys, *arguments))["weights"]
    assert [entry["name"] for entry in entries] == list(catalog.CATALOG)


def test_help_names_the_cache_and_the_offline_mode(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["weights", "--help"])
    text = capsys.readouterr().out
    assert all(name in text for name in ("SWIN_UMAMBA_CACHE", "SWIN_UMAMBA_OFFLINE", "HTTPS_PROXY"))


def test_list(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cache.mkdir(parents=True)
    (cache / "vmamba_tiny_e292.pth").write_bytes(b"x")
    text = text_of(capsys, "list")
    first, second, third, *_ = text.split("\n\n")
    record = catalog.CATALOG["vmamba_tiny_v0cls"]
    for part in ("vmamba_tiny_v0cls", record.url, record.sha256, "91,649,482 bytes", "(not there)", "MIT"):
        assert part in first
    for part in (
        "vmamba_tiny_e292",
        "none: the file has to be put there by hand",
        "unverified",
        "e292.pth (there)",
    ):
        assert part in second
    for part in ("vmamba_tiny_s1l8", "top-1 82.6 %", "vssm1_tiny_0230s_ckpt_epoch_264.pth", "unverified"):
        assert part in third


def test_download(
    file: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    content = file.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    with FileServer() as server:
        server.content = content
        record = replace(
            catalog.CATALOG["vmamba_tiny_v0cls"], url=server.address("good"), size=len(content), sha256=digest
        )
        for module in (catalog, download):
            monkeypatch.setattr(module, "CATALOG", {record.name: record})
        text = text_of(capsys, "download", record.name)
        assert text.splitlines()[:2] == [f"{record.name}: {cache / record.file_name}", f"SHA-256: {digest}"]
        assert text.splitlines()[2:] == [f"train with it: {training(record.name, cache / record.file_name)}"]
        result = json.loads(text_of(capsys, "download", record.name, "--json"))
    expected = {"name": record.name, "file": str(cache / record.file_name), "sha256": digest}
    assert result == {"schema": 2, **expected}
    assert (cache / record.file_name).read_bytes() == content
    assert len(server.requests) == 1


@pytest.mark.parametrize("weights", catalog.CATALOG)
def test_the_training_that_is_printed_takes_the_weights(weights: str) -> None:
    args = main_module.build_parser().parse_args(shlex.split(training(weights, "my weights.pth"))[1:])
    assert args.pretrained == "my weights.pth"
    options = train._options(args)
    trainer = find_trainer(options.get("trainer", TrainingOptions.trainer), options.get("backbone"))
    assert issubclass(trainer, SwinUMambaTrainer)
    backbone = trainer.network_kwargs.get("backbone", trainer.network_class.default_backbone)
    assert backbone == catalog.backbone_of_weights(weights).name


def test_download_of_what_is_not_known(capsys: pytest.CaptureFixture[str]) -> None:
    assert "did you mean vmamba_tiny_v0cls" in text_of(capsys, "download", "vmamba_tiny_v0", code=2)
    assert "no address" in text_of(capsys, "download", "vmamba_tiny_e292", code=1)


def test_inspect(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = text_of(capsys, "inspect", file).splitlines()
    assert lines[0] == f"{file}: VMamba classifier, layers named as in its first version"
    assert lines[1].startswith("82 tensors, ")
    assert lines[2] == f"SHA-256: {hashlib.sha256(file.read_bytes()).hexdigest()}"
    assert lines[3:7] == ["backbone: vmamba_tiny", "epoch: 292", "entries: model, epoch", "fits:"]
    assert lines[7].startswith("  swin_umamba, 3 channels: yes: 75 tensors loaded")
    result = json.loads(text_of(capsys, "inspect", file, "--json"))
    assert result["tensors"] == 82
    assert {name.partition(",")[0] for name in result["fits"]} >= set(list_models())
    assert len(result["fits"]) == 8
    assert result["fits"]["swin_umamba_dd"] == "no: the backbone vmamba_tiny has no stem at half resolution"
    assert result["backbone"] == "vmamba_tiny"


def test_inspect_of_other_weights(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"conv1.weight": torch.ones(3)}, tmp_path / "resnet.pth")
    text = text_of(capsys, "inspect", tmp_path / "resnet.pth")
    assert "state dict of a network that is not ours" in text
    assert "backbone:" not in text
    assert text.endswith("fits none of the networks\n")


def test_convert(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "encoder.safetensors"
    text = text_of(capsys, "convert", file, "-o", output, "--in-channels", 1, "--adapt-first-convolution")
    assert text.splitlines()[0].startswith("77 tensors loaded, 1 adapted, 4 of the file skipped")
    assert text.splitlines()[-1] == f"written: {output}"
    weights = load_checkpoint(output)
    assert len(weights) == 78
    assert weights["vssm_encoder.patch_embed.proj.weight"].shape == (8, 1, 4, 4)
    assert "--overwrite" in text_of(capsys, "convert", file, "-o", output, code=2)
    options = ["--model", "swin_umamba", "--force", "--json"]
    result = json.loads(text_of(capsys, "convert", file, "-o", output, *options))
    assert sorted(result["loaded"]) == sorted(load_checkpoint(output))
    assert len(result["loaded"]) == 75


def test_convert_writes_safetensors_only(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "ends in .safetensors" in text_of(capsys, "convert", file, "-o", "a.pth", code=2)
    assert "did you mean swin_umamba" in text_of(
        capsys, "convert", file, "-o", "a.safetensors", "--model", "swinumamba", code=2
    )


def published_model(folder: Path, checkpoint: Path) -> Path:
    (folder / "fold_all").mkdir(parents=True)
    (folder / "plans.json").write_text("{}")
    (folder / "dataset.json").write_text("{}")
    (folder / "fold_all" / "checkpoint_final.pth").write_bytes(checkpoint.read_bytes())
    return folder


@pytest.mark.parametrize("new_format", [True, False])
@pytest.mark.parametrize("action", ["download", "inspect", "convert", "import"])
def test_a_payload_is_refused_by_every_action(
    action: str,
    new_format: bool,
    tmp_path: Path,
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    bad = tmp_path / "bad.pth"
    content = {"network_weights": {}, "model": Payload(os.system, f"touch {tmp_path}/canary")}
    torch.save(content, bad, _use_new_zipfile_serialization=new_format)
    before = {path for path in tmp_path.rglob("*") if path.is_file()}
    with FileServer() as server:
        server.content = bad.read_bytes()
        record = replace(
            catalog.CATALOG["vmamba_tiny_v0cls"], url=server.address("good"), size=None, sha256=None
        )
        for module in (catalog, download):
            monkeypatch.setattr(module, "CATALOG", {record.name: record})
        arguments = {
            "download": ["download", record.name],
            "inspect": ["inspect", bad],
            "convert": ["convert", bad, "-o", tmp_path / "out.safetensors"],
            "import": ["import", published_model(tmp_path / "model", bad), "-o", tmp_path / "imported"],
        }[action]
        error = text_of(capsys, *arguments, code=1)
    assert "system', which weights never need; nothing of it ran" in error
    assert not (tmp_path / "canary").exists()
    after = {
        path for path in tmp_path.rglob("*") if path.is_file() and tmp_path / "model" not in path.parents
    }
    assert {path for path in after - before if not path.name.startswith(".lock-")} == set()


def test_weights_is_a_command() -> None:
    assert "weights" in main_module.COMMANDS
