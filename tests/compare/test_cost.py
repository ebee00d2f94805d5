"""Seconds and memory of a network, measured in a process of its own."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from swin_umamba.cli.main import main
from swin_umamba.compare import cost
from swin_umamba.compare.cost import _median_seconds, measure_cost
from swin_umamba.errors import DataError, UsageError
from work import calls_of


def test_the_first_call_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    clock = iter([0.0, 100.0, 0.0, 1.0, 0.0, 3.0, 0.0, 2.0, 0.0, 9.0, 0.0, 5.0])
    monkeypatch.setattr(cost, "perf_counter", lambda: next(clock))
    calls: list[int] = []
    assert _median_seconds(lambda: calls.append(1), torch.device("cpu")) == 3.0
    assert len(calls) == 6


def test_an_unknown_network_starts_no_process() -> None:
    with pytest.raises(UsageError, match="swin_umamba_e"):
        measure_cost("swin_umamba_e", 1, 2, (64, 64))


def test_a_training_step_is_more_work_than_a_forward_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    def count(function: Callable[[], None], device: object) -> float:
        function()  # the first call imports
        return calls_of(function)

    monkeypatch.setattr(cost, "_median_seconds", count)
    monkeypatch.setattr(cost, "run_apart", lambda name, function, *arguments: function(*arguments))
    measured = measure_cost("swin_umamba_dd", 1, 2, (64, 64))
    assert 0 < measured.inference_seconds < measured.step_seconds


@pytest.mark.slow
def test_cost_of_a_network(capfd: pytest.CaptureFixture[str]) -> None:
    arguments = ["models", "swin_umamba_dd", "--size", "64", "64", "--measure", "--device", "cpu"]
    assert main([*arguments, "--json"]) == 0
    (row,) = json.loads(capfd.readouterr().out)["networks"]
    assert min(row["inference_seconds"], row["step_seconds"]) > 0
    # Weights, their gradients, and Python with torch.
    assert row["memory_bytes"] > 2 * 4 * row["parameters"]
    assert main(arguments) == 0
    assert "s training  peak MiB" in capfd.readouterr().out
    with pytest.raises(DataError, match="smaller than 32x32"):
        measure_cost("swin_umamba_dd", 1, 2, (16, 16))
