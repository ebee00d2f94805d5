"""Reading and writing of checkpoints, never running code from them."""

from __future__ import annotations

import copy
import pickle
import re
import threading
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from swin_umamba.errors import CheckpointError, OutputError
from swin_umamba.files import atomic_write
from swin_umamba.weights.file_kind import describe_damage, globals_in_pickle
from swin_umamba.weights.plain_data import plain_data
from swin_umamba.weights.safetensors_file import load_safetensors

CALIBRATION_FILE = "calibration.json"
"""Lies beside the checkpoint it belongs to."""
_TENSOR = re.compile(r"/data/\d+$")
"""Names of the files of tensors in an archive of torch."""
_FETCH_AGAIN = "copy or download the file again, and compare its size and checksum with the source's"


def load_checkpoint(
    path: str | Path, map_location: str | torch.device = "cpu", *, only: Collection[str] | None = None
) -> dict[str, Any]:
    """Read a checkpoint that may be untrusted.

    Only tensors and plain values are restored: a file that asks for anything else is refused before any
    of it runs. NumPy scalars and yacs configurations, which nnU-Net and VMamba put beside their weights,
    are rebuilt by this module without calling NumPy's or yacs' own unpickling functions. The result is plain
    (see ``plain_data``).

    Parameters
    ----------
    path
        File written by ``torch.save``, or a ``.safetensors`` file.
    map_location
        Device to put tensors on.
    only
        Keys to load; None for all. What else a file of today's ``torch.save`` holds, such as the state of an
        optimizer, is then not even read (on the CPU).

    Returns
    -------
    dict
        Content; for safetensors, the state dict.

    Raises
    ------
    CheckpointError
        If the file is missing, empty, damaged, not a checkpoint, or asks for more than tensors and plain
        values.
    """
    path = Path(path)
    if path.is_dir():
        raise CheckpointError(
            "this is a folder, not a checkpoint", where=path, hint="give one of the files in it"
        )
    if not path.is_file():
        raise CheckpointError(
            "there is no checkpoint file at this path", where=path, hint="check the path for typing errors"
        )
    try:
        if path.stat().st_size == 0:
            raise CheckpointError("the checkpoint is an empty file", where=path, hint=_FETCH_AGAIN)
        is_mapped = only is not None and str(map_location) == "cpu" and zipfile.is_zipfile(path)
        content = _read(path, map_location, is_mapped)
        if only is not None and isinstance(content, dict):
            content = {key: content[key] for key in only if key in content}
        content = plain_data(content, path, path.stat().st_size)
        if is_mapped:
            _check_sums(content, path)
            content = copy.deepcopy(content)  # the file may change
    except PermissionError as error:
        raise CheckpointError(
            "the checkpoint may not be read", where=path, hint="check the file's permissions"
        ) from error
    if not isinstance(content, dict):
        raise CheckpointError(
            f"the file holds a {type(content).__name__}, not a dictionary",
            where=path,
            hint="give a file that holds a state dict or a training checkpoint",
        )
    return content


def save_checkpoint(path: str | Path, checkpoint: dict[str, Any]) -> None:
    """Write a checkpoint with ``torch.save``, atomically.

    Raises
    ------
    OutputError
        If the file cannot be written; an existing file is left untouched.
    """
    with atomic_write(path) as temporary:
        try:
            torch.save(checkpoint, temporary)
        except RuntimeError as error:  # torch's own file writer does not raise OSError on a full disk
            raise OutputError(
                "cannot write the whole checkpoint",
                where=path,
                hint="check that there is free space; nothing was changed",
            ) from error


def _read(path: Path, map_location: str | torch.device, mapped: bool) -> Any:
    try:
        if path.suffix == ".safetensors":
            return load_safetensors(path, map_location)
        _check_archive(path, with_tensors=not mapped)
        with _stand_ins_allowed():
            return torch.load(path, map_location=map_location, weights_only=True, mmap=mapped)
    except (PermissionError, CheckpointError):
        raise
    except Exception as error:
        # A damaged file can fail at any instruction, so the type of the exception says nothing.
        if isinstance(error, pickle.UnpicklingError) and (refused := _refused_global(str(error))):
            raise CheckpointError(
                f"the file asks to load {refused!r}, which weights never need; nothing of it ran",
                where=path,
                hint="do not trust the file; if you know its author, ask for the state dict alone",
            ) from error
        # torch's restricted unpickler knows protocols 2 and 3 and stops at the first instruction of another.
        if "Unsupported operand" in str(error) and (names := globals_in_pickle(path)):
            raise CheckpointError(
                "the file is a pickle of a newer protocol than weights use, and asks to load "
                f"{', '.join(names[:5])}; nothing of it ran",
                where=path,
                hint="do not trust the file; if you know its author, ask for one that torch.save writes by "
                "default, or for safetensors",
            ) from error
        if described := describe_damage(path):
            raise CheckpointError(f"the file is {described[0]}", where=path, hint=described[1]) from error
        raise CheckpointError(
            f"the file is damaged, incomplete or not a checkpoint: {_reason(error)}",
            where=path,
            hint=_FETCH_AGAIN,
        ) from error


def _check_archive(path: Path, with_tensors: bool) -> None:
    """Refuse an archive that would exhaust memory, or whose bytes have changed, which torch does not notice.

    torch stores everything once, uncompressed, and with checksums unless they are switched off, in which
    case they are zero. Those of tensors are compared here only if asked for.
    """
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        # The file by which torch tells programs from weights. Before 2.6 it ran programs even when asked for
        # weights only (CVE-2025-32434).
        if any(entry.filename.rpartition("/")[2] == "constants.pkl" for entry in entries):
            raise CheckpointError(
                "the file is a TorchScript program, not weights; nothing of it ran",
                where=path,
                hint="do not trust the file; if you know its author, ask for the state dict alone",
            )
        size = sum(entry.file_size for entry in entries)
        if size > path.stat().st_size:
            raise CheckpointError(
                f"the file is compressed, which checkpoints never are: it would become {size:,} bytes",
                where=path,
                hint="do not trust the file; fetch it again from its source",
            )
        for entry in entries:
            if entry.CRC and (with_tensors or not _TENSOR.search(entry.filename)):
                with archive.open(entry) as file:
                    while file.read(2**20):  # reaching the end raises BadZipFile if the checksum differs
                        pass


def _check_sums(content: Any, path: Path) -> None:
    """Refuse tensors mapped from an archive whose bytes have changed."""
    with zipfile.ZipFile(path) as archive:
        known = {(each.file_size, each.CRC) for each in archive.infolist() if _TENSOR.search(each.filename)}
    for storage in _storages(content).values():
        size = storage.nbytes()
        content_bytes = torch.empty(0, dtype=torch.uint8).set_(storage, 0, (size,)).numpy()  # type: ignore[call-overload]
        if size and (size, 0) not in known and (size, zlib.crc32(content_bytes)) not in known:
            raise CheckpointError(
                "the file is damaged: the checksum of a tensor is wrong", where=path, hint=_FETCH_AGAIN
            )


def _storages(value: Any) -> dict[int, torch.UntypedStorage]:
    """Return the storages of all tensors in plain data, each once."""
    if isinstance(value, torch.Tensor):
        storage = value.untyped_storage()
        return {storage.data_ptr(): storage}
    if isinstance(value, dict):
        value = value.values()
    elif not isinstance(value, list | tuple | set | frozenset):
        return {}
    return {place: storage for each in value for place, storage in _storages(each).items()}


def _reason(error: Exception) -> str:
    # torch buries what its restricted unpickler found in a page of advice.
    match = re.search(r"WeightsUnpickler error:\s*(.+)", str(error)) or re.match(r"[^.\n]+", str(error))
    return f"{type(error).__name__}: {match.group(match.lastindex or 0)}" if match else type(error).__name__


def _refused_global(message: str) -> str | None:
    match = re.search(r"GLOBAL ([\w.]+)", message) or re.search(r"unrecognized function (.+)", message)
    return match.group(1) if match else None


class _NumpyDtype:
    """Stand-in for ``numpy.dtype`` while unpickling: keeps the type code, takes the byte order as state.

    Only numbers pass, and nothing from the file reaches the state of NumPy's own objects.
    """

    def __init__(self, code: str, *_: object) -> None:
        if not re.fullmatch(r"[biufc]\d{1,2}", code):
            raise pickle.UnpicklingError(f"a NumPy scalar of type {code!r} is not a number")
        self.code = code
        self.byte_order = "="

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.byte_order = state[1]

    def to_numpy(self) -> np.dtype[Any]:
        dtype: np.dtype[Any] = np.dtype(self.code)
        return dtype if self.byte_order in "=|" else dtype.newbyteorder(self.byte_order)  # type: ignore[arg-type]


class _Config:
    """Stand-in for the yacs configuration of old VMamba checkpoints: becomes a plain ordered dict."""

    def __new__(cls, *_: object) -> OrderedDict[str, Any]:  # type: ignore[misc]
        return OrderedDict()


def _named(stand_in: Any, module: str, name: str) -> Any:
    # torch finds an allowed object by these attributes; each name needs an object of its own.
    stand_in.__module__, stand_in.__name__, stand_in.__qualname__ = module, name, name
    return stand_in


def _scalar_stand_in(module: str) -> Any:
    """Return what rebuilds a NumPy scalar from its bytes."""

    def scalar(dtype: _NumpyDtype, data: bytes) -> np.generic:
        value: np.generic
        (value,) = np.frombuffer(data, dtype.to_numpy())
        return value

    return _named(scalar, module, "scalar")


_STAND_INS: list[Any] = [
    _scalar_stand_in("numpy.core.multiarray"),  # files written under NumPy 1
    _scalar_stand_in("numpy._core.multiarray"),  # and under NumPy 2
    _named(_NumpyDtype, "numpy", "dtype"),
    _named(_Config, "yacs.config", "CfgNode"),
]
_ALLOWING = threading.Lock()


@contextmanager
def _stand_ins_allowed() -> Iterator[None]:
    # The list of allowed globals belongs to the whole process: replace it as briefly as possible, one thread
    # at a time, and restore what the user had allowed.
    with _ALLOWING:
        before = torch.serialization.get_safe_globals()
        torch.serialization.clear_safe_globals()
        torch.serialization.add_safe_globals(_STAND_INS)
        try:
            yield
        finally:
            torch.serialization.clear_safe_globals()
            torch.serialization.add_safe_globals(before)
