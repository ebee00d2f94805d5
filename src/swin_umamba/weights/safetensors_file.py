"""Reading and writing safetensors files: tensors and a dictionary of strings, and nothing that could run.

A header that claims more than 100 MB, or tensors that the file does not hold, is refused by safetensors
itself before it allocates memory for them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from swin_umamba.errors import CheckpointError, OutputError
from swin_umamba.files import atomic_write
from swin_umamba.weights.file_kind import describe_damage


def load_safetensors(path: str | Path, device: str | torch.device = "cpu") -> dict[str, Tensor]:
    """Return the tensors of a file by their names.

    Raises
    ------
    CheckpointError
        If the file is missing, unreadable, damaged, or not in this format.
    """
    with _failures_explained(path):
        tensors: dict[str, Tensor] = load_file(path, device=str(device))
        return tensors


def load_metadata(path: str | Path) -> dict[str, str]:
    """Return the strings that a file holds beside its tensors, without reading the tensors.

    Raises
    ------
    CheckpointError
        As for ``load_safetensors``.
    """
    with _failures_explained(path), safe_open(path, framework="pt") as file:
        return dict(file.metadata() or {})


def save_safetensors(
    path: str | Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None
) -> None:
    """Write tensors, and strings that describe them, atomically.

    Tensors may share their memory; each is written in full.

    Raises
    ------
    OutputError
        If the file cannot be written; an existing file is left untouched.
    """
    own = _without_shared_storage(tensors)
    with atomic_write(path) as temporary:
        try:
            save_file(own, temporary, metadata=None if metadata is None else dict(metadata))
        except SafetensorError as error:  # raised for a full disk, too
            raise OutputError(
                f"cannot write the weights: {error}",
                where=path,
                hint="check that there is free space; nothing was changed",
            ) from error


@contextmanager
def _failures_explained(path: str | Path) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        # A damaged file can fail at any instruction, so the type of the exception says nothing.
        raise _explanation(Path(path), error) from error


def _explanation(path: Path, error: Exception) -> CheckpointError:
    try:
        reason, hint = describe_damage(path) or (None, "copy or download it again")
    except FileNotFoundError:
        return CheckpointError("there is no such file", where=path, hint="check the path for typing errors")
    except PermissionError:
        return CheckpointError("the file may not be read", where=path, hint="check the file's permissions")
    what = f"it is {reason}" if reason else str(error)
    return CheckpointError(
        f"the file is damaged, incomplete or no safetensors file: {what}", where=path, hint=hint
    )


def _without_shared_storage(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors, each with storage of its own: safetensors refuses others.

    nnU-Net's U-Nets hold their encoder twice.
    """
    storages: set[tuple[torch.device, int]] = set()
    result = {}
    for name, given in tensors.items():
        tensor = given.detach()
        storage = tensor.untyped_storage()
        key = (tensor.device, storage.data_ptr())
        whole = storage.nbytes() == tensor.numel() * tensor.element_size()
        own = whole and tensor.is_contiguous() and key not in storages
        result[name] = tensor if own else tensor.clone(memory_format=torch.contiguous_format)
        storages.add(key)
    return result
