"""Starting from a trained network: what is loaded, adapted and begun afresh, and what is refused."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from swin_umamba.errors import CheckpointError
from swin_umamba.models.registry import create_model
from swin_umamba.weights.fine_tune import (
    adapt_input_channels,
    convert_segmentation_weights,
    find_segmentation_weights,
    is_segmentation_checkpoint,
)

SMALL: dict[str, Any] = {"depths": (1, 1, 1, 1), "features_per_stage": (8, 12, 16, 20), "d_state": 2}
FIRST_CONVOLUTIONS = {
    "swin_umamba": {"stem.0.weight", "encoder1.layer.conv1.conv.weight", "encoder1.layer.conv3.conv.weight"},
    "swin_umamba_d": {"vssm_encoder.patch_embed.proj.weight"},
}
NUM_HEADS = 4
BOTH = pytest.mark.parametrize("name", ["swin_umamba", "swin_umamba_d"])

StateDict = dict[str, Tensor]


def state_dict(name: str, in_channels: int = 3, num_classes: int = 4, **sizes: Any) -> StateDict:
    return create_model(name, in_channels, num_classes, **(SMALL | sizes)).state_dict()


@BOTH
def test_the_same_task_takes_every_tensor(name: str) -> None:
    source, target = state_dict(name), state_dict(name)
    converted, report = convert_segmentation_weights(source, target, "file")
    assert set(report.loaded) == set(converted) == set(target)
    assert all(converted[key] is source[key] for key in target)
    counts = f"{len(target)} tensors loaded, 0 adapted, 0 re-initialised, 0 of the file skipped, 0 missing"
    assert report.lines() == [counts]


@BOTH
def test_other_classes_start_new_heads(name: str) -> None:
    source, target = state_dict(name), state_dict(name, num_classes=6)
    converted, report = convert_segmentation_weights(source, target, "file")
    heads = {key for key in target if "out_layers" in key or "seg_layers" in key}
    assert len(heads) == 2 * NUM_HEADS
    assert set(report.reinitialised) == heads
    assert set(report.reinitialised.values()) == {"4 classes in the file, 6 here"}
    assert set(converted) == set(target) - heads
    assert not report.adapted
    assert sum("re-initialised: " in line for line in report.lines()) == len(heads)


@BOTH
@pytest.mark.parametrize(("same_classes", "new_heads"), [(True, 0), (None, 0), (False, 2 * NUM_HEADS)])
def test_equally_many_classes_may_be_others(name: str, same_classes: bool | None, new_heads: int) -> None:
    source, target = state_dict(name), state_dict(name)
    _, report = convert_segmentation_weights(source, target, "file", same_classes=same_classes)
    assert len(report.reinitialised) == new_heads


@BOTH
@pytest.mark.parametrize(("old", "new"), [(3, 1), (1, 3), (3, 5), (5, 2)])
def test_other_channels_adapt_the_first_convolutions(name: str, old: int, new: int) -> None:
    source, target = state_dict(name, old), state_dict(name, new)
    converted, report = convert_segmentation_weights(source, target, "file")
    assert set(report.adapted) == FIRST_CONVOLUTIONS[name]
    assert set(report.adapted.values()) == {f"{old} input channels in the file, {new} here"}
    assert not report.reinitialised
    create_model(name, new, 4, **SMALL).load_state_dict(converted)


def test_a_shortcut_comes_and_goes_with_the_channels() -> None:
    shortcut = "encoder1.layer.conv3.conv.weight"
    as_many_as_the_block = SMALL["features_per_stage"][0] // 2
    three, equal = state_dict("swin_umamba", 3), state_dict("swin_umamba", as_many_as_the_block)
    assert shortcut in three
    assert shortcut not in equal
    converted, report = convert_segmentation_weights(three, equal, "file")
    assert set(report.skipped) == {shortcut}
    assert set(converted) == set(equal)
    converted, report = convert_segmentation_weights(equal, three, "file")
    assert set(report.reinitialised) == {shortcut}
    assert set(converted) == set(three) - {shortcut}


@pytest.mark.parametrize(("old", "new"), [(3, 1), (1, 3), (2, 4)])
def test_an_adapted_kernel_answers_equal_channels_as_before(old: int, new: int) -> None:
    weight = torch.randn(5, old, 3, 3, dtype=torch.float64)
    grey = torch.randn(1, 1, 8, 8, dtype=torch.float64)
    before = torch.nn.functional.conv2d(grey.expand(-1, old, -1, -1), weight)
    after = torch.nn.functional.conv2d(grey.expand(-1, new, -1, -1), adapt_input_channels(weight, new))
    torch.testing.assert_close(after, before)


def test_channels_are_repeated_in_turn() -> None:
    weight = torch.tensor([1.0, 2.0, 3.0]).view(1, 3, 1, 1)
    assert adapt_input_channels(weight, 4).flatten().tolist() == pytest.approx([0.75, 1.5, 2.25, 0.75])
    assert adapt_input_channels(weight, 2).flatten().tolist() == pytest.approx([1.5, 3.0])
    assert adapt_input_channels(weight, 1).flatten().tolist() == [6.0]


def without(source: StateDict, pattern: str) -> StateDict:
    return {key: value for key, value in source.items() if not re.search(pattern, key)}


@pytest.mark.parametrize(
    ("change", "message", "hint"),
    [
        (lambda s: s | {"extra.weight": torch.ones(1)}, r"extra\.weight", "same network"),
        (lambda s: without(s, r"layers\.2\.blocks\.0\.ln_1\.bias"), "ln_1.bias .not in the file", "same"),
        (lambda s: s | {"vssm_encoder.downsamples.0.norm.bias": torch.ones(7)}, r"norm\.bias \(7,\)", "same"),
        (lambda s: s | {"stem.0.weight": torch.ones(4, 0, 7, 7)}, r"stem\.0\.weight \(4, 0", "same"),
        (lambda s: s | {"out_layers.0.conv.conv.weight": torch.ones(4, 9, 1, 1)}, r"out_layers\.0", "same"),
        (lambda s: without(s, r"^decoder6\."), "decoder6", "first published version"),
        (lambda s: {f"module.{key}": value for key, value in s.items()}, r"module\.stem", "same"),
        (lambda s: state_dict("swin_umamba_d"), "do not fit", "the file is of SwinUMambaD"),
        (lambda s: state_dict("swin_umamba", depths=(1, 1, 2, 1)), r"layers\.2\.blocks\.1", "depths"),
    ],
)
def test_what_cannot_be_explained_is_refused(
    change: Callable[[StateDict], StateDict], message: str, hint: str
) -> None:
    target = state_dict("swin_umamba")
    with pytest.raises(CheckpointError, match=message) as caught:
        convert_segmentation_weights(change(state_dict("swin_umamba")), target, "file")
    assert caught.value.where == "file"
    assert hint in str(caught.value.hint)


def test_the_kinds_of_checkpoint_are_told_apart() -> None:
    for name in ("swin_umamba", "swin_umamba_d"):
        assert is_segmentation_checkpoint(state_dict(name))
        assert is_segmentation_checkpoint({"network_weights": state_dict(name), "current_epoch": 3})
    assert not is_segmentation_checkpoint({"model": {"patch_embed.proj.weight": torch.ones(1)}})
    assert not is_segmentation_checkpoint({"patch_embed.proj.weight": torch.ones(1)})


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({}, "no weights"),
        (None, "no weights"),
        ({"stem.0.weight": 3}, r"not floating-point tensors: stem\.0\.weight"),
        ({"stem.0.weight": torch.ones(2, dtype=torch.long)}, "not floating-point tensors"),
        ({"stem.0.weight": torch.tensor([1.0, float("nan")])}, "NaN"),
    ],
)
def test_what_is_no_set_of_weights_is_refused(weights: Any, message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        find_segmentation_weights({"network_weights": weights}, "file")


def test_an_exported_file_has_its_fold_before_each_name() -> None:
    weights = {"fold_1/stem.0.weight": torch.ones(2), "fold_1/stem.0.bias": torch.ones(1)}
    assert is_segmentation_checkpoint(weights)
    assert set(find_segmentation_weights(weights, "file")) == {"stem.0.weight", "stem.0.bias"}
    with pytest.raises(CheckpointError, match="2 folds"):
        find_segmentation_weights(weights | {"fold_2/stem.0.weight": torch.ones(2)}, "file")


def test_weights_are_found_bare_and_in_a_training_checkpoint() -> None:
    weights = {"stem.0.weight": torch.ones(2)}
    assert find_segmentation_weights(weights, "file") == weights
    assert find_segmentation_weights({"network_weights": weights, "optimizer_state": {}}, "file") == weights
