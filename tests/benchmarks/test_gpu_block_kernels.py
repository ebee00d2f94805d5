"""Kernels beside the scan: what is wrong is found, and what is faster and right is taken."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from gpu_parts import BENCHMARKS  # isort: skip

pytest.importorskip("triton", reason="Triton is not installed")
from gpu import block_kernels, facts, tuning
from gpu.block_kernels import CANDIDATES, Candidate
from gpu.record import Finding
from gpu.runner import Context
from ops.triton_interpreter import DEVICE, fast_interpreter  # noqa: F401
from swin_umamba.ops.launch_settings import DEFAULT, SETTINGS_PARTS, read_settings

assert BENCHMARKS.is_dir()
CANDIDATE = CANDIDATES[0]
WRONG: dict[str, Callable[[Tensor], Tensor]] = {
    "right": lambda y: y,
    "a thousandth too large": lambda y: 1.001 * y,
    "not a number": lambda y: y / 0 * 0,
    "of no two runs alike": lambda y: y * (1 + 1e-6 * torch.rand_like(y)),
}


@pytest.mark.slow
@pytest.mark.usefixtures("fast_interpreter")
@pytest.mark.parametrize("candidate", CANDIDATES, ids=lambda each: each.setting)
def test_the_kernels_are_right_and_measured(candidate: Candidate, tmp_path: Path) -> None:
    found: list[Finding] = []
    context = Context(True, tmp_path, facts.INVENTED, found.append)
    assert block_kernels.must_be_right(candidate, context)
    ours, theirs = block_kernels.measure(candidate, context, [block_kernels.TINY])
    assert len(ours) == len(theirs) == 2
    assert min(ours + theirs) > 0
    assert [each.kind for each in found] == ["must", "speed", "speed"]


@pytest.mark.parametrize("name", WRONG)
def test_wrong_numbers_are_found(name: str) -> None:
    change = WRONG[name]
    kernel = replace(CANDIDATE, kernel=lambda *tensors: change(CANDIDATE.reference(*tensors)))
    worst = [times for _, times in block_kernels.check(kernel, DEVICE, tiny=True)]
    assert worst
    assert all((times < 1) == (name == "right") for times in worst)


@pytest.mark.parametrize(
    ("right", "times", "taken"), [(True, 0.5, True), (True, 0.99, False), (False, 0.5, False)]
)
def test_a_right_and_clearly_faster_kernel_is_taken(
    right: bool, times: float, taken: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measured(
        candidate: Candidate, context: Context, shapes: Sequence[block_kernels.Shape]
    ) -> tuple[list[float], list[float]]:
        return [times] * len(shapes), [1.0] * len(shapes)

    monkeypatch.setattr(block_kernels, "must_be_right", lambda candidate, context: right)
    monkeypatch.setattr(block_kernels, "measure", measured)
    of_card = tuning.Tuning(Context(True, tmp_path, facts.INVENTED, lambda finding: None))
    of_card.ask_for_kernels()
    file = tmp_path / tuning.FILE_NAME
    assert file.exists() == right
    for candidate in CANDIDATES:
        assert candidate.setting in SETTINGS_PARTS
        assert not getattr(DEFAULT, candidate.setting)
        if right:
            assert getattr(read_settings(file, facts.INVENTED["card"]), candidate.setting) is taken
