"""How launches are tuned: candidates with invented times, of which some compute something wrong."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch

from gpu_parts import BENCHMARKS  # isort: skip

pytest.importorskip("triton", reason="Triton is not installed")
from gpu import block_kernels, checks, choice, facts, tuning
from gpu.record import Finding
from gpu.runner import Context
from ops.triton_interpreter import fast_interpreter  # noqa: F401
from swin_umamba.ops.launch_settings import DEFAULT, LaunchSettings, read_settings, settings_path
from swin_umamba.ops.triton.launch import TimeLoop, chunk_steps

assert BENCHMARKS.is_dir()
CARD = facts.INVENTED["card"]
BEST = LaunchSettings(
    chunk_registers=128,
    part_registers=None,
    loop_warps=4,
    enough_warps=384,
    gradient_registers=160,
    product_rank=48,
)


class Card(tuning.Tuning):
    """One whose times are known: each number that is not ``BEST`` costs a tenth, and few tiles are slow."""

    def scan_seconds(self, settings: LaunchSettings, shape: tuning.Shape, forward: bool) -> float:
        names = [name for name in asdict(BEST) if name not in ("enough_warps", "product_rank")]
        wrong = sum(getattr(settings, name) != getattr(BEST, name) for name in names)
        steps = chunk_steps(self.work(shape), 1, settings.enough_warps)
        ideal = chunk_steps(self.work(shape), 1, BEST.enough_warps)
        rank = shape[0] // 32
        wrong += (settings.product_rank <= rank) != (BEST.product_rank <= rank)
        return shape[3] * 1.1**wrong * (1 + abs(math.log2(steps / ideal)))

    def time(self, call: Callable[[], object]) -> float:
        tiles = call.__closure__[0].cell_contents.shape[0]  # type: ignore[index]
        return 1.0 + tiles

    def must_be_right(self, settings: LaunchSettings, name: str) -> bool:
        return settings.output_registers != 96


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Finding]:
    monkeypatch.setenv("SWIN_UMAMBA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(Context, "device", torch.device("cpu"))
    monkeypatch.setattr(tuning, "network", lambda *_, **__: torch.nn.Identity())
    monkeypatch.setattr(tuning, "STAGES", ((192, 128, 128), (1536, 16, 16)))
    monkeypatch.setattr(block_kernels, "CANDIDATES", ())
    return []


def tuned(found: list[Finding], folder: Path, monkeypatch: pytest.MonkeyPatch, **more: Any) -> None:
    monkeypatch.setattr(tuning, "Tuning", Card)
    tuning.tune(Context(False, folder, facts.INVENTED | {"triton": "3.7"}, found.append, **more))


def test_the_fastest_right_settings_are_written(
    found: list[Finding], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where this user's later runs look for them."""
    monkeypatch.setattr(tuning, "TILES", (1, 2, 4))
    tuned(found, tmp_path, monkeypatch)
    expected = LaunchSettings(**asdict(BEST) | {"tiles_times": 4})
    assert read_settings(tmp_path / tuning.FILE_NAME, CARD) == expected
    assert read_settings(settings_path(CARD), CARD) == expected
    taken = {each.name: each.value for each in found if each.name.startswith("taken")}
    assert taken["taken: output_registers"] == "None"
    ratios = {each.name: each.value for each in found if each.name.startswith("tuned")}
    assert all(value is not None and value < 0.7 for value in ratios.values())
    assert len(ratios) == 2


def test_what_computes_something_wrong_is_never_taken(
    found: list[Finding], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Card, "scan_seconds", lambda self, settings, *_: settings.output_registers or 1e3)
    card = Card(Context(False, tmp_path, facts.INVENTED, found.append))
    card.ask("output_registers", tuning.REGISTERS, True)
    assert card.best == LaunchSettings(output_registers=128)


def test_wrong_numbers_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[Finding] = []
    monkeypatch.setattr(checks, "scan_errors", lambda *_: {"output": 1e-3})
    card = tuning.Tuning(Context(True, tmp_path, facts.INVENTED, found.append))
    assert not card.must_be_right(DEFAULT, "loop_warps 2")
    (finding,) = found
    assert finding.passed is False
    assert finding.name == "image, loop_warps 2"


def test_what_was_found_is_kept_when_the_time_is_over(
    found: list[Finding], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = iter([1e3] * 2 + [0.0] * 100)
    monkeypatch.setattr(Context, "seconds_left", property(lambda self: next(left)))
    tuned(found, tmp_path, monkeypatch)
    assert read_settings(tmp_path / tuning.FILE_NAME, CARD) == LaunchSettings(loop_warps=4)
    assert sum(each.note == "no time left" for each in found) > 4


@pytest.mark.usefixtures("fast_interpreter")
@pytest.mark.slow
def test_a_rehearsal_writes_beside_its_record_alone(found: list[Finding], tmp_path: Path) -> None:
    tuning.tune(Context(True, tmp_path, facts.INVENTED, found.append))
    assert (tmp_path / tuning.FILE_NAME).exists()
    assert not settings_path(CARD).exists()
    assert all(each.value is None for each in found if each.kind == "speed")


def test_choosing() -> None:
    assert choice.mean_ratio([2, 1], [1, 2]) == 1
    assert choice.winner({None: 1.0, 96: 0.99, 128: 1.2}, None) is None
    assert choice.winner({None: 1.0, 96: 0.97, 128: 0.9}, None) == 128
    assert choice.smallest_as_good({1: 5.0, 2: 3.0, 4: 2.05, 8: 2.0}) == 4
    assert choice.threshold({6: False, 12: True, 24: True}, 1025) == 12
    assert choice.threshold({6: True, 12: False, 24: True}, 1025) == 24
    assert choice.threshold({6: True, 12: False}, 1025) == 1025


@pytest.mark.parametrize("work", [32, 100, 3 * 16384, 48 * 16384, 2**28 + 1])
@pytest.mark.parametrize("steps", [16, 32, 64, 128, 256])
def test_a_length_of_chunks_can_be_asked_for(work: int, steps: int) -> None:
    if work >= steps:
        assert chunk_steps(work, 1, choice.enough_for(work, steps)) == steps


def test_lengths_that_were_not_measured_are_not_taken() -> None:
    rule = lambda work, enough: chunk_steps(work, 1, enough)  # noqa: E731
    work = 32 * 1024
    measured = [(work, {32: 3.0, 64: 1.0})]
    assert rule(work, 1024) == 32
    assert rule(work, 128) == 256
    assert choice.best_enough(measured, (128, 256, 512, 1024), 1024, rule) == 512
    assert choice.best_enough([], (128, 256), 1024, rule) == 1024
    assert TimeLoop.of(192, 16, DEFAULT).warps_at_once(2, 192) == 6
