"""Precision: the choice, its errors, and what autocast then does."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from swin_umamba.errors import UsageError
from swin_umamba.ops.precision import (
    autocast,
    check_precision,
    products_without_tf32,
    rounding_of_float32,
    scaler_for,
    training_precision,
)

CPU, CUDA, MPS = torch.device("cpu"), torch.device("cuda"), torch.device("mps")


@pytest.mark.parametrize(
    ("requested", "device", "expected"),
    [
        (None, CPU, "float32"),
        (None, CUDA, "float16"),
        (None, MPS, "float32"),
        ("tf32", CUDA, "tf32"),
        ("bfloat16", CPU, "bfloat16"),
        ("float32", CUDA, "float32"),
        ("float16", CUDA, "float16"),
    ],
)
def test_training_precision(requested: str | None, device: torch.device, expected: str) -> None:
    assert training_precision(requested, device) == expected


@pytest.mark.parametrize(
    ("precision", "said"),
    [("half", "unknown precision 'half'"), ("float16", "float16"), ("tf32", "only CUDA devices have TF32")],
)
def test_what_a_cpu_cannot_do(precision: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        check_precision(precision, CPU)
    with pytest.raises(UsageError, match=said):
        training_precision(precision, CPU)


def test_float16_is_for_predictions_alone_on_mps() -> None:
    check_precision("float16", MPS)
    with pytest.raises(UsageError, match="only on CUDA is the loss scaled"):
        training_precision("float16", MPS)


def set_capabilities(monkeypatch: pytest.MonkeyPatch, capabilities: list[tuple[int, int]]) -> None:
    """Pretend to be a machine with CUDA devices of these compute capabilities."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capabilities[device.index or 0])


@pytest.mark.parametrize("capability", [(7, 0), (7, 5), (8, 0), (8, 6), (9, 0), (12, 0)])
@pytest.mark.parametrize("index", [0, 1])
def test_what_needs_the_cards_instructions_is_refused_without_them(
    capability: tuple[int, int], index: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    devices = [(6, 1), (6, 1)]
    devices[index] = capability
    set_capabilities(monkeypatch, devices)
    device = torch.device("cuda", index)
    for precision in ("float16", "float32"):
        assert training_precision(precision, device) == precision
    for precision in ("bfloat16", "tf32"):
        if capability >= (8, 0):
            assert training_precision(precision, device) == precision
            continue
        for check in (check_precision, training_precision):
            with pytest.raises(UsageError, match=f"no instructions for {precision}"):
                check(precision, device)
    monkeypatch.setattr(torch.version, "hip", "6.4")  # AMD's GPUs number their capabilities otherwise
    check_precision("bfloat16", device)


def test_the_scaler_follows_the_precision() -> None:
    assert scaler_for("float32", CUDA, None) is None
    with pytest.warns(UserWarning, match="CUDA is not available"):
        made = scaler_for("float16", CUDA, None)
    assert isinstance(made, torch.amp.GradScaler)
    assert scaler_for("float16", CUDA, made) is made
    assert scaler_for("bfloat16", CUDA, made) is None


@pytest.mark.parametrize(("precision", "dtype"), [("float32", torch.float32), ("bfloat16", torch.bfloat16)])
def test_autocast(precision: str, dtype: torch.dtype) -> None:
    x = torch.randn(4, 4)
    with autocast(CPU, precision):
        assert (x @ x).dtype == dtype


def float32_settings() -> tuple[object, ...]:
    """Return PyTorch's settings of TF32, old and new."""
    cudnn, cublas = torch.backends.cudnn, torch.backends.cuda.matmul
    return cudnn.allow_tf32, cublas.allow_tf32, cudnn.conv.fp32_precision, cublas.fp32_precision


@pytest.fixture(params=["untouched", "matmul", "medium", "none at all", "new settings", "all operators"])
def users_settings(request: pytest.FixtureRequest) -> Iterator[str]:
    """A program that uses the package with settings of its own."""
    cudnn, cublas = torch.backends.cudnn, torch.backends.cuda.matmul
    fresh = cudnn.conv.fp32_precision, cublas.fp32_precision
    if request.param == "matmul":
        torch.set_float32_matmul_precision("high")
    elif request.param == "medium":
        torch.set_float32_matmul_precision("medium")
    elif request.param == "all operators":
        torch.backends.fp32_precision = "tf32"
    elif request.param == "none at all":
        cudnn.allow_tf32 = False
    elif request.param == "new settings":
        cudnn.conv.fp32_precision, cublas.fp32_precision = "ieee", "tf32"
    yield request.param
    torch.backends.fp32_precision = "none"
    torch.set_float32_matmul_precision("highest")
    cudnn.allow_tf32, cublas.allow_tf32 = True, False
    cudnn.conv.fp32_precision, cublas.fp32_precision = fresh


@pytest.mark.parametrize("precision", ["float32", "tf32", "bfloat16", "float16"])
@pytest.mark.filterwarnings("ignore:.*CUDA is not available")
@pytest.mark.parametrize("context", [autocast, rounding_of_float32])
def test_tf32_is_used_where_it_is_asked_for_alone(precision: str, context: Any, users_settings: str) -> None:
    contradictory = users_settings in (
        "new settings",
        "all operators",
    )  # PyTorch refuses to tell the old ones
    cudnn, cublas = torch.backends.cudnn, torch.backends.cuda.matmul
    new = cudnn.conv.fp32_precision, cublas.fp32_precision
    before = None if contradictory else float32_settings()
    with pytest.raises(KeyError), context(CUDA, precision):  # noqa: PT012
        inside = cudnn.conv.fp32_precision, cublas.fp32_precision
        assert inside == (("tf32", "tf32") if precision == "tf32" else ("ieee", "ieee"))
        if users_settings != "all operators":  # cuDNN's recurrent layers follow that
            assert float32_settings()[:2] == ((True, True) if precision == "tf32" else (False, False))
        raise KeyError
    assert (cudnn.conv.fp32_precision, cublas.fp32_precision) == new
    if before is not None:
        assert float32_settings() == before
    if users_settings == "medium":
        assert torch.get_float32_matmul_precision() == "medium"


@pytest.mark.filterwarnings("ignore:.*CUDA is not available")
def test_products_without_tf32(users_settings: str) -> None:
    cublas = torch.backends.cuda.matmul
    before = cublas.fp32_precision
    assert (before == "tf32") == (users_settings not in ("untouched", "none at all"))
    with pytest.raises(KeyError), products_without_tf32(CUDA):  # noqa: PT012
        assert cublas.fp32_precision in ("none", "ieee")
        raise KeyError
    assert cublas.fp32_precision == before


def test_other_devices_have_no_such_settings() -> None:
    before = float32_settings()
    for context in (autocast(CPU, "float32"), products_without_tf32(CPU)):
        with context:
            assert float32_settings() == before
