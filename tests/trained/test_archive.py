"""Archives are unpacked only if every member is harmless."""

from __future__ import annotations

import stat
import sys
import warnings
import zipfile
import zlib
from pathlib import Path
from random import Random

import pytest

from swin_umamba.errors import CheckpointError, OutputError
from swin_umamba.trained import archive as model_archive
from swin_umamba.trained.archive import unpacked_model

GOOD = ["plans.json", "dataset.json", "fold_0/checkpoint_final.pth", "fold_0/progress.png"]


def write(path: Path, *members: str | zipfile.ZipInfo, content: bytes = b"x") -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zipfile warns of duplicates
        for member in members:
            archive.writestr(member, content)
    return path


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("prefix", ["", "model/", "Dataset702_X/Trainer__Plans__2d/"])
def test_what_prediction_needs_is_unpacked(tmp_path: Path, prefix: str) -> None:
    others = ["fold_x/a.pth", "fold_0/deeper/a.pth", "a.pth", "readme.txt"]
    path = write(tmp_path / "a.zip", *(prefix + name for name in GOOD + others), "elsewhere/notes.txt")
    with unpacked_model(path) as folder:
        assert names(folder) == ["dataset.json", "fold_0/checkpoint_final.pth", "plans.json"]
        assert (folder / "plans.json").read_bytes() == b"x"
    assert not folder.exists()
    assert names(tmp_path) == ["a.zip"]


def link() -> zipfile.ZipInfo:
    info = zipfile.ZipInfo("fold_1")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info


@pytest.mark.parametrize(
    ("member", "message"),
    [
        ("../plans.json", "leads out"),
        ("fold_0/../../x", "leads out"),
        ("/etc/passwd", "leads out"),
        ("C:/x", "leads out"),
        ("fold_0\\..\\x", "leads out"),
        ("a//b", "leads out"),
        ("./a", "leads out"),
        (link(), "link"),
        ("plans.json", "twice"),
        ("PLANS.json", "twice"),
        ("a/plans.json", "2 models"),
    ],
)
def test_refused_members(tmp_path: Path, member: str | zipfile.ZipInfo, message: str) -> None:
    path = write(tmp_path / "a.zip", *GOOD, member)
    with pytest.raises(CheckpointError, match=message), unpacked_model(path):
        pytest.fail("it was unpacked")
    assert names(tmp_path) == ["a.zip"]


def test_bombs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.zip", *GOOD, content=bytes(2 * 2**20))
    with pytest.raises(CheckpointError, match="would grow from"), unpacked_model(path):
        pytest.fail("it was unpacked")
    path = write(tmp_path / "b.zip", *GOOD)
    for limit in ("LARGEST_ARCHIVE", "MOST_MEMBERS"):
        with monkeypatch.context() as patch:
            patch.setattr(model_archive, limit, 3)
            with pytest.raises(CheckpointError, match="it holds 4 files of 4 bytes"), unpacked_model(path):
                pytest.fail("it was unpacked")


def test_encrypted(tmp_path: Path) -> None:
    path = write(tmp_path / "a.zip", *GOOD)
    data = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(signature) + offset] |= 1
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match="encrypted"), unpacked_model(path):
        pytest.fail("it was unpacked")


def test_damaged_and_foreign_files(tmp_path: Path) -> None:
    good = write(tmp_path / "a.zip", *GOOD, content=b"0123456789" * 20).read_bytes()
    flipped = bytearray(good)
    flipped[good.index(b"plans.json") + 12] ^= 0xFF
    for content in (b"", b"<html>", good[:100], bytes(flipped)):
        (tmp_path / "a.zip").write_bytes(content)
        with pytest.raises(CheckpointError, match="damaged"), unpacked_model(tmp_path / "a.zip"):
            pytest.fail("it was unpacked")
    with pytest.raises(CheckpointError, match=r"no plans\.json"), unpacked_model(write(tmp_path / "b", "a")):
        pytest.fail("it was unpacked")


def test_random_damage_is_reported_or_does_no_harm(tmp_path: Path) -> None:
    path = write(tmp_path / "a.zip", *GOOD, content=b"0123456789" * 20)
    good, random = path.read_bytes(), Random(0)
    outcomes = set()
    for _ in range(400):
        damaged = bytearray(good)
        damaged[random.randrange(len(good))] = random.randrange(256)
        path.write_bytes(damaged[: random.choice((None, random.randrange(len(good))))])
        try:
            with unpacked_model(path) as folder:
                outcomes.add("unpacked")
                assert all(file.read_bytes() == b"0123456789" * 20 for file in folder.glob("*.json"))
        except CheckpointError:
            outcomes.add("refused")
    assert outcomes == {"unpacked", "refused"}
    assert names(tmp_path) == ["a.zip"]


def test_no_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from collections import namedtuple

    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(model_archive.shutil, "disk_usage", lambda path: usage(10, 9, 1))
    with pytest.raises(OutputError, match="unpacking needs 3 bytes, and 1 are free"):  # noqa: SIM117
        with unpacked_model(write(tmp_path / "a.zip", *GOOD)):
            pytest.fail("it was unpacked")


@pytest.mark.parametrize("second", ["../../evil.pth", "fold_0/checkpoint_final.pth", "plans.json"])
def test_a_second_name_for_other_alphabets(second: str, tmp_path: Path) -> None:
    """Python unpacks by the name in the extra field 0x7075 from 3.12 on, and by the first one before."""
    first = "fold_1/checkpoint_final.pth"
    info = zipfile.ZipInfo(first)
    text = second.encode()
    content = b"\x01" + zlib.crc32(first.encode()).to_bytes(4, "little") + text
    info.extra = b"\x75\x70" + len(content).to_bytes(2, "little") + content
    path = write(tmp_path / "a.zip", *GOOD, info)
    if sys.version_info < (3, 12):
        with unpacked_model(path) as folder:
            assert set(names(folder)) == {"dataset.json", "fold_0/checkpoint_final.pth", first, "plans.json"}
    else:
        with pytest.raises(CheckpointError, match="has another name"), unpacked_model(path):
            pytest.fail("it was unpacked")
    assert not list(tmp_path.parent.glob("**/evil.pth"))
