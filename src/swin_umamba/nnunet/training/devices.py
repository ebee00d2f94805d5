"""What ``--devices`` means: so many devices, or these."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from swin_umamba.errors import BackendError, UsageError

if TYPE_CHECKING:
    import torch

_WHERE = "--devices"
_HINT = "give a number of devices, or names: cpu, cuda:0 cuda:1 ..."
MOST = 4096
"""A larger number is a slip of the keyboard."""


def check_devices(devices: Sequence[str], device: str) -> None:
    """Refuse what can mean no set of devices on any machine.

    Parameters
    ----------
    devices
        One number, or names of devices of one kind; each GPU once, and ``cpu`` once for each process.
    device
        The option ``device``. Beside a number it says of which kind; beside names it must be ``auto``.

    Raises
    ------
    UsageError
        If they are something else.
    """
    shown = " ".join(map(str, devices))
    if not devices or isinstance(devices, str) or not all(isinstance(each, str) for each in devices):
        raise UsageError(f"the devices are {devices!r}", where=_WHERE, hint=_HINT)
    count = _count(devices)
    if count is not None:
        if not 1 <= count <= MOST:
            raise UsageError(f"{count} devices", where=_WHERE, hint=f"give a number from 1 to {MOST}")
        if ":" in device:
            raise UsageError(
                f"{count} devices and the device {device}",
                where=_WHERE,
                hint="beside a number of devices, --device is cpu or cuda; or name them all instead",
            )
        if device == "mps" and count > 1:
            raise UsageError(
                f"{count} devices of kind mps", where=_WHERE, hint="there is only one: leave it out"
            )
        return
    if device != "auto":
        raise UsageError(
            f"devices are named twice: --device {device} and --devices {shown}",
            where=_WHERE,
            hint="leave --device out",
        )
    for name in devices:
        kind, _, index = name.partition(":")
        if kind not in ("cpu", "cuda", "mps") or (":" in name and (kind != "cuda" or not index.isdecimal())):
            raise UsageError(f"unknown device {name!r}", where=_WHERE, hint=_HINT)
    if len({name.partition(":")[0] for name in devices}) > 1:
        raise UsageError(
            f"devices of different kinds: {shown}", where=_WHERE, hint="train on devices of one kind"
        )
    numbers = [_number(name) for name in devices]
    if devices[0] != "cpu" and len(set(numbers)) < len(numbers):
        raise UsageError(f"a device is named twice: {shown}", where=_WHERE, hint="name each once")


def resolve_devices(devices: Sequence[str], device: str) -> tuple[torch.device, ...]:
    """Return the devices of this machine that are meant, one for each process or fold.

    Parameters
    ----------
    devices, device
        See ``check_devices``. A number means the first GPUs, where the kind is ``cuda``.

    Raises
    ------
    UsageError
        See ``check_devices``.
    BackendError
        If this machine has no such device, or fewer of them.
    """
    import torch

    from swin_umamba.ops.backend import resolve_device

    check_devices(devices, device)
    count = _count(devices)
    if count is None:
        for name in devices:
            resolve_device(name)
        return tuple(
            torch.device("cuda", _number(name)) if "cuda" in name else torch.device(name) for name in devices
        )
    first = resolve_device(device)
    if first.type != "cuda":
        if first.type == "mps" and count > 1:
            raise UsageError(
                f"{count} devices, and this machine has one GPU",
                where=_WHERE,
                hint="leave it out, or use the CPU: --device cpu",
            )
        return (first,) * count
    if (present := torch.cuda.device_count()) < count:
        raise BackendError(
            f"{count} GPUs are asked for, and {present} are visible",
            where=_WHERE,
            hint="give as many as nvidia-smi and CUDA_VISIBLE_DEVICES show",
        )
    return tuple(torch.device("cuda", number) for number in range(count))


def _count(devices: Sequence[str]) -> int | None:
    """Return the number of devices if it is given as a number."""
    return int(devices[0]) if len(devices) == 1 and devices[0].isdecimal() else None


def _number(name: str) -> int:
    return int(name.partition(":")[2] or 0)
