"""What the GPU check looks at, as tests: on a GPU at real sizes, else tiny ones in Triton's interpreter.

Here the logic of each is run; with ``-m gpu`` the steps themselves are, one test each.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gpu_parts import BENCHMARKS  # isort: skip

pytest.importorskip("triton", reason="Triton is not installed")
from gpu import checks, facts, networks, numbers, stopped_ranks, timing
from gpu.record import Finding
from gpu.runner import Context, NotRunError
from ops.scan_inputs import image_inputs
from ops.triton_interpreter import DEVICE, fast_interpreter  # noqa: F401
from swin_umamba.ops.triton import launch
from swin_umamba.tiling.sliding_window import SlidingWindow

ON_GPU = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]
STEPS: dict[str, Callable[[Context], None]] = {
    "scans": numbers.scans,
    "large offsets": numbers.large_offsets,
    "repeats": numbers.repeats,
    "whole networks": networks.whole_networks,
    "training": networks.training,
    "prediction": networks.prediction,
}
pytestmark = pytest.mark.usefixtures("fast_interpreter")
assert BENCHMARKS.is_dir()


@pytest.mark.parametrize("name", [pytest.param(name, marks=ON_GPU) for name in STEPS])
def test_step_on_a_gpu(name: str, tmp_path: Path) -> None:
    """At real sizes; large ones are skipped where they do not fit."""
    findings: list[Finding] = []
    context = Context(False, tmp_path, facts.card_facts(), findings.append)
    try:
        STEPS[name](context)
    except NotRunError as reason:
        pytest.skip(str(reason))
    wrong = [finding for finding in findings if finding.kind == "must" and finding.passed is not True]
    assert findings
    assert not wrong


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_the_device_is_timed_apart_from_the_host() -> None:
    """A wait of a known number of cycles, queued; and a call that waits for the device is not measured."""
    seconds = timing.time_call(lambda: torch.cuda._sleep(20_000_000), DEVICE, 3)
    assert seconds.device is not None
    assert 5e-3 < seconds.device < 50e-3  # 0.4 to 4 GHz
    assert seconds.device < 1.1 * seconds.host
    assert timing.time_call(torch.cuda.synchronize, DEVICE, 1).device is None


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
def test_errors_of_a_scan_in_units_of_their_tolerance(dtype: torch.dtype) -> None:
    inputs = image_inputs(1, 2, batch=1, d_state=1)
    errors = checks.scan_errors(inputs, dtype, DEVICE)
    types = checks.half_types(inputs, dtype)
    assert 0 <= checks.times_tolerance(errors, types) < 1
    wrong = errors | {"gradient of A": 3 * checks.FLOAT32_TOLERANCE}
    assert checks.times_tolerance(wrong, types) == pytest.approx(3)
    lost = errors | {"output": float("inf")}
    assert checks.times_tolerance(lost, types) == float("inf")


def test_a_value_that_is_never_written_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    from swin_umamba.ops.triton import ss2d_scan

    monkeypatch.setattr(ss2d_scan, "ss2d_outputs", lambda *tensors: None)
    errors = checks.scan_errors(image_inputs(1, 2, batch=1, d_state=1), torch.float32, DEVICE)
    assert errors["output"] == float("inf")


def test_a_repeat_that_differs_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    results = iter([[torch.zeros(2)], [torch.zeros(2)], [torch.tensor([0.0, 1e-7])], [torch.zeros(2)]])
    monkeypatch.setattr(checks, "outputs_and_gradients", lambda inputs, cotangent: next(results))
    assert checks.different_repeats(image_inputs(1, 2, batch=1, d_state=1), DEVICE, 3) == 1


@pytest.mark.slow
def test_parts_of_an_image_equal_the_whole() -> None:
    assert numbers._strided_is_equal(DEVICE)
    with torch.no_grad():
        assert numbers._images_alone_agree(1, 3, 2, torch.float32, DEVICE)


@pytest.mark.slow
@pytest.mark.parametrize("wide", [False, True])
def test_states_in_halves_equal_the_whole(wide: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if wide:
        monkeypatch.setattr(launch, "MOST_OFFSET", 1)
    assert numbers.states_in_halves_error(1, 2, 2, torch.float32, DEVICE) < 1


def test_a_wrong_gradient_of_a_large_projection_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its last states, as if their offsets had wrapped around."""

    def scan(
        x: Tensor, x_dbl: Tensor, weight: Tensor, bias: Tensor, A: Tensor, D: Tensor, **_: Any
    ) -> Tensor:
        low = x_dbl[..., :1].sum() * (weight.sum() + bias.sum()) + D.sum()
        B, C = x_dbl[..., 1:].chunk(2, -1)
        if wraps and B.shape[-1] == 4:
            B = torch.cat([B[..., :3], B[..., :1]], -1)
        return x * (B * C * A.sum((0, 1))).sum((3, 4))[..., None] + low * A.shape[2] * x

    monkeypatch.setattr(numbers, "ss2d_scan", scan)
    for wraps in (False, True):
        torch.manual_seed(0)
        error = numbers.states_in_halves_error(2, 3, 4, torch.float32, DEVICE)
        assert (error > 1e3) if wraps else (error < 1)


def test_the_sums_do_not_fit_and_a_tile_does() -> None:
    window = SlidingWindow((128, 128), 64)
    sums = networks.bytes_of_sums(window, torch.zeros(1, 24, 256, 256))
    assert sums == 4 * 65 * 24 * 256 * 256
    for enough in (10**8, 10**9, 10**10):
        limit = networks.memory_limit(enough, sums)
        assert enough + networks.SPARE <= limit <= enough + sums - networks.SPARE
    with pytest.raises(NotRunError, match="too small"):
        networks.memory_limit(10**9, networks.SPARE)


class Bias(nn.Module):
    """A network of three classes that takes no time."""

    def forward(self, image: Tensor) -> Tensor:
        return torch.cat([image, image + 1, image - 1], 1)


@pytest.mark.parametrize(("attempts", "passed"), [(1, True), (0, False)])
def test_a_prediction_that_never_ran_out_of_memory_shows_nothing(
    attempts: int, passed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    findings: list[Finding] = []
    made = networks.FullCard
    monkeypatch.setattr(networks, "network", lambda *_, **__: Bias())
    monkeypatch.setattr(networks, "FullCard", lambda model, _: made(model, attempts))
    networks.prediction(Context(True, tmp_path, facts.INVENTED, findings.append))
    reached, logits, labels = findings
    assert reached.name == "the second attempt was reached"
    assert (reached.passed, reached.value) == (passed, attempts)
    assert logits.passed
    assert labels.passed


def test_errors_of_vectors() -> None:
    truth = torch.tensor([3.0, -4.0], dtype=torch.float64)
    assert checks.largest_error(truth + torch.tensor([0.0, 1.0]), truth) == 0.25
    assert checks.length_error(truth + torch.tensor([0.0, 1.0]), truth) == 0.2
    lost = torch.tensor([3.0, float("nan")], dtype=torch.float64)
    assert checks.largest_error(lost, truth) == checks.length_error(lost, truth) == float("inf")


@pytest.mark.skipif(torch.cuda.is_available(), reason="the CPU has no time of its own")
def test_a_cpu_has_no_seconds_of_a_device() -> None:
    calls: list[int] = []
    seconds = timing.time_call(lambda: calls.append(1), DEVICE, 3)
    assert seconds.device is None
    assert seconds.best == seconds.host >= 0
    assert len(calls) == 3


def test_without_nnunet_the_stop_of_a_training_is_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stopped_ranks, "NEEDS", ("no_such_module",))
    findings: list[Finding] = []
    stopped_ranks.stop_and_resume(Context(True, tmp_path, facts.INVENTED, findings.append), 1)
    assert [finding.note for finding in findings] == ["not run: no_such_module missing"]
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_signal_to_one_rank_of_torchrun_stops_both(tmp_path: Path) -> None:
    pytest.importorskip("nnunetv2")
    findings: list[Finding] = []
    stopped_ranks.stop_and_resume(Context(True, tmp_path, facts.INVENTED, findings.append), 1)
    assert len(findings) == 5
    assert all(finding.passed for finding in findings), findings
