"""Row 21: hostile archives of models."""

from __future__ import annotations

import stat
import tempfile
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from faults.fault_files import Command, files_below
from little_memory import little_memory
from trained.model_folder import make_model_folder

PLANS = "plans.json"


def link() -> zipfile.ZipInfo:
    """A symbolic link from ``fold_1`` to wherever the content says."""
    info = zipfile.ZipInfo("fold_1")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info


@pytest.fixture
def make_archive(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that makes an archive of a good model with further members."""

    def make(*members: str | zipfile.ZipInfo, content: bytes = b"/etc") -> Path:
        model = make_model_folder(tmp_path / "source")
        with zipfile.ZipFile(tmp_path / "model.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            for path in sorted(model.rglob("*")):
                archive.write(path, path.relative_to(model))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # zipfile warns of duplicates
                for member in members:
                    archive.writestr(member, content)
        return tmp_path / "model.zip"

    return make


@pytest.fixture
def unpacking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder for temporary files."""
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    return tmp_path / "tmp"


@pytest.mark.parametrize(
    ("member", "message"),
    [
        ("../evil.txt", "leads out"),
        ("fold_0/../../evil.txt", "leads out"),
        ("/etc/evil.txt", "leads out"),
        ("C:/evil.txt", "leads out"),
        ("..\\evil.txt", "leads out"),
        (link(), "is a link"),
        (PLANS, "twice"),
        (PLANS.upper(), "twice"),
    ],
    ids=["parent", "parent-inside", "absolute", "drive", "backslash", "link", "duplicate", "case"],
)
def test_row_21_members_that_lead_elsewhere(
    tmp_path: Path,
    command: Command,
    make_archive: Callable[..., Path],
    unpacking: Path,
    member: str | zipfile.ZipInfo,
    message: str,
) -> None:
    archive = make_archive(member)
    before = files_below(tmp_path)
    done = command("weights", "import", archive, "-o", tmp_path / "out")
    assert done.code == 1
    assert message in done.err
    assert "nothing was unpacked" in done.err
    assert str(archive) in done.err
    assert files_below(tmp_path) == before
    assert files_below(unpacking) == {}


def test_row_21_a_bomb(
    tmp_path: Path,
    command: Command,
    make_archive: Callable[..., Path],
    unpacking: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A checkpoint of 300 MB of zeros, a thousandth of that in the archive."""
    archive = make_archive("fold_1/checkpoint_final.pth", content=bytes(300_000_000))
    assert archive.stat().st_size < 700_000
    opened: list[object] = []
    monkeypatch.setattr(zipfile.ZipFile, "open", lambda self, member, *_: opened.append(member))
    with little_memory(20e6):
        done = command("weights", "import", archive, "-o", tmp_path / "out")
    assert opened == []
    assert done.code == 1
    assert "would grow from" in done.err
    assert "to 300,000,000 bytes" in done.err
    assert files_below(unpacking) == {}
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("where", ["results", "out"])
def test_row_21_an_existing_model(tmp_path: Path, command: Command, make_archive, where: str) -> None:
    archive = make_archive()
    existing = make_model_folder(tmp_path / where)
    before = files_below(existing)
    done = command("weights", "import", archive, "-o", existing)
    assert done.code == 1
    assert "a model exists already and was not changed" in done.err
    assert "--overwrite" in done.err
    assert files_below(existing) == before
