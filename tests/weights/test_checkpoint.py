"""Untrusted checkpoints: what is read, and what is refused without running."""

from __future__ import annotations

import os
import pickle
import sys
import types
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from payload import Payload
from swin_umamba.errors import CheckpointError, OutputError
from swin_umamba.weights.checkpoint import load_checkpoint, save_checkpoint


def like_nnunet() -> dict[str, Any]:
    """The parts of an nnU-Net training checkpoint that are more than tensors and plain values."""
    return {
        "network_weights": {"stem.0.weight": torch.arange(6.0).reshape(2, 3)},
        "optimizer_state": {"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": [{"lr": 1e-4}]},
        "grad_scaler_state": None,
        "logging": {
            "mean_fg_dice": [np.float64(0.25), np.float32(0.5)],
            "dice_per_class_or_region": [[np.float64(0.1), np.float64("nan")]],
        },
        "_best_ema": np.float64(0.75),
        "current_epoch": np.int64(100),
        "init_args": {"fold": "all", "device": torch.device("cpu"), "plans": {"flag": np.bool_(True)}},
        "trainer_name": "nnUNetTrainerSwinUMamba",
        "inference_allowed_mirroring_axes": (0, 1),
    }


def test_an_nnunet_checkpoint_comes_back_as_it_was(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "checkpoint.pth", like_nnunet())
    loaded = load_checkpoint(tmp_path / "checkpoint.pth")
    expected = like_nnunet()
    assert list(loaded) == list(expected)
    assert torch.equal(
        loaded["network_weights"]["stem.0.weight"], expected["network_weights"]["stem.0.weight"]
    )
    assert loaded["_best_ema"] == 0.75
    assert type(loaded["_best_ema"]) is np.float64
    assert loaded["logging"]["mean_fg_dice"] == [0.25, 0.5]
    assert type(loaded["logging"]["mean_fg_dice"][1]) is np.float32
    assert np.isnan(loaded["logging"]["dice_per_class_or_region"][0][1])
    assert loaded["current_epoch"] == 100
    assert loaded["init_args"] == expected["init_args"]
    assert loaded["inference_allowed_mirroring_axes"] == (0, 1)


def rename_global(path: Path, old: bytes, new: bytes) -> None:
    """Rewrite the name of a global in the pickle inside a torch file."""
    with zipfile.ZipFile(path) as archive:
        members = {member: archive.read(member) for member in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for member, content in members.items():
            if member.endswith("data.pkl"):
                assert old in content
                content = content.replace(old, new)
            archive.writestr(member, content)


@pytest.mark.parametrize("module", [b"numpy.core.multiarray", b"numpy._core.multiarray"])
def test_numpy_scalars_under_the_names_of_numpy_1_and_2(tmp_path: Path, module: bytes) -> None:
    path = tmp_path / "checkpoint.pth"
    torch.save({"_best_ema": np.float64(0.125)}, path)
    written = type(np.float64(1)).__reduce__(np.float64(1))[0].__module__.encode()
    rename_global(path, written, module)
    assert load_checkpoint(path)["_best_ema"] == 0.125


def test_byte_order_of_scalars(tmp_path: Path) -> None:
    scalar = np.float64(1).__reduce__()[0]
    content = {
        "big": Payload(scalar, np.dtype(">f8"), np.array([2.5], ">f8").tobytes()),
        "little": Payload(scalar, np.dtype("<i4"), np.array([-3], "<i4").tobytes()),
        "byte": np.uint8(200),
    }
    torch.save(content, tmp_path / "checkpoint.pth")
    assert load_checkpoint(tmp_path / "checkpoint.pth") == {"big": 2.5, "little": -3, "byte": 200}


def test_the_configuration_in_old_vmamba_files_becomes_a_plain_dict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    yacs = types.ModuleType("yacs.config")

    class CfgNode(dict):  # what yacs' own class looks like to pickle
        def __init__(self, values: dict[str, Any]) -> None:
            super().__init__(values)
            self.__dict__["__immutable__"] = True

    CfgNode.__module__, CfgNode.__qualname__ = "yacs.config", "CfgNode"
    yacs.CfgNode = CfgNode  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "yacs", types.ModuleType("yacs"))
    monkeypatch.setitem(sys.modules, "yacs.config", yacs)
    config = CfgNode({"MODEL": CfgNode({"IN_CHANS": 3, "DEPTHS": [2, 2, 9, 2]})})
    torch.save({"model": {"a": torch.ones(2)}, "config": config}, tmp_path / "vmamba.pth")
    monkeypatch.delitem(sys.modules, "yacs.config")

    loaded = load_checkpoint(tmp_path / "vmamba.pth")
    assert loaded["config"] == {"MODEL": {"IN_CHANS": 3, "DEPTHS": [2, 2, 9, 2]}}
    assert torch.equal(loaded["model"]["a"], torch.ones(2))


def test_safetensors(tmp_path: Path) -> None:
    save_file({"a": torch.arange(3.0)}, tmp_path / "weights.safetensors")
    assert torch.equal(load_checkpoint(tmp_path / "weights.safetensors")["a"], torch.arange(3.0))


@pytest.mark.parametrize("new_format", [True, False])
@pytest.mark.parametrize("function", [os.system, os.mkdir, eval])
def test_code_is_refused_by_name_and_does_not_run(tmp_path: Path, function: Any, new_format: bool) -> None:
    marker = tmp_path / "marker"
    argument = {
        os.system: f"mkdir {marker}",
        os.mkdir: str(marker),
        eval: f"__import__('os').mkdir({str(marker)!r})",
    }
    path = tmp_path / "model.pth"
    content = {"model": {"a": torch.ones(2)}, "x": Payload(function, argument[function])}
    torch.save(content, path, _use_new_zipfile_serialization=new_format)
    with pytest.raises(CheckpointError, match=function.__name__) as caught:
        load_checkpoint(path)
    assert str(path) in str(caught.value)
    assert not marker.exists()


def test_a_plain_pickle_with_a_payload_does_not_run(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    (tmp_path / "model.pth").write_bytes(pickle.dumps(Payload(os.mkdir, str(marker)), protocol=2))
    with pytest.raises(CheckpointError):
        load_checkpoint(tmp_path / "model.pth")
    assert not marker.exists()


@pytest.mark.parametrize("protocol", [4, 5])
@pytest.mark.parametrize("zipped", [True, False])
def test_a_payload_of_a_newer_protocol_is_named_too(tmp_path: Path, protocol: int, zipped: bool) -> None:
    content = {"model": {"a": 1.0}, "x": Payload(os.mkdir, str(tmp_path / "marker"))}
    path = tmp_path / "model.pth"
    if zipped:
        torch.save(content, path, pickle_protocol=protocol)
    else:
        path.write_bytes(pickle.dumps(content, protocol=protocol))
    with pytest.raises(
        CheckpointError, match=rf"asks to load {os.mkdir.__module__}\.mkdir; nothing of it ran"
    ):
        load_checkpoint(path)
    assert not (tmp_path / "marker").exists()


@pytest.mark.parametrize("code", ["O", "V8", "U2", "M8[s]"])
def test_only_numbers_pass_as_numpy_scalars(tmp_path: Path, code: str) -> None:
    scalar = np.float64(1).__reduce__()[0]
    torch.save({"x": Payload(scalar, np.dtype(code), b"12345678")}, tmp_path / "model.pth")
    with pytest.raises(CheckpointError, match="is not a number"):
        load_checkpoint(tmp_path / "model.pth")


def test_loading_leaves_the_list_of_allowed_globals_as_it_was(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "checkpoint.pth", like_nnunet())
    before = set(torch.serialization.get_safe_globals())
    load_checkpoint(tmp_path / "checkpoint.pth")
    (tmp_path / "junk.pth").write_bytes(b"junk")
    with pytest.raises(CheckpointError):
        load_checkpoint(tmp_path / "junk.pth")
    assert set(torch.serialization.get_safe_globals()) == before


@pytest.mark.parametrize("kept", [0.01, 0.5, 0.99])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_truncated_file_is_called_damaged(tmp_path: Path, kept: float, suffix: str) -> None:
    path = tmp_path / f"checkpoint{suffix}"
    if suffix == ".pth":
        save_checkpoint(path, like_nnunet())
    else:
        save_file({"a": torch.arange(3000.0)}, path)
    content = path.read_bytes()
    path.write_bytes(content[: max(int(kept * len(content)), 1)])
    with pytest.raises(CheckpointError, match="damaged") as caught:
        load_checkpoint(path)
    assert "download" in str(caught.value.hint)


def flip(path: Path, numbers: torch.Tensor) -> None:
    """Change a byte of a stored tensor."""
    content = bytearray(path.read_bytes())
    content[content.index(numbers.numpy().tobytes()) + 5] ^= 1
    path.write_bytes(content)


def test_what_is_not_asked_for_is_neither_read_nor_checked(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pth"
    weights, state = torch.rand(50, 7), torch.rand(2000)
    whole = {"a": {"w": weights, "again": weights[:, 2:4], "none": torch.zeros(0)}, "b": 3, "o": {"s": state}}
    save_checkpoint(path, whole)
    flip(path, state)
    with pytest.raises(CheckpointError, match="damaged"):
        load_checkpoint(path)
    found = load_checkpoint(path, only=("a", "b", "missing"))
    assert found.keys() == {"a", "b"}
    assert all(torch.equal(found["a"][key], whole["a"][key]) for key in whole["a"])  # type: ignore[index]
    assert found["a"]["again"].untyped_storage().data_ptr() == found["a"]["w"].untyped_storage().data_ptr()
    path.write_bytes(bytes(path.stat().st_size))  # the tensors are copies, not the file's own bytes
    assert torch.equal(found["a"]["w"], weights)


def test_what_is_asked_for_is_checked(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pth"
    weights = torch.rand(50, 7)
    save_checkpoint(path, {"a": {"w": weights}, "o": torch.rand(20)})
    flip(path, weights)
    with pytest.raises(CheckpointError, match="damaged: the checksum of a tensor is wrong"):
        load_checkpoint(path, only=("a",))
    torch.save({"a": weights, "o": 1}, path, _use_new_zipfile_serialization=False)
    assert load_checkpoint(path, only=("a",)).keys() == {"a"}


def test_every_truncation_of_an_old_format_file_is_an_error_of_ours(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pth"
    torch.save({"a": torch.ones(3), "b": np.float64(1)}, path, _use_new_zipfile_serialization=False)
    content = path.read_bytes()
    assert load_checkpoint(path)["b"] == 1
    for length in range(1, len(content), 7):
        path.write_bytes(content[:length])
        with pytest.raises(CheckpointError):
            load_checkpoint(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty file"),
        (b"hello world", r"a text, not a checkpoint \(it begins with b'hello world'\)"),
        (b"PK\x03\x04 not a zip", "cut off after 14 bytes"),
        (b"\x80\x02.", "damaged, incomplete or not a checkpoint"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "model.pth").write_bytes(content)
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(tmp_path / "model.pth")


def test_missing_file_and_folder(tmp_path: Path) -> None:
    for path, message in ((tmp_path / "none.pth", "no checkpoint file"), (tmp_path, "a folder, not a check")):
        with pytest.raises(CheckpointError, match=message):
            load_checkpoint(path)


def test_anything_but_a_dict_is_refused(tmp_path: Path) -> None:
    torch.save([torch.ones(2)], tmp_path / "list.pth")
    with pytest.raises(CheckpointError, match="a list, not a dictionary"):
        load_checkpoint(tmp_path / "list.pth")


def test_a_failed_write_keeps_the_old_file(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    import signal

    path = tmp_path / "checkpoint.pth"
    save_checkpoint(path, {"a": torch.zeros(3)})
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))  # stands for a full disk
    try:
        with pytest.raises(OutputError, match="cannot write"):
            save_checkpoint(path, {"a": torch.zeros(500_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert torch.equal(load_checkpoint(path)["a"], torch.zeros(3))
    assert [item.name for item in tmp_path.iterdir()] == ["checkpoint.pth"]


def test_tensors_that_share_memory_are_read(tmp_path: Path) -> None:
    whole = torch.arange(12.0).reshape(3, 4)
    torch.save(
        {"whole": whole, "column": whole[:, 1], "turned": whole.T, "empty": whole[:0]}, tmp_path / "a.pth"
    )
    loaded = load_checkpoint(tmp_path / "a.pth")
    assert torch.equal(loaded["column"], whole[:, 1])
    assert torch.equal(loaded["turned"], whole.T)
    assert loaded["empty"].shape == (0, 4)
