"""What comes out of a checkpoint, rebuilt as plain values before anything looks at it.

Restricted unpickling calls nothing of a file's choice, but sets attributes: an ordered dictionary or a tensor
can come with a method of the file's own, and whoever asks for its ``items`` would get what the file wants.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from swin_umamba.errors import CheckpointError
from swin_umamba.json_files import DEEPEST

MOST_VALUES = 5_000_000
"""A training of thousands of epochs has less; a list that holds itself twice, and so on, has 2**100."""
_LEAVES = (bool, int, float, complex, str, bytes, type(None), torch.dtype, torch.device, torch.layout)


def plain_data(content: Any, where: Path) -> Any:
    """Return a copy that consists of dicts, lists, tuples, sets, numbers, texts and tensors alone.

    Tensors share their memory with those of ``content``, without gradients, names and hooks.

    Parameters
    ----------
    content
        What was unpickled.
    where
        The file.

    Raises
    ------
    CheckpointError
        There is something else in it, or it is nested too deep.
    """
    left = iter(range(MOST_VALUES))
    try:
        return _plain(content, DEEPEST, left)
    except (TypeError, ValueError) as error:
        raise CheckpointError(
            f"the checkpoint holds {error}",
            where=where,
            hint="do not trust the file; if you know its author, ask for the state dict alone",
        ) from error


def _plain(value: Any, levels: int, left: Iterator[int]) -> Any:
    if next(left, None) is None:
        raise ValueError(f"more than {MOST_VALUES:,} values")
    if type(value) in _LEAVES:
        return value
    if isinstance(value, torch.Tensor):
        return torch.Tensor.detach(value)
    if isinstance(value, np.generic):  # made by ``checkpoint`` itself, and takes no attributes
        return value
    if not levels:
        raise ValueError(f"values nested more than {DEEPEST} levels deep")
    # The methods are those of the types, never the object's own.
    if isinstance(value, dict):
        pairs = dict.items(value)
        return {_plain(key, levels - 1, left): _plain(each, levels - 1, left) for key, each in pairs}
    kinds: tuple[Any, ...] = (list, tuple, set, frozenset)
    for kind in kinds:
        if isinstance(value, kind):
            return kind(_plain(each, levels - 1, left) for each in kind.__iter__(value))
    raise ValueError(f"a {type(value).__name__}, which is neither a tensor nor a plain value")
