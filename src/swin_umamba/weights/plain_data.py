"""The content of a checkpoint, rebuilt as plain values before anything looks at it.

Restricted unpickling calls nothing of the file's choosing, but does set attributes: an ordered dictionary or
a tensor can carry a method of the file's own, and code that asks for its ``items`` would get what the file
wants. It also makes tensors of any shape: one stored number, or none, can stand for terabytes of them (a
stride of 0, a sparse layout, the device "meta"), and copying the tensor would need room for all.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from swin_umamba.errors import CheckpointError
from swin_umamba.json_files import DEEPEST

MOST_VALUES = 5_000_000
"""Training for thousands of epochs stores fewer; a list that holds itself twice, and so on, has 2**100."""
MOST_USES = 16
"""A network that lists its layers more than once stores each of them once, under a few names."""
SPARE_BYTES = 2**28
"""Bytes they may claim beyond that, which fit into the memory of any machine."""
_LEAVES = (bool, int, float, complex, str, bytes, type(None), torch.dtype, torch.device, torch.layout)


def plain_data(content: Any, where: Path, file_bytes: int) -> Any:
    """Return a copy that consists of dicts, lists, tuples, sets, numbers, texts and tensors alone.

    Tensors share their memory with those of ``content``, without gradients, names and hooks.

    Parameters
    ----------
    content
        Unpickled content.
    where
        Path of the file.
    file_bytes
        Size of the file.

    Raises
    ------
    CheckpointError
        If it holds anything else, is nested too deeply, or its tensors claim far more than is stored.
    """
    size = _Size()
    try:
        plain = _plain(content, DEEPEST, size)
        size.check(file_bytes)
    except (TypeError, ValueError) as error:
        raise CheckpointError(
            f"the checkpoint holds {error}",
            where=where,
            hint="do not trust the file; if you know its author, ask for the state dict alone",
        ) from error
    return plain


class _Size:
    """Totals so far: number of values, bytes that tensors claim, and bytes stored for them."""

    def __init__(self) -> None:
        self.values = 0
        self.claimed = 0
        self.stored: dict[tuple[torch.device, int], int] = {}

    def add(self) -> None:
        self.values += 1
        if self.values > MOST_VALUES:
            raise ValueError(f"more than {MOST_VALUES:,} values")

    def add_tensor(self, tensor: torch.Tensor) -> None:
        if tensor.layout is not torch.strided or tensor.is_meta:
            raise ValueError("a tensor of which not all numbers are stored")
        storage = tensor.untyped_storage()
        self.claimed += tensor.numel() * tensor.element_size()  # nbytes would overflow
        self.stored[tensor.device, storage.data_ptr()] = storage.nbytes()

    def check(self, file_bytes: int) -> None:
        # torch's old format can announce numbers that never come; they are then whatever was in memory.
        stored = sum(self.stored.values())
        if stored > file_bytes or self.claimed > MOST_USES * stored + SPARE_BYTES:
            stored = min(stored, file_bytes)
            raise ValueError(f"tensors of {self.claimed:,} bytes, of which at most {stored:,} are stored")


def _plain(value: Any, levels: int, size: _Size) -> Any:
    size.add()
    if type(value) in _LEAVES:
        return value
    if isinstance(value, torch.Tensor):
        tensor = torch.Tensor.detach(value)
        size.add_tensor(tensor)
        return tensor
    if isinstance(value, np.generic):  # made by ``checkpoint`` itself, and takes no attributes
        return value
    if not levels:
        raise ValueError(f"values nested more than {DEEPEST} levels deep")
    # The methods are those of the types, never the object's own.
    if isinstance(value, dict):
        pairs = dict.items(value)
        return {_plain(key, levels - 1, size): _plain(each, levels - 1, size) for key, each in pairs}
    kinds: tuple[Any, ...] = (list, tuple, set, frozenset)
    for kind in kinds:
        if isinstance(value, kind):
            return kind(_plain(each, levels - 1, size) for each in kind.__iter__(value))
    raise ValueError(f"a {type(value).__name__}, which is neither a tensor nor a plain value")
