"""The checks of devices, on machines with GPUs that are not there."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from swin_umamba.cli import doctor_devices
from swin_umamba.cli.doctor_devices import Finding
from swin_umamba.models import warm_up
from swin_umamba.nnunet.training import shared_memory
from swin_umamba.ops import backend
from swin_umamba.ops.backend import BackendStatus


def findings(check: object) -> dict[str, Finding]:
    return {finding.name: finding for finding in check()}  # type: ignore[operator]


@pytest.mark.parametrize(
    ("status", "said", "hint"),
    [
        (BackendStatus("triton", False, "too old a GPU", "buy one"), "kernels: too old a GPU", "buy one"),
        (BackendStatus("triton", True, "fine"), "chosen by SWIN_UMAMBA_BACKEND", "unset SWIN_UMAMBA_BACKEND"),
    ],
)
def test_the_portable_path_on_a_gpu_is_a_warning(
    status: BackendStatus, said: str, hint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = torch.device
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(backend, "choose_backend", lambda device, dtype: "chunked")
    monkeypatch.setattr(backend, "kernel_status", lambda device: status)
    # Computed on the CPU, under the name of a GPU.
    stand_in = SimpleNamespace(type="cuda")
    monkeypatch.setattr(torch, "device", lambda name: stand_in if name == "cuda" else real(name))
    to = torch.Tensor.to
    monkeypatch.setattr(
        torch.Tensor, "to", lambda self, place: self if place is stand_in else to(self, place)
    )
    monkeypatch.setenv("SWIN_UMAMBA_BACKEND", "chunked")
    finding = findings(doctor_devices.check_scan)["scan on cuda"]
    assert (finding.status, finding.hint) == ("warning", hint)
    assert said in finding.detail


@pytest.mark.parametrize("writable", [True, False])
@pytest.mark.parametrize("exists", [True, False])
def test_a_cache_that_cannot_be_written_to_is_a_warning(
    writable: bool, exists: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    triton = pytest.importorskip("triton")
    folder = tmp_path / "cache"
    if exists:
        folder.mkdir()
    tried: list[Path] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(triton.knobs.cache, "dir", str(folder))
    monkeypatch.setattr(doctor_devices, "is_writable", lambda place: bool(tried.append(place)) or writable)
    finding = findings(doctor_devices.check_gpu_kernel_cache)["GPU kernel cache"]
    assert tried == [folder if exists else tmp_path]
    assert finding.status == ("ok" if writable else "warning")
    assert ("TRITON_CACHE_DIR" in str(finding.hint)) != writable


def test_without_a_gpu_no_cache_is_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert not findings(doctor_devices.check_gpu_kernel_cache)


@pytest.mark.parametrize(("free", "status"), [(2**26, "warning"), (2**30, "ok"), (None, None)])
def test_shared_memory(free: int | None, status: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_memory, "free_shared_memory", lambda: free)
    found = findings(doctor_devices.check_shared_memory)
    if status is None:
        assert not found
        return
    assert found["shared memory"].status == status
    assert ("--shm-size" in str(found["shared memory"].hint)) == (status == "warning")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="the administrator may write")
def test_writable(tmp_path: Path) -> None:
    assert doctor_devices.is_writable(tmp_path)
    tmp_path.chmod(0o500)
    assert not doctor_devices.is_writable(tmp_path)
    tmp_path.chmod(0o700)


@pytest.mark.parametrize(
    ("gpu", "status", "expected", "said"),
    [
        (False, BackendStatus("triton", True, "fine"), "ok", "there is no GPU"),
        (True, BackendStatus("triton", False, "ROCm", "use another"), "warning", "not possible: ROCm"),
        (True, BackendStatus("triton", True, "fine"), "ok", "layers, by 3 processes in "),
    ],
)
def test_compilation(
    gpu: bool, status: BackendStatus, expected: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    monkeypatch.setattr(backend, "kernel_status", lambda device: status)
    monkeypatch.setattr(warm_up, "compile_all", lambda jobs, device: 3)
    finding = findings(doctor_devices.check_compilation)["compilation"]
    assert finding.status == expected
    assert said in finding.detail
