from __future__ import annotations

import ast
from pathlib import Path

import npe2
import pytest

import swin_umamba

SOURCE = Path(swin_umamba.__file__).parent
MANIFEST = SOURCE / "napari" / "napari.yaml"
PYPROJECT = SOURCE.parents[1] / "pyproject.toml"


def test_the_manifest_is_valid_and_its_commands_exist() -> None:
    manifest = npe2.PluginManifest.from_file(MANIFEST)
    assert manifest.name == "swin-umamba"
    commands = manifest.contributions.commands or []
    found = manifest.contributions
    used = [*(found.widgets or []), *(found.readers or []), *(found.writers or [])]
    assert {each.command for each in used} == {command.id for command in commands} != set()
    for command in commands:
        module, attribute = str(command.python_name).split(":")
        file = SOURCE.parent.joinpath(*module.split(".")).with_suffix(".py")
        defined = {
            node.name
            for node in ast.parse(file.read_text(encoding="utf-8")).body
            if isinstance(node, (ast.ClassDef, ast.FunctionDef))
        }
        assert attribute in defined


def test_the_distribution_names_and_ships_the_manifest() -> None:
    tomllib = pytest.importorskip("tomllib")
    settings = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))
    entry_points = settings["project"]["entry-points"]["napari.manifest"]
    assert entry_points == {"swin-umamba": "swin_umamba.napari:napari.yaml"}
    shipped = settings["tool"]["setuptools"]["package-data"]["swin_umamba"]
    assert MANIFEST.relative_to(SOURCE).as_posix() in shipped
