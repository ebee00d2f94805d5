"""Compiling kernels in advance, by Triton's interpreter where there is no GPU."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch

from swin_umamba.models import warm_up
from swin_umamba.models.warm_up import ScanJob, compile_all, compile_scan, jobs_of_networks
from swin_umamba.ops import ss2d_scan as scans


@pytest.mark.parametrize("capability", [(7, 5), (8, 0), (9, 0)])
def test_jobs_are_the_layers_of_the_networks(
    capability: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    jobs = jobs_of_networks(torch.device("cuda"))
    assert len(set(jobs)) == len(jobs)
    ways = {("float16", True), ("float32", False)} | ({("bfloat16", True)} if capability >= (8, 0) else set())
    assert {(job.precision, job.trained) for job in jobs} == ways
    for precision, trained in ways:
        sizes = {
            (job.d_model, job.d_state) for job in jobs if (job.precision, job.trained) == (precision, trained)
        }
        assert {(96, 16), (192, 16), (384, 16), (768, 16)} <= sizes
    assert jobs[0] == ScanJob(768, 16, "float16", True)


@pytest.mark.parametrize("trained", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_job_runs_all_passes_of_a_scan(trained: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("triton")
    called = set()
    load = scans.load_backend

    def recorded(name: str, operator: str) -> Any:
        module = load(name, operator)

        class Recorder:
            def __getattr__(self, function: str) -> Any:
                called.add((name, function))
                return getattr(module, function)

        return Recorder()

    monkeypatch.setattr(scans, "load_backend", recorded)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    compile_scan(ScanJob(16, 2, "float32", trained), device)
    assert ("triton", "ss2d_scan_forward") in called
    assert (("triton", "ss2d_scan_backward") in called) == trained


def test_each_job_is_done_once(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[tuple[ScanJob, str]] = []
    monkeypatch.setattr(warm_up, "compile_scan", lambda *job: done.append(job))
    jobs = jobs_of_networks(torch.device("cuda"))
    assert 1 <= compile_all(jobs, "cuda:1", ThreadPoolExecutor(2)) <= len(jobs)
    assert sorted(done, key=str) == sorted(((job, "cuda:1") for job in jobs), key=str)


def test_an_error_of_a_job_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(job: ScanJob, device: str) -> None:
        raise RuntimeError("ptxas")

    monkeypatch.setattr(warm_up, "compile_scan", failing)
    with pytest.raises(RuntimeError, match="ptxas"):
        compile_all(jobs_of_networks(torch.device("cuda")), "cuda", ThreadPoolExecutor(1))


@pytest.mark.slow
def test_processes_of_their_own_compile() -> None:
    pytest.importorskip("triton")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    assert compile_all([ScanJob(16, 2, "float32", True)] * 2, device) in (1, 2)
