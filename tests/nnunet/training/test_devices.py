"""What ``--devices`` means."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from swin_umamba.errors import BackendError, UsageError
from swin_umamba.nnunet.training.devices import check_devices, resolve_devices
from swin_umamba.nnunet.training.options import TrainRequest
from swin_umamba.ops import backend

CPU = torch.device("cpu")


@pytest.fixture
def three_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    monkeypatch.setattr(
        backend, "_require_cuda", lambda name, index: None if index < 3 else pytest.fail(f"asked for {name}")
    )


@pytest.mark.parametrize(
    ("devices", "device", "expected"),
    [
        (("2",), "cpu", [CPU, CPU]),
        (("cpu", "cpu", "cpu"), "auto", [CPU] * 3),
        (("1",), "cpu", [CPU]),
        (("cpu",), "auto", [CPU]),
    ],
)
def test_on_the_cpu_a_device_is_a_process(
    devices: tuple[str, ...], device: str, expected: list[torch.device]
) -> None:
    assert list(resolve_devices(devices, device)) == expected


@pytest.mark.parametrize(
    ("devices", "device", "numbers"),
    [
        (("2",), "auto", [0, 1]),
        (("3",), "cuda", [0, 1, 2]),
        (("cuda:2", "cuda:0"), "auto", [2, 0]),
        (("cuda",), "auto", [0]),
    ],
)
@pytest.mark.usefixtures("three_gpus")
def test_gpus_by_number_and_by_name(devices: tuple[str, ...], device: str, numbers: list[int]) -> None:
    assert [(each.type, each.index) for each in resolve_devices(devices, device)] == [
        ("cuda", number) for number in numbers
    ]


@pytest.mark.usefixtures("three_gpus")
def test_more_gpus_than_there_are() -> None:
    with pytest.raises(BackendError, match="4 GPUs are asked for, and 3 are visible"):
        resolve_devices(["4"], "auto")


@pytest.mark.parametrize(
    ("devices", "device", "message"),
    [
        ((), "auto", "the devices are"),
        ("cuda", "auto", "the devices are 'cuda'"),
        ((2,), "auto", "the devices are"),
        (("0",), "auto", "0 devices"),
        (("99999",), "auto", "99999 devices"),
        (("2",), "cuda:1", "2 devices and the device cuda:1"),
        (("2",), "mps", "2 devices of kind mps"),
        (("2", "cuda:0"), "auto", "unknown device '2'"),
        (("-1",), "auto", "unknown device '-1'"),
        (("cuda:x",), "auto", "unknown device 'cuda:x'"),
        (("cpu:0",), "auto", "unknown device 'cpu:0'"),
        (("tpu",), "auto", "unknown device 'tpu'"),
        (("cuda:0",), "cuda", "named twice: --device cuda and --devices cuda:0"),
        (("cuda:0", "cpu"), "auto", "different kinds: cuda:0 cpu"),
        (("cuda", "cuda:0"), "auto", "a device is named twice: cuda cuda:0"),
        (("mps", "mps"), "auto", "a device is named twice: mps mps"),
    ],
)
def test_what_names_no_devices_is_refused(devices: Any, device: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        check_devices(devices, device)
    with pytest.raises(UsageError, match=message):
        TrainRequest(devices=devices, device=device)
