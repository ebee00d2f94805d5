"""ImageNet weights: which tensor goes where, in both spellings, and what is refused."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from swin_umamba.errors import CheckpointError
from swin_umamba.models.registry import create_model
from swin_umamba.weights.convert import convert_imagenet_weights, load_imagenet_weights
from weights.vmamba_files import FULL, SMALL, Sizes, in_new_spelling, vmamba_classifier


def on_meta(name: str, in_channels: int, sizes: Sizes) -> nn.Module:
    with torch.device("meta"):
        return create_model(name, in_channels, 2, **sizes)


@pytest.fixture
def classifier() -> dict[str, Tensor]:
    return vmamba_classifier(**SMALL)


PATCH_EMBED = {f"patch_embed.{name}" for name in ("proj.weight", "proj.bias", "norm.weight", "norm.bias")}
CLASSIFIER = {"norm.weight", "norm.bias", "head.weight", "head.bias"}


@pytest.mark.parametrize("spelling", [dict, in_new_spelling])
@pytest.mark.parametrize(
    ("name", "in_channels", "loaded", "patch_embed_loaded", "left"),
    [
        ("swin_umamba", 1, 205, {"patch_embed.norm.bias"}, 49 + 3),
        ("swin_umamba", 3, 205, {"patch_embed.norm.bias"}, 49 + 3),
        ("swin_umamba_d", 1, 204, set(), 104 + 4),
        ("swin_umamba_d", 3, 208, PATCH_EMBED, 104),
        ("swin_umamba_d", 4, 204, set(), 104 + 4),
    ],
)
def test_the_published_mapping_at_full_size(
    name: str, in_channels: int, loaded: int, patch_embed_loaded: set[str], left: int, spelling: type
) -> None:
    source = vmamba_classifier(**FULL)
    assert len(source) == 212
    assert sum(tensor.numel() for tensor in source.values()) == 22_893_448
    target = on_meta(name, in_channels, FULL).state_dict()
    converted, report = convert_imagenet_weights(spelling(source), target, "file")
    assert len(report.loaded) == len(converted) == loaded
    assert len(report.missing) == left
    skipped = CLASSIFIER | (PATCH_EMBED - patch_embed_loaded)
    assert set(report.skipped) == set(spelling(dict.fromkeys(skipped)))
    assert all(report.skipped.values())
    for key, tensor in source.items():
        if key not in skipped:
            place = re.sub(r"layers\.(\d)\.downsample", r"downsamples.\1", key)
            assert converted[f"vssm_encoder.{place}"] is tensor, key


@pytest.mark.parametrize("wrapped", [True, False])
def test_loading_changes_exactly_what_the_report_says(
    classifier: dict[str, Tensor], tmp_path: Path, wrapped: bool
) -> None:
    content = {"model": classifier, "epoch": 292, "optimizer": {"lr": 1e-3}} if wrapped else classifier
    torch.save(content, tmp_path / "vmamba.pth")
    network = create_model("swin_umamba", 1, 2, **SMALL)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    report = load_imagenet_weights(network, tmp_path / "vmamba.pth")
    after = network.state_dict()
    for key in report.missing:
        assert torch.equal(after[key], before[key])
    for key in report.loaded:
        source = re.sub(r"downsamples\.(\d)", r"layers.\1.downsample", key.removeprefix("vssm_encoder."))
        assert torch.equal(after[key], classifier[source]), key
    assert set(report.loaded) | set(report.missing) == set(after)


def without(classifier: dict[str, Tensor], pattern: str) -> dict[str, Tensor]:
    return {key: value for key, value in classifier.items() if not re.search(pattern, key)}


def reshaped(classifier: dict[str, Tensor], key: str) -> dict[str, Tensor]:
    return classifier | {key: torch.zeros(5, 5)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c | {"layers.0.blocks.0.extra": torch.ones(1)}, r"layers\.0\.blocks\.0\.extra"),
        (lambda c: c | {"layers.0.blocks.0.mlp.fc1.weight": torch.ones(1)}, "newer VMamba architecture"),
        (lambda c: c | {"patch_embed.5.weight": torch.ones(1)}, "newer VMamba architecture"),
        (lambda c: reshaped(c, "layers.1.blocks.0.self_attention.Ds"), r"Ds \(5, 5\), expected \(128,\)"),
        (lambda c: reshaped(c, "layers.0.downsample.norm.bias"), r"downsample\.norm\.bias"),
        (lambda c: without(c, r"downsample"), "lacks 9 tensors"),
        (lambda c: without(c, r"patch_embed"), "lacks 4 tensors"),
        (lambda c: without(c, r"layers\.2\.blocks\.1\.ln_1\.bias"), r"layers\.2\.blocks\.1\.ln_1\.bias"),
        (lambda c: c | {"patch_embed.0.weight": c["patch_embed.proj.weight"]}, "twice"),
        (lambda c: {f"module.{key}": value for key, value in c.items()}, r"module\.patch_embed"),
        (lambda c: c | {"epoch": 3}, "epoch"),
        (
            lambda c: c | {"layers.1.downsample.norm.bias": torch.full((64,), float("nan"))},
            r"1 tensors hold NaN or infinity: vssm_encoder\.downsamples\.1\.norm\.bias",
        ),
        (
            lambda c: c | {"layers.1.downsample.norm.bias": torch.ones(64, dtype=torch.int32)},
            r"1 tensors do not hold floating-point numbers: vssm_encoder\.downsamples\.1\.norm\.bias",
        ),
        (
            lambda c: c | {"layers.0.blocks.0.mlp.fc1.weight": torch.ones(1)},
            r"is of VMamba, but for tensors of .*: layers\.0\.blocks\.0\.mlp\.fc1\.weight",
        ),
        (lambda c: {}, "no state dict"),
        (lambda c: {"model": None}, "no state dict"),
        (lambda c: {"network_weights": c}, "nnU-Net"),
    ],
)
@pytest.mark.parametrize("name", ["swin_umamba", "swin_umamba_d"])
def test_what_cannot_be_explained_is_refused_and_changes_nothing(
    name: str, classifier: dict[str, Tensor], tmp_path: Path, change, message: str
) -> None:
    path = tmp_path / "vmamba.pth"
    torch.save(change(classifier), path)
    network = create_model(name, 3, 2, **SMALL)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    with pytest.raises(CheckpointError, match=message) as caught:
        load_imagenet_weights(network, path)
    assert caught.value.where == str(path)
    assert caught.value.hint
    for key, value in network.state_dict().items():
        assert torch.equal(value, before[key])


def test_weights_of_another_size_are_refused(classifier: dict[str, Tensor]) -> None:
    target = on_meta("swin_umamba_d", 3, FULL).state_dict()
    with pytest.raises(CheckpointError, match=r"patch_embed\.proj\.weight \(8, 3, 4, 4\), expected \(96, "):
        convert_imagenet_weights(classifier, target, "file")


PROJECTION = "vssm_encoder.patch_embed.proj.weight"


@pytest.mark.parametrize("spelling", [dict, in_new_spelling])
@pytest.mark.parametrize("in_channels", [1, 2, 4, 7])
def test_the_first_convolution_adapted_on_request(in_channels: int, spelling: type) -> None:
    source = vmamba_classifier(**FULL)
    kernel = torch.arange(96 * 3 * 16.0).reshape(96, 3, 4, 4)
    source["patch_embed.proj.weight"] = kernel
    target = on_meta("swin_umamba_d", in_channels, FULL).state_dict()
    converted, report = convert_imagenet_weights(
        spelling(source), target, "file", adapt_first_convolution=True
    )
    assert len(report.loaded) == 207
    assert report.adapted == {PROJECTION: f"3 input channels in the file, {in_channels} here"}
    assert len(report.skipped) == 4
    assert len(report.missing) == 104
    assert not any(name.startswith("vssm_encoder") for name in report.missing)
    for name in ("proj.bias", "norm.weight", "norm.bias"):
        assert converted[f"vssm_encoder.patch_embed.{name}"] is source[f"patch_embed.{name}"]
    new = converted[PROJECTION]
    assert new.shape == (96, in_channels, 4, 4)
    if in_channels == 1:
        assert torch.equal(new, kernel[:, :1] + kernel[:, 1:2] + kernel[:, 2:])
    else:
        for channel in range(in_channels):
            torch.testing.assert_close(new[:, channel], kernel[:, channel % 3] * 3 / in_channels)


@pytest.mark.parametrize(
    ("name", "in_channels"), [("swin_umamba", 1), ("swin_umamba", 5), ("swin_umamba_d", 3)]
)
def test_adapting_changes_nothing_where_nothing_can_be_adapted(
    classifier: dict[str, Tensor], name: str, in_channels: int
) -> None:
    target = on_meta(name, in_channels, SMALL).state_dict()
    one = convert_imagenet_weights(classifier, target, "file", adapt_first_convolution=True)
    other = convert_imagenet_weights(classifier, target, "file")
    assert one[1] == other[1]
    assert all(one[0][key] is other[0][key] for key in other[0])


def test_a_first_convolution_of_another_width_is_not_adapted(classifier: dict[str, Tensor]) -> None:
    classifier["patch_embed.proj.weight"] = torch.zeros(9, 3, 4, 4)
    target = on_meta("swin_umamba_d", 1, SMALL).state_dict()
    with pytest.raises(CheckpointError, match=r"proj\.weight \(9, 3, 4, 4\), expected \(8, 1, 4, 4\)"):
        convert_imagenet_weights(classifier, target, "file", adapt_first_convolution=True)


@pytest.mark.parametrize("adapt", [False, True])
@pytest.mark.parametrize(
    ("name", "in_channels"), [("swin_umamba", 1), ("swin_umamba_d", 1), ("swin_umamba_d", 3)]
)
def test_what_was_converted_loads_into_the_same_network(
    classifier: dict[str, Tensor], name: str, in_channels: int, adapt: bool
) -> None:
    target = on_meta(name, in_channels, SMALL).state_dict()
    first, first_report = convert_imagenet_weights(classifier, target, "file", adapt_first_convolution=adapt)
    second, report = convert_imagenet_weights(first, target, "converted")
    assert list(second) == list(first)
    assert all(second[key] is first[key] for key in first)
    assert report.missing == first_report.missing
    assert report.skipped == report.adapted == {}


def test_what_was_converted_for_the_other_network(classifier: dict[str, Tensor]) -> None:
    plain, dagger = (on_meta(name, 3, SMALL).state_dict() for name in ("swin_umamba", "swin_umamba_d"))
    # The dagger's has all that the plain network takes of the classifier itself.
    for_dagger, _ = convert_imagenet_weights(classifier, dagger, "file")
    converted, report = convert_imagenet_weights(for_dagger, plain, "converted")
    assert set(converted) == set(convert_imagenet_weights(classifier, plain, "file")[0])
    assert len(report.skipped) == 3
    # The plain network's lacks the patch embedding, of which a lone bias would be of no use.
    for_plain, _ = convert_imagenet_weights(classifier, plain, "file")
    converted, report = convert_imagenet_weights(for_plain, dagger, "converted")
    bias = "vssm_encoder.patch_embed.norm.bias"
    assert report.skipped == {bias: "the file lacks the rest of the patch embedding"}
    assert {key for key in dagger if key.startswith("vssm_encoder")} - set(converted) == {
        f"vssm_encoder.{key}" for key in PATCH_EMBED
    }


def test_a_converted_file_that_lacks_a_tensor_is_refused(classifier: dict[str, Tensor]) -> None:
    target = on_meta("swin_umamba_d", 1, SMALL).state_dict()
    converted, _ = convert_imagenet_weights(classifier, target, "file")
    del converted["vssm_encoder.downsamples.1.norm.bias"]
    with pytest.raises(CheckpointError, match=r"lacks 1 tensors .*downsamples\.1\.norm\.bias"):
        convert_imagenet_weights(converted, target, "converted")


def test_the_report_as_text(classifier: dict[str, Tensor]) -> None:
    target = on_meta("swin_umamba_d", 1, SMALL).state_dict()
    _, report = convert_imagenet_weights(classifier, target, "file", adapt_first_convolution=True)
    lines = report.lines()
    assert lines[0] == (
        f"{len(report.loaded)} tensors loaded, 1 adapted, 4 of the file skipped, 104 of the network "
        "as initialised"
    )
    assert lines[1] == f"  adapted: {PROJECTION}: 3 input channels in the file, 1 here"
    assert lines[2] == "  skipped: norm.weight: belongs to the classifier, not to the encoder"
    assert lines[6:] == ["  as initialised: decoder (104 tensors): new, as the classifier has none"]
    _, report = convert_imagenet_weights(classifier, on_meta("swin_umamba", 1, SMALL).state_dict(), "file")
    assert "  as initialised: stem (4 tensors): new, as the classifier has none" in report.lines()
    assert (
        "  as initialised: vssm_encoder.patch_embed (3 tensors): nothing in the file fits it"
        in report.lines()
    )
    parts = [line for line in report.lines() if "as initialised:" in line]
    assert sum(int(re.search(r"\((\d+) tensor", line)[1]) for line in parts) == len(report.missing)


@pytest.mark.parametrize("with_config", [True, False])
def test_both_generations_at_full_size_reach_the_network(tmp_path: Path, with_config: bool) -> None:
    """The first has the training configuration beside the weights, the second has not."""
    content = {"model": vmamba_classifier(**FULL), "epoch": 292}
    if with_config:
        content["config"] = {"MODEL": {"SWIN": {"IN_CHANS": 3}}}
    torch.save(content, tmp_path / "vmamba.pth")
    network = create_model("swin_umamba_d", 3, 2)
    report = load_imagenet_weights(network, tmp_path / "vmamba.pth")
    assert len(report.loaded) == 208
    first = content["model"]["patch_embed.proj.weight"]
    assert torch.equal(network.vssm_encoder.patch_embed.proj.weight, first)
