"""Which networks a file fits, and encoders as files of their own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch import Tensor

from payload import Payload
from swin_umamba.errors import CheckpointError, UsageError
from swin_umamba.files import file_sha256
from swin_umamba.models.encoder_weights import convert_file, find_fits
from swin_umamba.models.registry import create_model
from swin_umamba.weights.checkpoint import load_checkpoint
from swin_umamba.weights.inspect_checkpoint import inspect_checkpoint
from weights.vmamba_files import FULL, SMALL, in_new_spelling, vmamba_classifier


@pytest.fixture
def imagenet(tmp_path: Path) -> Path:
    classifier = vmamba_classifier(**SMALL)
    classifier["patch_embed.proj.weight"] = torch.randn(8, 3, 4, 4)
    torch.save({"model": classifier}, tmp_path / "imagenet.pth")
    return tmp_path / "imagenet.pth"


def fits_of(path: Path) -> dict[str, str]:
    return find_fits(inspect_checkpoint(path))


@pytest.mark.parametrize("spelling", [dict, pytest.param(in_new_spelling, marks=pytest.mark.slow)])
def test_fits_of_the_public_checkpoint(tmp_path: Path, spelling: type) -> None:
    torch.save({"model": spelling(vmamba_classifier(**FULL))}, tmp_path / "imagenet.pth")
    fits = fits_of(tmp_path / "imagenet.pth")
    counts = {name: how.split(" of the file")[0] for name, how in fits.items()}
    assert counts == {
        "swin_umamba, 3 channels": "yes: 205 tensors loaded, 0 adapted, 7",
        "swin_umamba, 1 channel": "yes: 205 tensors loaded, 0 adapted, 7",
        "swin_umamba_d, 3 channels": "yes: 208 tensors loaded, 0 adapted, 4",
        "swin_umamba_d, 1 channel": "yes: 204 tensors loaded, 0 adapted, 8",
        "swin_umamba_d, 1 channel, first convolution adapted": "yes: 207 tensors loaded, 1 adapted, 4",
        "swin_umamba_dd": "no: the backbone vmamba_tiny has no stem at half resolution",
        "swin_umamba_v1, 3 channels": "yes: 205 tensors loaded, 0 adapted, 7",
        "swin_umamba_v1, 1 channel": "yes: 205 tensors loaded, 0 adapted, 7",
    }


def test_a_classifier_that_fits_nothing(tmp_path: Path) -> None:
    classifier = vmamba_classifier(**SMALL)
    del classifier["layers.1.blocks.0.self_attention.Ds"]
    torch.save(classifier, tmp_path / "imagenet.pth")
    fits = fits_of(tmp_path / "imagenet.pth")
    assert fits.pop("swin_umamba_dd").startswith("no: the backbone vmamba_tiny has no stem")
    assert len(fits) == 6
    assert all(how.startswith("no: the file lacks 1 tensors") for how in fits.values())


def trained(name: str, in_channels: int, num_classes: int) -> dict[str, Tensor]:
    return create_model(name, in_channels, num_classes, **SMALL, d_state=4).state_dict()


@pytest.mark.parametrize("name", ["swin_umamba", "swin_umamba_d", "swin_umamba_v1"])
def test_a_trained_network_fits_itself_alone(tmp_path: Path, name: str) -> None:
    weights = trained(name, 2, 5)
    torch.save({"network_weights": weights}, tmp_path / "model.pth")
    fits = fits_of(tmp_path / "model.pth")
    assert fits.pop(name) == f"yes: all {len(weights)} tensors, for images with 2 channels and 5 classes"
    assert len(fits) == 3
    assert all(how.startswith("no: ") for how in fits.values())


def test_other_files_fit_nothing(tmp_path: Path) -> None:
    torch.save({"conv1.weight": torch.ones(2)}, tmp_path / "model.pth")
    assert fits_of(tmp_path / "model.pth") == {}


@pytest.mark.parametrize(
    "strange",
    [
        {"stem.0.weight": torch.tensor(1.0)},
        {"stem.0.weight": torch.zeros(1).expand(1, 10**12)},
        {"vssm_encoder.layers.0.blocks.999.self_attention.A_logs": torch.zeros(1).expand(10**9, 10**9)},
        {"vssm_encoder.layers.0.blocks.0.self_attention.A_logs": torch.zeros(0, 0)},
    ],
)
def test_impossible_sizes_are_a_no(
    tmp_path: Path, strange: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("swin_umamba.weights.plain_data.SPARE_BYTES", 2**62)  # else none would be read
    torch.save({"stem.0.weight": torch.zeros(4, 1, 7, 7)} | strange, tmp_path / "model.pth")
    assert all(how.startswith("no: ") for how in fits_of(tmp_path / "model.pth").values())


@pytest.mark.parametrize("adapt", [False, True])
@pytest.mark.parametrize(
    ("name", "in_channels"), [("swin_umamba", 1), ("swin_umamba_d", 1), ("swin_umamba_d", 3)]
)
def test_the_converted_file_gives_the_same_network(
    imagenet: Path, tmp_path: Path, name: str, in_channels: int, adapt: bool
) -> None:
    output = tmp_path / "encoder.safetensors"
    report = convert_file(imagenet, output, name, in_channels, adapt_first_convolution=adapt)
    assert set(load_checkpoint(output)) == {*report.loaded, *report.adapted}
    with safe_open(output, framework="pt") as file:
        assert file.metadata() == {
            "format": "swin-umamba-encoder-1",
            "network": name,
            "in_channels": str(in_channels),
            "adapted": ", ".join(report.adapted),
            "source_sha256": file_sha256(imagenet),
        }
    networks = []
    for options in (
        {"pretrained": imagenet, "adapt_first_convolution": adapt},
        {"pretrained": output},
    ):
        torch.manual_seed(3)
        networks.append(create_model(name, in_channels, 2, **SMALL, **options).state_dict())
    for key, value in networks[0].items():
        assert torch.equal(value, networks[1][key]), key


def test_nothing_is_written_of_what_does_not_fit(tmp_path: Path) -> None:
    output = tmp_path / "encoder.safetensors"
    torch.save({"network_weights": {}}, tmp_path / "trained.pth")
    with pytest.raises(CheckpointError, match="trained segmentation model"):
        convert_file(tmp_path / "trained.pth", output, "swin_umamba", 3)
    torch.save({"model": Payload(os.system, f"touch {tmp_path}/canary")}, tmp_path / "payload.pth")
    with pytest.raises(CheckpointError, match="system"):
        convert_file(tmp_path / "payload.pth", output, "swin_umamba", 3)
    torch.save({"a": torch.ones(1)}, tmp_path / "a.pth")
    with pytest.raises(UsageError, match="no network 'resnet'"):
        convert_file(tmp_path / "a.pth", output, "resnet", 3)
    assert not output.exists()
    assert not (tmp_path / "canary").exists()


@pytest.mark.parametrize("compiled", ["", "_orig_mod."])
def test_trained_networks_are_told_from_classifiers(tmp_path: Path, compiled: str) -> None:
    network = create_model("swin_umamba_d", 1, 2, **SMALL)
    states = {
        "state dict of a whole network": {compiled + key: each for key, each in network.state_dict().items()},
        "trained segmentation model": {f"fold_all/{key}": each for key, each in network.state_dict().items()},
    }
    for said, state in states.items():
        torch.save(state, tmp_path / "mine.pth")
        with pytest.raises(CheckpointError, match=said) as caught:
            create_model("swin_umamba_d", 1, 2, **SMALL, pretrained=tmp_path / "mine.pth")
        assert "Python" in str(caught.value.hint)


def test_names_in_a_file_cannot_write_to_the_terminal(tmp_path: Path) -> None:
    torch.save({"stem.0.weight": torch.zeros(4, 1, 7, 7), "\x1b[2J": torch.ones(1)}, tmp_path / "model.pth")
    fits = fits_of(tmp_path / "model.pth")
    assert all("\x1b" not in how for how in fits.values())
    assert any("[2J" in how for how in fits.values())


def test_a_few_bytes_that_claim_to_be_gigabytes_are_refused(tmp_path: Path) -> None:
    huge = vmamba_classifier((1, 1, 1, 1), (16384,) * 4)
    torch.save({"model": huge}, tmp_path / "huge.pth")
    assert (tmp_path / "huge.pth").stat().st_size < 100_000
    with pytest.raises(CheckpointError, match=r"tensors of [\d,]{14,} bytes, of which at most"):
        convert_file(tmp_path / "huge.pth", tmp_path / "out.safetensors", "swin_umamba_d", 3)
    with pytest.raises(CheckpointError, match="of which at most"):
        fits_of(tmp_path / "huge.pth")
    assert not (tmp_path / "out.safetensors").exists()
