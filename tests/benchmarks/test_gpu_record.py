"""The record, the arithmetic and the verdicts of the GPU check, without any step of it."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from gpu_parts import BENCHMARKS  # isort: skip
from gpu import arithmetic, facts, runner
from gpu.claims import CLAIMS, verdicts
from gpu.explain import sentence
from gpu.record import JSON_NAME, REHEARSAL, TABLE_NAME, Finding, Record, StepResult, read_record, status_of
from gpu.runner import Context, NotRunError, Step, run_all, run_step
from swin_umamba.errors import BackendError, DataError, OutputError

ENVIRONMENT = {"card": "A", "capability": "9.0", "driver": "1", "torch": "2", "triton": "3", "code": "c"}


def context_in(folder: Path, *, rehearse: bool = True) -> Context:
    return Context(rehearse, folder, dict(ENVIRONMENT), lambda finding: None)


def test_share_of_the_exponentials() -> None:
    """An H100: 132 multiprocessors at 1.755 GHz do 3.71e12; 192 channels, 128 x 128, 16 states need 201e6."""
    possible = arithmetic.peak_exponentials(132, 1.755e9)
    assert possible == pytest.approx(3.7066e12, rel=1e-4)
    count = arithmetic.exponentials(1, 192, 128 * 128, 16)
    assert count == 4 * 192 * 16384 * 16 == 201_326_592
    assert arithmetic.exponentials(8, 192, 128 * 128, 16, backward=True) == 16 * count
    assert arithmetic.share_of_sfu(count, 2 * count / possible, possible) == pytest.approx(0.5)
    for seconds in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="measured"):
            arithmetic.share_of_sfu(count, seconds, possible)


def test_compulsory_bytes() -> None:
    """Per pixel in float32: x and y of 192 channels, and four directions of 6 + 2 * 16."""
    assert arithmetic.compulsory_bytes(1, 192, 1, 16, 6) == 4 * (192 + 4 * 38 + 192)
    assert arithmetic.compulsory_bytes(2, 192, 3, 16, 6, size=2) == 6 * 2 * (192 + 4 * 38 + 192)
    both = arithmetic.compulsory_bytes(1, 192, 1, 16, 6, backward=True)
    assert both == 4 * (3 * (192 + 152) + 2 * 192)
    assert arithmetic.share(1, 4) == 0.25
    with pytest.raises(ValueError, match="share"):
        arithmetic.share(1, 0)


@pytest.mark.parametrize(
    ("findings", "status"),
    [
        ([], "passed"),
        ([Finding("a", "fact", 1.0)], "passed"),
        ([Finding("a", "speed", 1.0, passed=None)], "passed"),
        ([Finding("a", "speed", 1.0, passed=False)], "warned"),
        ([Finding("a", "must", passed=True), Finding("b", "speed", passed=False)], "warned"),
        ([Finding("a", "must", passed=False), Finding("b", "speed", passed=False)], "failed"),
        ([Finding("a", "must", passed=None)], "failed"),
    ],
)
def test_status(findings: list[Finding], status: str) -> None:
    assert status_of(findings) == status


def test_a_record_comes_back_only_for_the_same_card_software_and_code(tmp_path: Path) -> None:
    record = Record(tmp_path, ENVIRONMENT, rehearsal=False)
    result = StepResult("one", "passed", 1.5, findings=[Finding("a | b", "must", 0.25, "", True, "x\ny")])
    record.write(1, result, verdicts(record))
    again = Record(tmp_path, ENVIRONMENT, rehearsal=False)
    again.resume()
    assert again.steps == {"1": result}
    assert again.done(1)
    assert not again.done(2)
    assert "| a \\| b | 0.25 | ok | x y |" in (tmp_path / TABLE_NAME).read_text()
    for name in ENVIRONMENT:
        with pytest.raises(OutputError, match=f"another {name}"):
            Record(tmp_path, ENVIRONMENT | {name: "other"}, rehearsal=False).resume()
    with pytest.raises(OutputError, match="rehearsal"):
        Record(tmp_path, ENVIRONMENT, rehearsal=True).resume()
    (tmp_path / JSON_NAME).write_text(json.dumps({"rehearsal": False, "environment": ENVIRONMENT}))
    with pytest.raises(OutputError, match="no steps"):
        Record(tmp_path, ENVIRONMENT, rehearsal=False).resume()


def test_a_rehearsal_is_never_a_figure(tmp_path: Path) -> None:
    sent: list[Finding] = []
    context = context_in(tmp_path)
    context.send = sent.append
    context.speed("scan", 12.5, "ms", at_least=1.0)
    assert sent[0].value is None
    assert sent[0].passed is None
    record = Record(tmp_path, ENVIRONMENT, rehearsal=True)
    record.write(1, StepResult("one", "passed", findings=sent), verdicts(record))
    text = (tmp_path / TABLE_NAME).read_text()
    assert text.startswith(f"# {REHEARSAL}")
    assert "12.5" not in text
    assert "not measured" in text
    with pytest.raises(DataError, match="rehearsal"):
        read_record(tmp_path)
    assert all(each["verdict"] == "not shown: a rehearsal" for each in verdicts(record))


def test_verdicts(tmp_path: Path) -> None:
    record = Record(tmp_path, ENVIRONMENT, rehearsal=False)
    claim = next(each for each in CLAIMS if each.steps == (6, 7))
    place = CLAIMS.index(claim)
    assert verdicts(record)[place]["verdict"] == "not shown: step 6, 7 not run"
    record.steps["6"] = StepResult("six", "warned")
    assert verdicts(record)[place]["verdict"] == "not shown: step 7 not run"
    record.steps["7"] = StepResult("seven", "timed out")
    assert verdicts(record)[place]["verdict"] == "refuted by step 7"
    record.steps["7"] = StepResult("seven", "passed")
    assert verdicts(record)[place]["verdict"] == "shown by step 6, 7"


def test_what_is_claimed_is_claimed_there() -> None:
    for claim in CLAIMS:
        assert claim.phrase in (BENCHMARKS.parent / claim.place).read_text(), claim


def test_no_figure_of_a_gpu_is_published_without_a_record() -> None:
    records = sorted((BENCHMARKS / "results").glob("*/gpu_check.json"))
    for path in records:
        assert read_record(path.parent)["steps"]
    said = "No figures of a GPU exist yet"
    assert (said in (BENCHMARKS / "results" / "README.md").read_text()) == (not records)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("CUDA out of memory. Tried to allocate", "not enough free memory"),
        ("CUDA driver version is insufficient for CUDA runtime version", "update the driver"),
        ("the provided PTX was compiled with an unsupported toolchain.", "older than Triton's compiler"),
        ("Failed to find C compiler. Please specify via CC", "install gcc"),
        ("fatal error: Python.h: No such file", "python3-dev"),
        ("CUDA error: an illegal memory access was encountered", "chunked"),
        ("Current device has no bfloat16 support", "no bfloat16"),
        ("something\nnew", "something new"),
        ("", "RuntimeError"),
    ],
)
def test_an_error_is_one_sentence(text: str, said: str) -> None:
    line = sentence(RuntimeError(text))
    assert said in line
    assert "\n" not in line


def _hangs(context: Context) -> None:
    context.must("before", True)
    (context.folder / "hangs").touch()
    time.sleep(600)


def _dies(context: Context) -> None:
    context.must("before", True)
    os._exit(7)


def _raises(context: Context) -> None:
    raise RuntimeError("CUDA out of memory")


def _cannot(context: Context) -> None:
    raise NotRunError("too small")


def _is_wrong(context: Context) -> None:
    context.must("number", False, 3.0)


def _passes(context: Context) -> None:
    context.must("number", True, 1.0)


@pytest.mark.parametrize(
    ("run", "limit", "status", "reason", "findings"),
    [
        (_passes, 300.0, "passed", "", 1),
        (_is_wrong, 300.0, "failed", "", 1),
        (_raises, 300.0, "failed", "not enough free memory", 0),
        (_cannot, 300.0, "not run", "too small", 0),
        (_dies, 300.0, "crashed", "7", 1),
        (_hangs, 300.0, "timed out", "stopped after", 1),
    ],
)
def test_a_step_costs_only_itself(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    run: Any,
    limit: float,
    status: str,
    reason: str,
    findings: int,
) -> None:
    def clock() -> float:
        return time.monotonic() + 2 * limit * (tmp_path / "hangs").exists()

    monkeypatch.setattr(runner, "time", SimpleNamespace(monotonic=clock))
    context = context_in(tmp_path)
    context.rehearse = False  # the interpreter is not needed
    result = run_step(Step("title", run, limit), context, limit)
    assert result.status == status
    assert reason in result.reason
    assert len(result.findings) == findings


def test_speed_only_warns_and_what_is_missing_is_said(tmp_path: Path) -> None:
    context = context_in(tmp_path, rehearse=False)
    assert run_step(Step("title", _raises, 9, only_speed=True), context, 9).status == "warned"
    result = run_step(Step("title", _passes, 9, ("no_such_module",)), context, 9)
    assert (result.status, result.reason) == ("not run", "no_such_module missing")


def test_it_stops_at_the_first_failure_and_resumes_there(tmp_path: Path) -> None:
    said: list[str] = []
    record = Record(tmp_path, ENVIRONMENT, rehearsal=False)
    context = context_in(tmp_path, rehearse=False)
    steps = {1: Step("one", _passes, 9), 2: Step("two", _is_wrong, 9), 3: Step("three", _passes, 9)}
    options: dict[str, Any] = {"wanted": [1, 2, 3], "say": said.append}
    assert run_all(steps, record, context, resume=False, **options) == 1
    assert [step.status for step in record.steps.values()] == ["passed", "failed"]
    again = Record(tmp_path, ENVIRONMENT, rehearsal=False)
    again.resume()
    steps[2] = Step("two", _passes, 9)
    assert run_all(steps, again, context, resume=True, **options) == 0
    assert "1. one: done before" in said
    assert [step.status for step in again.steps.values()] == ["passed"] * 3


def test_without_a_card_it_says_so() -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a card")
    with pytest.raises(BackendError, match=r"without CUDA|no card"):
        facts.card_facts()
