"""Checkpoints that hold code, or objects that lie: they are refused, or become plain values."""

from __future__ import annotations

import os
import re
import shutil
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from faults.fault_files import DATASET_NAME, Command, write_dataset
from own_environment import own_environment
from payload import Payload
from swin_umamba.errors import CheckpointError
from swin_umamba.weights.checkpoint import load_checkpoint
from swin_umamba.weights.plain_data import plain_data
from trained.model_folder import make_model_folder

TRAINER = "nnUNetTrainerSwinUMamba"
PLACES = ("network_weights", "optimizer_state", "logging")


def hostile_checkpoint(path: Path, place: str, canary: Path, **entries: Any) -> None:
    """Write a training checkpoint that runs a shell command when an ordinary unpickler reads it."""
    content: dict[str, Any] = {
        "network_weights": {"stem.weight": torch.ones(2)},
        "optimizer_state": {"state": {}},
        "logging": {"mean_fg_dice": [0.5]},
        "trainer_name": TRAINER,
        "current_epoch": 3,
        **entries,
    }
    content[place] = {**content[place], "x": Payload(os.system, f"touch {canary}")}
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(content, path)


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a training needs; the root of nnU-Net's folders, not to be written to."""
    from swin_umamba.nnunet.environment import find_dataset
    from swin_umamba.nnunet.planning.plan import plan

    root = tmp_path_factory.mktemp("planned")
    write_dataset(root)
    with own_environment():
        plan(find_dataset(DATASET_NAME, root), workers=1)
    return root


@pytest.fixture
def root(planned: Path, tmp_path: Path) -> Path:
    return shutil.copytree(planned, tmp_path / "root")


def assert_refused(outcome: Any, canary: Path, file: Path) -> None:
    assert outcome.code == 1
    assert re.search(r"asks to load '(posix|nt)\.system'", outcome.err)
    assert file.name in outcome.err
    assert not canary.exists()


@pytest.mark.parametrize("place", PLACES)
def test_row_15_code_in_a_model_to_predict_with(tmp_path: Path, command: Command, place: str) -> None:
    model = make_model_folder(tmp_path)
    file = model / "fold_0" / "checkpoint_final.pth"
    good = load_checkpoint(file)
    hostile_checkpoint(file, place, tmp_path / "canary", **good)
    (tmp_path / "images").mkdir()
    options = ("-i", tmp_path / "images", "-o", tmp_path / "out", "--device", "cpu")
    assert_refused(command("predict", "-m", model, *options), tmp_path / "canary", file)
    assert not (tmp_path / "out").exists()
    # The file does run its command where it is read without care.
    torch.load(file, weights_only=False)
    assert (tmp_path / "canary").exists()


@pytest.mark.parametrize("place", PLACES)
def test_row_15_code_in_a_model_to_import(tmp_path: Path, command: Command, place: str) -> None:
    model = make_model_folder(tmp_path)
    file = model / "fold_0" / "checkpoint_final.pth"
    hostile_checkpoint(file, place, tmp_path / "canary")
    done = command("weights", "import", model, "-o", tmp_path / "out")
    assert_refused(done, tmp_path / "canary", file)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("place", PLACES)
def test_row_15_code_in_a_training_to_resume(
    tmp_path: Path, root: Path, command: Command, place: str
) -> None:
    folder = root / "nnUNet_results" / DATASET_NAME / f"{TRAINER}__SwinUMambaPlans__2d" / "fold_0"
    hostile_checkpoint(folder / "checkpoint_final.pth", place, tmp_path / "canary")
    before = sorted(path.name for path in folder.iterdir())
    done = command("train", DATASET_NAME, "--root", root, "--fold", 0, "--device", "cpu", "--continue")
    assert_refused(done, tmp_path / "canary", folder / "checkpoint_final.pth")
    assert sorted(path.name for path in folder.iterdir()) == before


@pytest.mark.parametrize("place", PLACES)
def test_row_15_code_in_pretrained_weights(tmp_path: Path, root: Path, command: Command, place: str) -> None:
    file = tmp_path / "weights.pth"
    hostile_checkpoint(file, place, tmp_path / "canary")
    options = ("--fold", 0, "--device", "cpu", "--pretrained", file, "--epochs", 1, "--workers", 0)
    done = command("train", DATASET_NAME, "--root", root, *options)
    assert_refused(done, tmp_path / "canary", file)
    assert not list(root.glob("nnUNet_results/**/*.pth"))


def lies(*names: str, **entries: Any) -> OrderedDict[str, Any]:
    """An ordered dict with attributes in place of methods."""
    liar = OrderedDict(entries)
    for name in names:
        setattr(liar, name, "a text")
    return liar


def test_attributes_set_by_a_file_are_gone(tmp_path: Path) -> None:
    torch.save({"init_args": lies("get", "keys", "values", plans={})}, tmp_path / "a.pth")
    with pytest.raises(TypeError, match="not callable"):
        torch.load(tmp_path / "a.pth", weights_only=True)["init_args"].get("plans")
    assert load_checkpoint(tmp_path / "a.pth")["init_args"].get("plans") == {}
    tensor = torch.arange(6.0)[::2]
    tensor.numpy = tensor.detach = "a text"  # type: ignore[method-assign,assignment]
    found = plain_data({"a": lies("items", "__iter__", b=[1, (2, "x")]), "t": tensor}, Path("a.pth"), 100)
    assert type(found["a"]) is dict
    assert found["a"] == {"b": [1, (2, "x")]}
    assert found["t"].detach().numpy().tolist() == [0.0, 2.0, 4.0]


def test_a_compressed_checkpoint_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(300_000)}, tmp_path / "model.pth")
    with (
        zipfile.ZipFile(tmp_path / "model.pth") as archive,
        zipfile.ZipFile(tmp_path / "bomb.pth", "w", zipfile.ZIP_DEFLATED) as bomb,
    ):
        for name in archive.namelist():
            bomb.writestr(name, archive.read(name))
    assert (tmp_path / "bomb.pth").stat().st_size < 10_000
    with pytest.raises(CheckpointError, match=r"would become 1,200,\d{3} bytes"):
        load_checkpoint(tmp_path / "bomb.pth")


def test_a_torchscript_program_is_refused_before_torch_sees_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.jit.script(torch.nn.Linear(2, 2)).save(tmp_path / "program.pth")
    monkeypatch.setattr(torch, "load", lambda *args, **options: pytest.fail("torch.load was called"))
    with pytest.raises(CheckpointError, match="TorchScript program"):
        load_checkpoint(tmp_path / "program.pth")


CLAIMS: dict[str, Callable[[int], torch.Tensor]] = {
    "a stride of 0": lambda size: torch.zeros(1).expand(size),
    "overlapping windows": lambda size: torch.zeros(2000).as_strided((size // 1000, 1000), (0, 1)),
    "no device": lambda size: torch.empty(size, device="meta"),
    "coordinates of nothing": lambda size: torch.sparse_coo_tensor(
        torch.zeros(1, 0, dtype=torch.long), torch.zeros(0), (size,), check_invariants=True
    ),
}


@pytest.mark.parametrize("claim", list(CLAIMS))
@pytest.mark.parametrize("size", [10**8, 2**60])
def test_tensors_that_claim_more_than_is_stored(
    tmp_path: Path, command: Command, claim: str, size: int
) -> None:
    """Plans can describe a network that fits them, and it would be built."""
    model = make_model_folder(tmp_path)
    file = model / "fold_0" / "checkpoint_final.pth"
    content = load_checkpoint(file)
    content["network_weights"]["encoder.weight"] = CLAIMS[claim](size)
    torch.save(content, file)
    assert file.stat().st_size < 200_000
    (tmp_path / "images").mkdir()
    done = command("predict", "-m", model, "-i", tmp_path / "images", "-o", tmp_path / "out")
    assert done.code == 1
    assert re.search("tensor.* stored", done.err)
    assert str(file) in done.err
    assert not (tmp_path / "out").exists()


def test_numbers_that_the_old_format_announces_and_never_stores(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(2)}, tmp_path / "a.pth", _use_new_zipfile_serialization=False)
    content = (tmp_path / "a.pth").read_bytes()
    start, end = content.index(b"cpuq"), content.rindex(b"\x80\x02]")
    hostile = content[:start] + content[start:end].replace(b"K\x02", b"J" + (10**9).to_bytes(4, "little"))
    (tmp_path / "a.pth").write_bytes(hostile + b"\x80\x02].")  # no storage follows
    with pytest.raises(
        CheckpointError, match=r"tensors of 4,000,000,000 bytes, of which at most \d+ are stored"
    ):
        load_checkpoint(tmp_path / "a.pth")


def test_a_name_more_for_what_is_stored_claims_nothing(tmp_path: Path) -> None:
    weight = torch.ones(3, 1000)
    torch.save({"one": weight, "other": weight, "wide": weight[0].expand(100, -1)}, tmp_path / "a.pth")
    assert load_checkpoint(tmp_path / "a.pth")["wide"].shape == (100, 1000)
