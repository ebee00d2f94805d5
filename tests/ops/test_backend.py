"""The choice of device, backend and dtype."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import pytest
import torch

from swin_umamba.errors import BackendError, UsageError
from swin_umamba.ops.backend import (
    BACKENDS,
    ENVIRONMENT_VARIABLE,
    backend_report,
    backend_status,
    choose_backend,
    compute_dtype,
    resolve_device,
)

CPU, CUDA, MPS = torch.device("cpu"), torch.device("cuda"), torch.device("mps")


def set_devices(
    monkeypatch: pytest.MonkeyPatch, *, cuda: int = 0, mps: bool = False, cuda_build: bool = True
) -> None:
    """Pretend to be a machine with so many CUDA devices."""
    monkeypatch.setattr(torch.backends.cuda, "is_built", lambda: cuda_build)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)


def test_auto_takes_the_fastest_device_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    set_devices(monkeypatch, cuda=1, mps=True)
    assert resolve_device("auto") == CUDA
    set_devices(monkeypatch, mps=True)
    assert resolve_device("auto") == MPS
    set_devices(monkeypatch)
    assert resolve_device() == CPU


def test_named_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    set_devices(monkeypatch, cuda=2, mps=True)
    for name in ("cpu", "cuda", "cuda:0", "cuda:1", "mps"):
        assert str(resolve_device(name)) == name


@pytest.mark.parametrize(
    "name", ["gpu", "", "cuda:", "cuda:one", "cuda:-1", "cpu:0", "mps:0", "meta", "CUDA"]
)
def test_unknown_device_names_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match="unknown device") as caught:
        resolve_device(name)
    assert caught.value.hint == "use auto, cpu, cuda, cuda:N or mps"


@pytest.mark.parametrize(
    ("name", "machine", "message", "hint"),
    [
        ("cuda", {"cuda_build": False}, "built without CUDA", "install a CUDA build"),
        ("cuda", {}, "no CUDA device is visible", "CUDA_VISIBLE_DEVICES"),
        ("cuda:2", {"cuda": 2}, "no CUDA device 2: 2 visible", "cuda:0 to cuda:1"),
        ("mps", {}, "no MPS device", "--device cpu"),
    ],
)
def test_missing_devices_come_with_a_hint(
    name: str, machine: dict[str, int], message: str, hint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_devices(monkeypatch, **machine)
    with pytest.raises(BackendError, match=message) as caught:
        resolve_device(name)
    assert hint in str(caught.value.hint)


def test_dtype_of_the_computation() -> None:
    assert compute_dtype(torch.float16) == torch.float32
    assert compute_dtype(torch.bfloat16, torch.float16) == torch.float32
    assert compute_dtype(torch.bfloat16, torch.float64) == torch.float64


def test_automatic_choice_by_device_and_dtype() -> None:
    single = "native" if backend_status("native").available else "chunked"
    assert choose_backend(CPU, torch.float32) == single
    assert choose_backend(CPU, torch.bfloat16) == single
    assert choose_backend(CPU, torch.float64) == "chunked"
    assert choose_backend(CUDA, torch.float64) == "chunked"
    assert choose_backend(MPS, torch.float32) == "chunked"


@pytest.fixture
def fresh_status() -> Iterator[None]:
    """Backends looked up again, in the machine that the test pretends to be."""
    backend_status.cache_clear()
    yield
    backend_status.cache_clear()


def set_capability(monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int]) -> None:
    """Pretend to be a machine with one CUDA device of this compute capability, and Triton."""
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    set_devices(monkeypatch, cuda=1)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    pretend_triton(monkeypatch, lambda: None)


def pretend_triton(
    monkeypatch: pytest.MonkeyPatch, get_current_target: Callable[[], None], version: str = "3.7.1"
) -> None:
    """Install a Triton of which only the driver is there."""
    active = SimpleNamespace(get_current_target=get_current_target)
    triton = SimpleNamespace(
        __version__=version, runtime=SimpleNamespace(driver=SimpleNamespace(active=active))
    )
    monkeypatch.setitem(sys.modules, "triton", triton)


@pytest.mark.usefixtures("fresh_status")
def test_triton_is_the_choice_on_cuda_where_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    set_capability(monkeypatch, (9, 0))
    assert choose_backend(CUDA, torch.float32) == "triton"
    assert choose_backend(CUDA, torch.float16) == "triton"
    assert choose_backend(CUDA, torch.float64) == "chunked"
    with pytest.raises(BackendError, match="computes float32 on a CUDA device, not torch"):
        choose_backend(CUDA, torch.float64, "triton")
    with pytest.raises(BackendError, match="computes float32 on a CUDA device, not"):
        choose_backend(CPU, torch.float32, "triton")


@pytest.mark.usefixtures("fresh_status")
def test_a_gpu_older_than_triton_supports_gets_the_portable_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    set_capability(monkeypatch, (6, 1))
    assert choose_backend(CUDA, torch.float32) == "chunked"


@pytest.mark.usefixtures("fresh_status")
def test_a_gpu_without_triton_gets_the_portable_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    set_capability(monkeypatch, (9, 0))
    monkeypatch.setitem(sys.modules, "triton", None)
    assert choose_backend(CUDA, torch.float32) == "chunked"
    with pytest.raises(BackendError, match="Triton cannot be used") as caught:
        choose_backend(CUDA, torch.float32, "triton")
    assert "pip install triton" in str(caught.value.hint)


@pytest.mark.usefixtures("fresh_status")
def test_a_triton_that_cannot_compile_the_kernels_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    set_capability(monkeypatch, (9, 0))
    pretend_triton(monkeypatch, lambda: None, version="3.3.1")
    assert choose_backend(CUDA, torch.float32) == "chunked"
    with pytest.raises(BackendError, match=r"Triton 3\.3\.1 cannot compile") as caught:
        choose_backend(CUDA, torch.float32, "triton")
    assert "update PyTorch" in str(caught.value.hint)


@pytest.mark.usefixtures("fresh_status")
def test_a_gpu_without_a_compiler_gets_the_portable_backend_and_a_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise RuntimeError("Failed to find C compiler.")

    set_capability(monkeypatch, (9, 0))
    pretend_triton(monkeypatch, fail)
    assert choose_backend(CUDA, torch.float32) == "chunked"
    assert "scans will be slow: Triton cannot build its launcher (Failed to find C compiler.)" in caplog.text
    with pytest.raises(BackendError, match="Failed to find C compiler") as caught:
        choose_backend(CUDA, torch.float32, "triton")
    assert "python3-dev" in str(caught.value.hint)


@pytest.mark.usefixtures("fresh_status")
def test_triton_without_a_gpu_is_said_to_be_of_no_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    set_devices(monkeypatch)
    pretend_triton(monkeypatch, lambda: None)
    with pytest.raises(BackendError, match="no CUDA device is visible"):
        choose_backend(CPU, torch.float32, "triton")


@pytest.mark.usefixtures("without_numba")
def test_without_numba_the_portable_backend_runs() -> None:
    assert choose_backend(CPU, torch.float32) == "chunked"
    with pytest.raises(BackendError, match="numba cannot be used") as caught:
        choose_backend(CPU, torch.float32, "native")
    assert "pip install numba" in str(caught.value.hint)


def test_environment_overrides_the_automatic_choice_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, "reference")
    assert choose_backend(CPU, torch.float32) == "reference"
    assert choose_backend(CPU, torch.float32, "chunked") == "chunked"
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, "")
    assert choose_backend(CPU, torch.float64) == "chunked"
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, "fast")
    with pytest.raises(UsageError, match="no scan backend 'fast'") as caught:
        choose_backend(CPU, torch.float32)
    assert caught.value.where == ENVIRONMENT_VARIABLE


def test_mistyped_backend_names_the_close_one() -> None:
    with pytest.raises(UsageError, match="no scan backend 'chunk'") as caught:
        choose_backend(CPU, torch.float32, "chunk")
    assert "did you mean chunked" in str(caught.value.hint)


@pytest.mark.parametrize(("device", "dtype"), [(CPU, torch.float64), (CUDA, torch.float32)])
def test_native_refuses_what_it_does_not_compute(device: torch.device, dtype: torch.dtype) -> None:
    if not backend_status("native").available:
        pytest.skip(backend_status("native").reason)
    with pytest.raises(BackendError, match="computes float32 on a CPU"):
        choose_backend(device, dtype, "native")


def test_report_says_how_to_get_what_is_missing() -> None:
    report = backend_report()
    assert tuple(status.name for status in report) == BACKENDS
    for status in report:
        assert status.reason
        assert status.available == (status.hint is None)
    assert report[0].available
    assert report[1].available
