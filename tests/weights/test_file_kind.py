"""Files that were taken for checkpoints: what they are called instead."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from swin_umamba.errors import CheckpointError
from swin_umamba.weights.checkpoint import load_checkpoint
from swin_umamba.weights.file_kind import HEAD, describe_damage, describe_other_kind

LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2\nsize 91649482\n"


def tar() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("a.pth"))
    return buffer.getvalue()


@pytest.mark.parametrize("name", ["model.pth", "model.safetensors"])
@pytest.mark.parametrize(
    ("content", "message", "hint"),
    [
        (b"<!DOCTYPE html><title>404</title>", "a web page", "download the file itself"),
        (b"\xef\xbb\xbf\n  <HTML lang=en>", "a web page", "download the file itself"),
        (b'<?xml version="1.0"?><Error><Code>NoSuchKey</Code>', "a web page", "download the file itself"),
        (LFS, "a Git LFS pointer", "git lfs pull"),
        (b"\x1f\x8b\x08\0rest", "a gzip archive", "unpack"),
        (b"7z\xbc\xaf\x27\x1c", "a 7z archive", "unpack"),
        (tar(), "a tar archive", "unpack"),
        (b'{"message": "Not Found"}', "a JSON text", "give the .pth"),
        (b"Access denied\n", r"a text, not a checkpoint \(it begins with b'Access denied", "download"),
        (b"\x00\x01\x02\xff" * 9, "neither a zip archive nor a pickle nor safetensors", "download"),
    ],
)
def test_other_kinds_are_called_what_they_are(
    tmp_path: Path, content: bytes, message: str, hint: str, name: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=message) as caught:
        load_checkpoint(tmp_path / name)
    assert hint in str(caught.value.hint)
    assert caught.value.where == str(tmp_path / name)


@pytest.mark.parametrize("kept", [100, 0.3, 0.9, 0.999])
def test_a_checkpoint_that_is_cut_off(tmp_path: Path, kept: float) -> None:
    path = tmp_path / "model.pth"
    torch.save({"a": torch.arange(5000.0)}, path)
    content = path.read_bytes()
    length = int(kept if kept > 1 else kept * len(content))
    path.write_bytes(content[:length])
    with pytest.raises(CheckpointError, match=f"cut off after {length:,} bytes"):
        load_checkpoint(path)


def test_another_zip_archive(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "model.pth", "w") as archive:
        archive.writestr("fold_0/checkpoint_final.pth", "x")
    with pytest.raises(CheckpointError, match=r"a zip archive.* holds fold_0/checkpoint_final\.pth"):
        load_checkpoint(tmp_path / "model.pth")


def test_safetensors_by_another_name(tmp_path: Path) -> None:
    save_file({"a": torch.ones(3)}, tmp_path / "model.pth")
    with pytest.raises(CheckpointError, match="safetensors, but is not called so") as caught:
        load_checkpoint(tmp_path / "model.pth")
    assert "rename" in str(caught.value.hint)


@pytest.mark.parametrize("new_format", [True, False])
def test_checkpoints_are_of_no_other_kind(tmp_path: Path, new_format: bool) -> None:
    path = tmp_path / "model.pth"
    torch.save({"a": torch.ones(3)}, path, _use_new_zipfile_serialization=new_format)
    assert describe_other_kind(path.read_bytes()[:HEAD]) is None
    assert describe_damage(path) is None
    save_file({"a": torch.ones(3)}, tmp_path / "model.safetensors")
    assert describe_damage(tmp_path / "model.safetensors") is None
