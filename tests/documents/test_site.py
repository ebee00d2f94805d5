"""The site is built without a warning by both generators, and no link in it leads nowhere."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from script_modules import ROOT, script

PAGES = sorted(path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md"))
BUILDERS = {"zensical": ["zensical", "build", "--clean"], "mkdocs": ["mkdocs", "build", "--clean"]}


def check_links(site: Path) -> list[str]:
    return list(script("check_links").faults(site))


def test_each_page_is_in_the_navigation() -> None:
    text = (ROOT / "mkdocs.yml").read_text()
    listed = re.findall(r"([\w/]+\.md)$", text[text.index("\nnav:") :], re.MULTILINE)
    assert sorted(listed) == PAGES


@pytest.mark.parametrize(
    ("page", "fault"),
    [
        ('<a href="other.html">', None),
        ('<a href="other.html#here">', None),
        ('<a href="folder/">', None),
        ('<a href="https://example.org/x#y">', None),
        ('<img src="data:image/png;base64,AA">', None),
        ('<p id="top"><a href="#top">', None),
        ('<a href="other.html#nowhere">', "anchor"),
        ('<a href="#nowhere">', "anchor"),
        ('<a href="missing.html">', "no such file"),
        ('<img src="missing.png">', "no such file"),
        ('<a href="../outside.html">', "no such file"),
        ('<script src="https://example.org/x.js">', "elsewhere"),
        ('<link rel="stylesheet" href="https://example.org/x.css">', "elsewhere"),
    ],
)
def test_links(tmp_path: Path, page: str, fault: str | None) -> None:
    site = tmp_path / "site"
    (site / "folder").mkdir(parents=True)
    (tmp_path / "outside.html").write_text("")
    (site / "folder" / "index.html").write_text("")
    (site / "other.html").write_text('<h1 id="here">')
    (site / "index.html").write_text(page)
    found = check_links(site)
    assert len(found) == (fault is not None), found
    assert fault is None or fault in found[0]


def build(copy: Path, builder: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", *BUILDERS[builder], "--strict"]
    return subprocess.run(command, cwd=copy, capture_output=True, text=True, check=False)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The documents and what they are built from."""
    for name in ("docs", "src"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "mkdocs.yml", tmp_path)
    return tmp_path


@pytest.mark.docs
@pytest.mark.parametrize("builder", BUILDERS)
def test_the_site_is_built_without_a_broken_link(copy: Path, builder: str) -> None:
    pytest.importorskip(builder)
    done = build(copy, builder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert check_links(copy / "build" / "site") == []
    for page in PAGES:
        place = Path(page)
        built = place.parent if place.stem in ("index", "README") else place.with_suffix("")
        assert (copy / "build" / "site" / built / "index.html").is_file()


@pytest.mark.docs
@pytest.mark.parametrize("broken", ["[x](nowhere.md)", "[x](options.md#nowhere)", "[x][swin_umamba.Nowhere]"])
def test_a_broken_link_fails(copy: Path, broken: str) -> None:
    pytest.importorskip("zensical")
    page = copy / "docs" / "index.md"
    page.write_text(page.read_text() + "\n" + broken + "\n")
    assert build(copy, "zensical").returncode != 0
