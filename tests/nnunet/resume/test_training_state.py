"""Random generators and copies of a training state."""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from nnunet.tiny_training import DAGGER, make_trainer
from swin_umamba.errors import CheckpointError
from swin_umamba.nnunet.environment import Dataset
from swin_umamba.nnunet.resume import training_state
from swin_umamba.nnunet.resume.training_state import (
    copied_to_cpu,
    random_state,
    reproducibility,
    restore_random_state,
    seed_everything,
)
from swin_umamba.nnunet.training.options import TrainingOptions
from swin_umamba.weights.checkpoint import load_checkpoint, save_checkpoint

CPU = torch.device("cpu")


def draw() -> tuple[float, float, float, float]:
    # An odd number of normal draws leaves one in NumPy's buffer, which is part of its state.
    return random.random(), np.random.normal(), np.random.rand(), torch.rand(1).item()  # noqa: NPY002


def test_random_generators_go_on_after_a_round_trip_through_a_file(tmp_path: Path) -> None:
    seed_everything(3)
    draw()
    save_checkpoint(tmp_path / "state.pth", {"state": random_state(CPU)})
    expected = [draw() for _ in range(3)]
    seed_everything(4)
    restore_random_state(load_checkpoint(tmp_path / "state.pth")["state"], CPU)
    assert [draw() for _ in range(3)] == expected


def test_equal_seeds_give_equal_draws() -> None:
    seed_everything(3)
    first = draw()
    seed_everything(3)
    assert draw() == first


@pytest.fixture
def generators(monkeypatch: pytest.MonkeyPatch) -> dict[int, torch.Tensor]:
    """The states of the generators of four GPUs that are not there, by number."""
    states = {number: torch.tensor([number], dtype=torch.uint8) for number in range(4)}

    def restore(state: torch.Tensor, device: torch.device) -> None:
        states[device.index or 0] = state

    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda device: states[device.index or 0])
    monkeypatch.setattr(torch.cuda, "set_rng_state", restore)
    return states


@pytest.mark.parametrize("before", ["cuda", "cuda:0", "cuda:2"])
@pytest.mark.parametrize("after", ["cuda", "cuda:0", "cuda:3"])
def test_the_generator_of_the_training_device_goes_on_where_the_run_does(
    before: str, after: str, generators: dict[int, torch.Tensor], caplog: pytest.LogCaptureFixture
) -> None:
    first, second = torch.device(before), torch.device(after)
    generators[first.index or 0] = torch.tensor([77], dtype=torch.uint8)
    state = random_state(first)
    assert len(state["cuda"]) == 1
    generators.update({number: torch.tensor([number], dtype=torch.uint8) for number in range(4)})
    restore_random_state(state, second)
    assert {number: int(each) for number, each in generators.items()} == {
        number: 77 if number == (second.index or 0) else number for number in range(4)
    }
    assert not caplog.records


@pytest.mark.usefixtures("generators")
@pytest.mark.parametrize(("before", "after"), [("cpu", "cuda:1"), ("cuda", "cpu"), ("cuda:1", "mps")])
def test_another_kind_of_device_has_other_random_numbers(
    before: str, after: str, caplog: pytest.LogCaptureFixture
) -> None:
    restore_random_state(random_state(torch.device(before)), torch.device(after))
    assert f"not trained on {after}" in caplog.text


@pytest.mark.parametrize(("stored", "device", "restored"), [(4, 2, True), (2, 1, True), (2, 3, False)])
def test_earlier_checkpoints_have_the_generators_of_all_gpus(
    stored: int,
    device: int,
    restored: bool,
    generators: dict[int, torch.Tensor],
    caplog: pytest.LogCaptureFixture,
) -> None:
    state = random_state(CPU)
    del state["mps"]
    state["cuda"] = [torch.tensor([10 + number], dtype=torch.uint8) for number in range(stored)]
    restore_random_state(state, torch.device("cuda", device))
    assert int(generators[device]) == (10 + device if restored else device)
    assert bool(caplog.records) != restored


def flags() -> tuple[bool, bool, bool, str | None]:
    cudnn = torch.backends.cudnn
    variable = os.environ.get("CUBLAS_WORKSPACE_CONFIG")
    return cudnn.benchmark, cudnn.deterministic, torch.are_deterministic_algorithms_enabled(), variable


@pytest.mark.parametrize("before", [(False, False), (True, False), (False, True)])
@pytest.mark.parametrize(
    ("options", "within"),
    [
        ({}, (True, False, False, None)),
        ({"seed": 3}, (False, True, False, None)),
        ({"seed": 3, "deterministic": True}, (False, True, True, ":4096:8")),
    ],
)
def test_settings_for_speed_or_for_equal_results(
    before: tuple[bool, bool],
    options: dict[str, Any],
    within: tuple[bool, bool, bool, str | None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    for name, value in zip(("benchmark", "deterministic"), before, strict=True):
        monkeypatch.setattr(torch.backends.cudnn, name, value)
    tf32 = torch.backends.cudnn.allow_tf32, torch.backends.cudnn.conv.fp32_precision
    with pytest.raises(KeyError), reproducibility(TrainingOptions(**options), CPU):  # noqa: PT012
        assert flags() == within
        assert (torch.backends.cudnn.allow_tf32, torch.backends.cudnn.conv.fp32_precision) == tf32
        raise KeyError
    assert flags() == (*before, False, None)


def test_a_workspace_of_the_users_own_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")
    with reproducibility(TrainingOptions(seed=1, deterministic=True), CPU):
        assert flags()[3] == ":16:8"
    assert flags()[3] == ":16:8"


def test_copies_share_nothing() -> None:
    original = {"weights": {"a": torch.zeros(2)}, "log": [[1.0], (torch.ones(1), "text")], "scaler": None}
    copy = copied_to_cpu(original)
    original["weights"]["a"] += 1
    original["log"][0].append(2.0)
    assert torch.equal(copy["weights"]["a"], torch.zeros(2))
    assert copy["log"][0] == [1.0]
    assert copy["log"][1][1] == "text"
    assert copy["scaler"] is None


class Elsewhere(torch.Tensor):
    """A tensor on a GPU, as far as it says so itself."""

    device = torch.device("cuda:1")  # type: ignore[assignment]


@pytest.mark.parametrize("is_granted", [True, False], ids=["pinned", "pageable"])
def test_the_host_waits_once_for_copies_from_a_gpu(is_granted: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[object] = []

    def pinned_like(tensor: torch.Tensor) -> torch.Tensor:
        if not is_granted:
            raise RuntimeError("no more pinned memory")
        return torch.full_like(tensor.as_subclass(torch.Tensor), -1).as_subclass(Pinned)

    class Pinned(torch.Tensor):
        def copy_(self, source: torch.Tensor, non_blocking: bool = False) -> torch.Tensor:
            events.append(non_blocking)
            return super().copy_(source.as_subclass(torch.Tensor), non_blocking).as_subclass(torch.Tensor)

    monkeypatch.setattr(training_state, "_pinned_like", pinned_like)
    monkeypatch.setattr(torch.cuda, "synchronize", events.append)
    a, b = torch.tensor([1.0, 2.0]), torch.ones(2, 3).mT
    original = {"a": a.as_subclass(Elsewhere), "more": [(b.as_subclass(Elsewhere), 5), torch.zeros(1)]}
    copy = copied_to_cpu(original)
    assert events == ([True, True, Elsewhere.device] if is_granted else [])
    a += 1
    b += 1
    assert copy["a"].tolist() == [1, 2]
    assert copy["more"][0][0].tolist() == [[1, 1]] * 3
    assert copy["more"][0][1] == 5


def test_the_host_waits_for_no_copies_from_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.cuda, "synchronize")
    assert copied_to_cpu([torch.ones(2)])[0].tolist() == [1, 1]


@pytest.mark.usefixtures("tiny_trainers")
def test_a_run_goes_on_with_its_loss_alone(planned_dataset: Dataset) -> None:
    trainer = make_trainer(planned_dataset, DAGGER, pretrained="none")
    trainer.initialize()
    state = trainer.state(next_epoch=3)
    trainer.loss.loss.dc = torch.compile(trainer.loss.loss.dc, backend="eager")  # is the same loss
    trainer.restore(state)
    assert trainer.current_epoch == 3
    parts = trainer.loss.loss
    trainer.loss.loss = nn.BCEWithLogitsLoss()
    with pytest.raises(
        CheckpointError, match=r"DC_and_CE_loss of .*, and the present one is .*BCEWithLogitsLoss"
    ):
        trainer.restore(state)
    trainer.loss = parts.__call__  # a loss need not be a module
    with pytest.raises(CheckpointError, match="the present one is method"):
        trainer.restore(state)
    del state["swin_umamba"]["loss"]  # of an earlier version
    trainer.restore(state)


def test_a_run_on_the_cpu_of_a_machine_with_gpus_stays_one(caplog: pytest.LogCaptureFixture) -> None:
    """Earlier versions stored the generators of all GPUs, whatever the device."""
    state = random_state(torch.device("cpu"))
    del state["mps"]
    state["cuda"] = [torch.tensor([1], dtype=torch.uint8)] * 2
    restore_random_state(state, torch.device("cpu"))
    assert not caplog.records
