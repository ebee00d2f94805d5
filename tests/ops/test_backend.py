"""The choice of device, backend and dtype."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
import torch

from swin_umamba.errors import BackendError, UsageError
from swin_umamba.ops import backend, gpu_kernels
from swin_umamba.ops.backend import (
    BACKENDS,
    ENVIRONMENT_VARIABLE,
    backend_report,
    backend_status,
    choose_backend,
    compute_dtype,
    current_device,
    load_backend,
    resolve_device,
    without_autocast,
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
    """Backends looked up again, in the machine that the test pretends to be; warnings are said again."""
    caches = (backend_status, gpu_kernels.card_obstacle, backend._warn_once)
    for each in caches:
        each.cache_clear()
    yield
    for each in caches:
        each.cache_clear()


def set_capability(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], error: Exception | None = None
) -> None:
    """Pretend to be a machine with Triton and one CUDA device of this compute capability.

    There a kernel raises the error, if one is given.
    """

    def run(device: torch.device) -> None:
        if error is not None:
            raise error

    monkeypatch.setattr(gpu_kernels, "_run_smallest_kernel", run)
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


def advice_of_the_portable_choice(why: str) -> str:
    """Check that the portable backend is chosen and kernels are refused; return what would help."""
    assert choose_backend(CUDA, torch.float32) == "chunked"
    with pytest.raises(BackendError, match=why) as caught:
        choose_backend(CUDA, torch.float32, "triton")
    return str(caught.value.hint)


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
@pytest.mark.parametrize("capability", [(5, 2), (6, 1), (7, 0), (7, 2)])
def test_a_gpu_too_old_for_the_kernels_gets_the_portable_backend_and_a_warning(
    capability: tuple[int, int], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    set_capability(monkeypatch, capability)
    for _ in range(2):
        advice_of_the_portable_choice(r"need compute capability 7\.5")
    said = [record.message for record in caplog.records]
    assert said == [
        "scans will be slow: the kernels need compute capability 7.5, and this GPU has "
        f"{capability[0]}.{capability[1]}; use a T4, a GPU of the series GTX 16 or RTX 20, or a newer one"
    ]


@pytest.mark.usefixtures("fresh_status")
@pytest.mark.parametrize("capability", [(7, 5), (8, 0), (8, 9), (9, 0), (12, 0)])
def test_the_kernels_run_from_the_capability_that_they_are_compiled_for(
    capability: tuple[int, int], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    set_capability(monkeypatch, capability)
    for _ in range(2):
        assert (
            choose_backend(CUDA, torch.float32) == choose_backend(CUDA, torch.float32, "triton") == "triton"
        )
    said = [record.message for record in caplog.records]
    assert len(said) == (capability < (8, 0))
    assert all("compute capability 7.5 of this GPU, but not tested" in each for each in said)


@pytest.mark.usefixtures("fresh_status")
def test_gpus_of_amd_get_the_portable_backend_and_a_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    set_capability(monkeypatch, (9, 4))
    monkeypatch.setattr(torch.version, "hip", "6.4.0")
    advice_of_the_portable_choice("ROCm")
    assert "scans will be slow: the kernels are for NVIDIA GPUs, not for AMD's (ROCm)" in caplog.text


@pytest.mark.usefixtures("fresh_status")
@pytest.mark.parametrize(
    ("error", "cure"),
    [
        (
            RuntimeError("Triton Error [CUDA]: the provided PTX was compiled with an unsupported toolchain."),
            "update the NVIDIA driver",
        ),
        (RuntimeError("Triton Error [CUDA]: device kernel image is invalid"), "update the NVIDIA driver"),
        (RuntimeError("ptxas fatal: Value 'sm_130a' is not defined for option 'gpu-name'"), "update PyTorch"),
        (RuntimeError("Failed to find C compiler. Please specify via CC"), "install gcc"),
        (subprocess.CalledProcessError(1, ["gcc", "main.c"]), "install gcc"),
        (PermissionError(13, "Permission denied", "/root/.triton"), "TRITON_CACHE_DIR"),
        (OSError(30, "Read-only file system", "/opt/cache"), "TRITON_CACHE_DIR"),
    ],
)
def test_kernels_that_do_not_run_are_replaced_and_a_cure_is_named(
    error: Exception, cure: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    set_capability(monkeypatch, (9, 0), error)
    for _ in range(2):
        assert cure in advice_of_the_portable_choice("does not run on cuda")
    (said,) = [record.message for record in caplog.records]
    assert str(error).splitlines()[0] in said
    assert cure in said


@pytest.mark.usefixtures("fresh_status")
def test_a_gpu_that_another_program_has_is_not_replaced_by_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    message = "CUDA error: CUDA-capable device(s) is/are busy or unavailable"
    set_capability(monkeypatch, (9, 0), RuntimeError(message))
    with pytest.raises(BackendError, match="taken by another program") as caught:
        choose_backend(CUDA, torch.float32)
    assert "nvidia-smi" in str(caught.value.hint)
    gpu_kernels.card_obstacle.cache_clear()
    set_capability(monkeypatch, (9, 0), torch.cuda.OutOfMemoryError("CUDA out of memory"))
    with pytest.raises(torch.cuda.OutOfMemoryError):
        choose_backend(CUDA, torch.float32)


def test_the_smallest_kernel_runs() -> None:
    pytest.importorskip("triton")
    gpu_kernels._run_smallest_kernel(CUDA if torch.cuda.is_available() else CPU)


def test_the_first_compilation_is_announced_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("triton")
    caplog.set_level("INFO")
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    gpu_kernels.announce_compilation.cache_clear()
    load_backend("triton", "ss2d_scan")
    assert not caplog.records  # nothing is compiled by the interpreter
    gpu_kernels.announce_compilation.cache_clear()
    monkeypatch.setattr(gpu_kernels, "interpreting", lambda: False)
    for operator in ("ss2d_scan", "ss2d_scan", "selective_scan"):
        load_backend("triton", operator)
    gpu_kernels.announce_compilation.cache_clear()
    assert len(caplog.records) == 1
    assert "up to a minute" in caplog.text


@pytest.mark.parametrize(
    ("device", "made_current"),
    [("cuda:1", ["cuda:1"]), ("cuda", []), ("cuda:0", []), ("cpu", []), ("mps", [])],
)
def test_a_gpu_with_a_number_is_made_the_current_one(
    device: str, made_current: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    entered = []

    @contextmanager
    def recorded(device: torch.device) -> Iterator[None]:
        entered.append(str(device))
        yield

    monkeypatch.setattr(torch.cuda, "device", recorded)
    with current_device(torch.device(device)):
        assert entered == made_current


def test_a_driver_that_is_too_old_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def init() -> None:
        raise RuntimeError("The NVIDIA driver on your system is too old (found version 11040).")

    set_devices(monkeypatch)
    monkeypatch.setattr(torch.cuda, "init", init)
    with pytest.raises(BackendError, match="driver is too old for this PyTorch") as caught:
        resolve_device("cuda")
    assert "update the driver" in str(caught.value.hint)


@pytest.mark.usefixtures("fresh_status")
def test_a_gpu_without_triton_gets_the_portable_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    set_capability(monkeypatch, (9, 0))
    monkeypatch.setitem(sys.modules, "triton", None)
    assert "pip install triton" in advice_of_the_portable_choice("Triton cannot be used")


@pytest.mark.usefixtures("fresh_status")
def test_a_triton_that_cannot_compile_the_kernels_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    set_capability(monkeypatch, (9, 0))
    pretend_triton(monkeypatch, lambda: None, version="3.3.1")
    assert "update PyTorch" in advice_of_the_portable_choice(r"Triton 3\.3\.1 cannot compile")


@pytest.mark.usefixtures("fresh_status")
def test_a_gpu_without_a_compiler_gets_the_portable_backend_and_a_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise RuntimeError("Failed to find C compiler.")

    set_capability(monkeypatch, (9, 0))
    pretend_triton(monkeypatch, fail)
    assert "python3-dev" in advice_of_the_portable_choice("Failed to find C compiler")
    assert "scans will be slow: Triton cannot build its launcher (Failed to find C compiler.)" in caplog.text


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


def test_autocast_is_off_within_and_as_before_afterwards() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        with without_autocast(CPU):
            assert not torch.is_autocast_enabled("cpu")
        with pytest.raises(RuntimeError, match="same dtype"), without_autocast(CPU):
            torch.ones(2, 2).mm(torch.ones(2, 2).double())
        assert torch.is_autocast_enabled("cpu")
        assert torch.ones(2, 2).mm(torch.ones(2, 2)).dtype == torch.bfloat16
    with without_autocast(CPU):
        assert not torch.is_autocast_enabled("cpu")
    assert not torch.is_autocast_enabled("cpu")
