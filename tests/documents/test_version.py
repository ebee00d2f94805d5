"""The version has one place, and all that repeat it agree; the release has notes."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

import swin_umamba
from script_modules import ROOT, script

RECIPE = ROOT / "packaging" / "conda-forge" / "recipe.yaml"


def project() -> dict[str, Any]:
    settings = script("oldest_versions").tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return {**settings["project"], "setuptools": settings["tool"]["setuptools"]}


def test_all_places_have_the_version_of_the_package() -> None:
    version = swin_umamba.__version__
    assert project()["dynamic"] == ["version"]
    assert project()["setuptools"]["dynamic"]["version"] == {"attr": "swin_umamba.__version__"}
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))["version"] == version
    assert json.loads((ROOT / ".zenodo.json").read_text(encoding="utf-8"))["version"] == version
    assert yaml.safe_load(RECIPE.read_text(encoding="utf-8"))["context"]["version"] == version
    assert script("release_notes").version_of(ROOT) == version


def test_the_changelog_has_notes_for_the_version() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    date, text = script("release_notes").notes(changelog, swin_umamba.__version__)
    assert date == "unreleased" or re.fullmatch(r"\d{4}-\d{2}-\d{2}", date)
    assert text.index("### Upgrading from") < text.index("### Added")


def test_the_recipe_needs_what_the_package_needs() -> None:
    other_names = {"torch": "pytorch", "SimpleITK": "simpleitk"}
    wanted = {
        " ".join((other_names.get(name, name), bounds))
        for name, bounds in (re.match(r"([\w.-]+)(.*)", each).groups() for each in project()["dependencies"])
    }
    recipe = yaml.safe_load(RECIPE.read_text(encoding="utf-8"))
    assert wanted == set(recipe["requirements"]["run"]) - {"python >=${{ python_min }}"}
    assert project()["requires-python"] == f">={recipe['context']['python_min']}"
    (name,) = project()["scripts"]
    assert recipe["build"]["python"]["entry_points"] == [f"{name} = {project()['scripts'][name]}"]


LOG = (
    "# Changelog\n\n## 2.0.0 - unreleased\n\nNew.\n\n## 1.1.0 - 2026-01-31\n\nOld.\n\n### Added\n\n- This.\n"
)


@pytest.mark.parametrize(
    ("version", "tag", "expected"),
    [
        ("1.1.0", None, "Old.\n\n### Added\n\n- This.\n"),
        ("1.1.0", "v1.1.0", "Old.\n\n### Added\n\n- This.\n"),
        ("2.0.0", None, "New.\n"),
        ("2.0.0", "v2.0.0", "no date for 2.0.0"),
        ("2.0.0", "v2.0.1", "the tag is v2.0.1, and the version of the package 2.0.0"),
        ("2.0", None, "has no section"),
        ("1x1.0", None, "has no section"),
    ],
)
def test_notes(
    version: str, tag: str | None, expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    package = tmp_path / "src" / "swin_umamba"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(f'"""x"""\n\n__version__ = "{version}"\n')
    (tmp_path / "CHANGELOG.md").write_text(LOG)
    answer = script("release_notes").main(["--tag", tag] if tag else [], tmp_path)
    printed = capsys.readouterr().out
    assert printed == expected if answer == 0 else expected in answer
    assert answer == 0 or printed == ""
