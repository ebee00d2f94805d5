"""The one place for safetensors files: what comes back, the bytes on disk, and refusals."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from torch import Tensor

from swin_umamba.errors import CheckpointError, OutputError
from swin_umamba.weights import safetensors_file
from swin_umamba.weights.safetensors_file import load_metadata, load_safetensors, save_safetensors


def shared_tensors() -> dict[str, Tensor]:
    """Tensors that share memory in every way that a state dict can hold."""
    matrix, line = torch.arange(6.0).reshape(2, 3), torch.arange(4, dtype=torch.int16)
    return {
        "whole": matrix,
        "again": matrix,
        "transposed": matrix.T,
        "one row": matrix[1],
        "first half": line[:2],
        "second half": line[2:],
        "parameter": torch.nn.Parameter(torch.tensor(0.5)),
        "empty": torch.zeros(0, 3),
        "empty too": torch.zeros(0, 3),
    }


def split_file(path: Path) -> tuple[bytes, bytes]:
    """Return the header and the data of a file."""
    content = path.read_bytes()
    end = 8 + int.from_bytes(content[:8], "little")
    return content[8:end], content[end:]


def test_shared_tensors_come_back_in_full(tmp_path: Path) -> None:
    tensors = shared_tensors()
    save_safetensors(tmp_path / "a.safetensors", tensors, {"name": "ü"})
    loaded = load_safetensors(tmp_path / "a.safetensors")
    assert loaded.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert torch.equal(loaded[name], tensor), name
        assert (loaded[name].dtype, loaded[name].shape) == (tensor.dtype, tensor.shape)
    assert load_metadata(tmp_path / "a.safetensors") == {"name": "ü"}
    # Those given still share theirs.
    assert tensors["again"].data_ptr() == tensors["whole"].data_ptr()


def test_the_bytes_on_disk(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    half = torch.tensor([1.0, -2.0], dtype=torch.float16)
    save_safetensors(path, {"b": half, "a": torch.tensor([[1, 2], [3, 4]], dtype=torch.int32).T})
    header, data = split_file(path)
    assert json.loads(header) == {
        "a": {"dtype": "I32", "shape": [2, 2], "data_offsets": [0, 16]},
        "b": {"dtype": "F16", "shape": [2], "data_offsets": [16, 20]},
    }
    assert data.hex(" ", 4) == "01000000 03000000 02000000 04000000 003c00c0"
    first = path.read_bytes()
    save_safetensors(path, load_safetensors(path))
    assert path.read_bytes() == first


def test_without_and_with_an_empty_description(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    for metadata in (None, {}):
        save_safetensors(path, {"a": torch.zeros(1)}, metadata)
        assert load_metadata(path) == {}
        assert (b"__metadata__" in split_file(path)[0]) == (metadata is not None)


def test_a_failed_write_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.safetensors"
    save_safetensors(path, {"a": torch.ones(2)})

    def fail(tensors: object, temporary: Path, metadata: object) -> None:
        temporary.write_bytes(b"half")
        raise SafetensorError("I/O error: No space left on device")

    monkeypatch.setattr(safetensors_file, "save_file", fail)
    with pytest.raises(OutputError, match="No space left"):
        save_safetensors(path, {"a": torch.zeros(2)})
    assert torch.equal(load_safetensors(path)["a"], torch.ones(2))
    assert os.listdir(tmp_path) == ["a.safetensors"]


def header_of(content: object) -> bytes:
    text = json.dumps(content).encode()
    return len(text).to_bytes(8, "little") + text


def entry(dtype: str = "F32", shape: tuple[int, ...] = (1,), end: int = 4) -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [0, end]}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x08\0\0\0\0\0\0",
        b"\xff" * 8 + b"{}",
        header_of({"a": entry()}),
        header_of({"a": entry()}) + b"12345",
        header_of({"a": entry(shape=(2**40,), end=2**42)}) + b"1234",
        header_of({"a": entry(shape=(2**63, 2**63), end=4)}) + b"1234",
        header_of({"a": entry("X9")}) + b"1234",
        header_of({"a": entry(), "b": entry()}) + b"1234",
        header_of({"a": 5}),
        header_of([]),
        header_of({"__metadata__": {"a": 5}}),
    ],
)
def test_damaged_and_hostile_files(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(content)
    for load in (load_safetensors, load_metadata):
        with pytest.raises(CheckpointError, match="damaged, incomplete or no safetensors file") as caught:
            load(path)
        assert caught.value.where == str(path)
        assert caught.value.hint


def test_a_header_of_more_than_100_mb_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    size = 100_000_001
    with path.open("wb") as file:
        file.write(size.to_bytes(8, "little") + b"{")
        file.truncate(8 + size)  # takes no space on disk
    with pytest.raises(CheckpointError, match=r"(?i)header too ?large"):
        load_metadata(path)


def test_files_that_are_something_else_are_called_what_they_are(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2\nsize 91649482\n")
    with pytest.raises(CheckpointError, match="it is a Git LFS pointer") as caught:
        load_metadata(path)
    assert "git lfs pull" in str(caught.value.hint)


def test_files_that_are_absent_or_locked_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CheckpointError, match="no such file"):
        load_safetensors(tmp_path / "a.safetensors")

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(safetensors_file, "safe_open", refuse)
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(CheckpointError, match="may not be read") as caught:
        load_metadata(tmp_path / "b.safetensors")
    assert "permissions" in str(caught.value.hint)
