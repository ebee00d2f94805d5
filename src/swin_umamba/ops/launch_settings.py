"""How the kernels are launched on a card: numbers that change the speed and never what is computed.

The defaults come from reading machine code. What was measured on a card is in ``launch/CARD.json`` in the
cache folder, which ``benchmarks/gpu_check.py --minutes 60`` writes, or in a file that ships with the package.
With other numbers a scan may add up in another order, so that results differ by rounding.
"""

from __future__ import annotations

import functools
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from swin_umamba.errors import DataError
from swin_umamba.files import cache_folder
from swin_umamba.json_files import read_contract, write_contract
from swin_umamba.schema import Provenance, any_text, flag, one_of, optional, table, text, whole

logger = logging.getLogger(__name__)

SHIPPED = Path(__file__).parent / "launch"
LARGEST_FILE = 2**16
_HINT = "delete it, or measure again with benchmarks/gpu_check.py --minutes 60"
_REGISTERS = optional(whole(64, 255))  # of a thread: fewer spill everywhere, and no more exist


@dataclass(frozen=True)
class LaunchSettings:
    """Numbers of the launches on one card.

    Attributes
    ----------
    chunk_registers, part_registers, output_registers, gradient_registers
        The most registers for a thread of the four kernels with up to 16 states; None leaves it to the
        compiler. By default only the kernel that stores states of parts has a limit, which leaves 12 warps to
        a multiprocessor: it would take many more just for addresses.
    loop_warps
        Warps of a program that loops over time, with two channels for each thread.
    enough_warps
        How many warps keep the card busy: chunks of the time loop grow while there are twice as many. The
        default is 12 for each multiprocessor of a large GPU.
    product_rank
        From this rank of dt on, a matrix product projects it before the kernels, which then are the same for
        all ranks. Below, writing and reading the result would cost as much as to compute it in each kernel.
    tiles_times
        Pixels of a batch of tiles in prediction, in units of what a CPU takes.
    depthwise_kernel, gated_norm_kernel
        Whether the convolution before the scan, and norm and gate after it, run on kernels of ours, see
        ``ops.depthwise_silu`` and ``ops.gated_norm``. Their results differ from PyTorch's by rounding.
    """

    chunk_registers: int | None = None
    part_registers: int | None = 168
    output_registers: int | None = None
    gradient_registers: int | None = None
    loop_warps: int = 1
    enough_warps: int = 1536
    product_rank: int = 12
    tiles_times: int = 8
    depthwise_kernel: bool = False
    gated_norm_kernel: bool = False


SETTINGS_PARTS = {
    "chunk_registers": _REGISTERS,
    "part_registers": _REGISTERS,
    "output_registers": _REGISTERS,
    "gradient_registers": _REGISTERS,
    "loop_warps": one_of(1, 2, 4),
    "enough_warps": whole(64, 2**16),
    "product_rank": whole(1, 2**16),
    "tiles_times": whole(1, 64),
    "depthwise_kernel": flag,
    "gated_norm_kernel": flag,
}
LAUNCH_PARTS = {
    "card": text(),
    "triton": any_text,
    "code": any_text,
    "settings": table({}, SETTINGS_PARTS),  # what a file leaves out is as by default
}
DEFAULT = LaunchSettings()
_forced: list[LaunchSettings] = []


def launch_settings(device: torch.device) -> LaunchSettings:
    """Return the settings for a device; the defaults for one that is no GPU."""
    if _forced:
        return _forced[-1]
    return _of_device(device.index) if device.type == "cuda" else DEFAULT


@contextmanager
def forced_settings(settings: LaunchSettings) -> Iterator[None]:
    """Launch with these settings on every device, to measure them."""
    _forced.append(settings)
    try:
        yield
    finally:
        _forced.pop()


def card_slug(card: str) -> str:
    """Return a card's name as that of a file or folder."""
    return re.sub(r"[^a-z0-9]+", "_", card.lower()).strip("_") or "unknown_card"


def settings_path(card: str) -> Path:
    """Return the place of this user's measured settings for a card."""
    return cache_folder() / "launch" / f"{card_slug(card)}.json"


def write_settings(path: Path, settings: LaunchSettings, *, card: str, triton: str, code: str) -> None:
    """Write what was measured with these versions."""
    content = {"card": card, "triton": triton, "code": code, "settings": asdict(settings)}
    write_contract("launch-settings", path, content)


def read_settings(path: Path, card: str) -> LaunchSettings:
    """Read the settings of a card.

    Raises
    ------
    DataError
        If the file is damaged, of another card, or holds a number that no kernel is launched with.
    """
    content = read_contract(path, hint=_HINT, largest=LARGEST_FILE)
    provenance = Provenance(path, _HINT)
    provenance.check(content, table(LAUNCH_PARTS))
    if content["card"] != card:
        raise provenance.refusal(f"it is of another card, {content['card'][:80]!r}, and this is {card!r}")
    stored: dict[str, Any] = content["settings"]
    return LaunchSettings(**{name: stored[name] for name in SETTINGS_PARTS if name in stored})


@functools.cache
def _of_device(index: int | None) -> LaunchSettings:
    return settings_of_card(torch.cuda.get_device_name(index)) if torch.cuda.is_available() else DEFAULT


def settings_of_card(card: str) -> LaunchSettings:
    """Return the user's settings, else the shipped ones, else the defaults; a damaged file only warns.

    It can cost speed and nothing else, so no prediction fails because of it.
    """
    try:
        places = [settings_path(card)]
    except RuntimeError:  # a user without a home folder
        places = []
    for path in (*places, SHIPPED / f"{card_slug(card)}.json"):
        if path.exists():
            try:
                return read_settings(path, card)
            except DataError as error:
                logger.warning("the measured launch settings are not used: %s", error)
    return DEFAULT
