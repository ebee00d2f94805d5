"""The backend mamba_ssm, with a module in the place of the package that records how it is called."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from ops.scan_inputs import image_inputs, relative_error, sequence_inputs
from swin_umamba.errors import BackendError
from swin_umamba.ops.backend import backend_status, choose_backend
from swin_umamba.ops.reference import selective_scan_reference
from swin_umamba.ops.selective_scan import selective_scan
from swin_umamba.ops.ss2d_scan import ss2d_scan

TOLERANCE = 1e-12  # both sides compute in float64


class RecordingScan:
    """Computes by the reference, and keeps the shapes of what it was given."""

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []

    def __call__(
        self,
        u: Tensor,
        delta: Tensor,
        A: Tensor,
        B: Tensor,
        C: Tensor,
        D: Tensor | None = None,
        z: Tensor | None = None,
        delta_bias: Tensor | None = None,
        delta_softplus: bool = False,
        return_last_state: bool = False,
    ) -> Any:
        assert B.is_contiguous()
        assert C.is_contiguous()
        self.calls.append({"u": tuple(u.shape), "B": tuple(B.shape), "softplus": delta_softplus})
        return selective_scan_reference(
            u, delta, A, B, C, D, z, delta_bias, delta_softplus, return_last_state
        )


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Iterator[RecordingScan]:
    """A machine with mamba_ssm and its extension, which computes anything on a CPU."""
    scan = RecordingScan()
    interface = SimpleNamespace(selective_scan_fn=scan, selective_scan_cuda=object())
    for name in ("mamba_ssm", "mamba_ssm.ops"):
        monkeypatch.setitem(sys.modules, name, SimpleNamespace())
    monkeypatch.setitem(sys.modules, "mamba_ssm.ops.selective_scan_interface", interface)
    monkeypatch.setattr("swin_umamba.ops.backend._fits", lambda name, device, dtype: True)
    backend_status.cache_clear()
    yield scan
    backend_status.cache_clear()


def compare(scan: Any, inputs: dict[str, Tensor]) -> None:
    """Output and gradients against the reference."""
    results = []
    for backend in ("mamba_ssm", "reference"):
        y = scan(**inputs, backend=backend)
        results.append([y, *torch.autograd.grad(y.square().sum(), list(inputs.values()))])
    for value, expected in zip(*results, strict=True):
        assert relative_error(value, expected) < TOLERANCE


def test_sequences_go_to_the_extension(installed: RecordingScan) -> None:
    def scan(**tensors: Any) -> Any:
        return selective_scan(**tensors, delta_softplus=True)

    compare(scan, sequence_inputs(9))
    assert installed.calls == [{"u": (2, 6, 9), "B": (2, 2, 3, 9), "softplus": True}]


def test_images_are_four_groups_of_one_sequence(installed: RecordingScan) -> None:
    compare(ss2d_scan, image_inputs(3, 5))
    assert installed.calls == [{"u": (2, 24, 15), "B": (2, 4, 3, 15), "softplus": True}]


def test_the_last_state_comes_without_a_gradient(installed: RecordingScan) -> None:
    inputs = sequence_inputs(9)
    with pytest.raises(BackendError, match="does not differentiate the last state"):
        selective_scan(**inputs, return_last_state=True, backend="mamba_ssm")
    assert not installed.calls
    with torch.no_grad():
        results = [
            selective_scan(**inputs, return_last_state=True, backend=backend)
            for backend in ("mamba_ssm", "reference")
        ]
    for value, expected in zip(*results, strict=True):
        assert relative_error(value, expected) < TOLERANCE


@pytest.mark.parametrize("device", ["cpu", "cuda", "mps"])
@pytest.mark.usefixtures("installed")
def test_it_is_never_the_automatic_choice(device: str) -> None:
    assert choose_backend(torch.device(device), torch.float32) != "mamba_ssm"


def test_without_its_extension_it_is_refused(
    installed: RecordingScan, monkeypatch: pytest.MonkeyPatch
) -> None:
    interface = SimpleNamespace(selective_scan_fn=installed, selective_scan_cuda=None)
    monkeypatch.setitem(sys.modules, "mamba_ssm.ops.selective_scan_interface", interface)
    backend_status.cache_clear()
    with pytest.raises(BackendError, match="installed without its CUDA extension") as caught:
        ss2d_scan(**image_inputs(2, 3), backend="mamba_ssm")
    assert "MAMBA_FORCE_BUILD=TRUE" in str(caught.value.hint)


def test_where_it_is_not_installed_the_error_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mamba_ssm", None)
    backend_status.cache_clear()
    with pytest.raises(BackendError, match="mamba_ssm cannot be used") as caught:
        choose_backend(torch.device("cuda"), torch.float32, "mamba_ssm")
    assert "pip install" in str(caught.value.hint)
    backend_status.cache_clear()
