"""The floors of the house: a room imports only from floors below it, and cheap imports stay cheap."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import swin_umamba

SOURCE = Path(swin_umamba.__file__).parent

FLOOR_OF = {
    "errors": 0,
    "files": 0,
    "interrupt": 0,
    "options": 0,
    "paper": 0,
    "progress": 0,
    "software": 0,
    "torch_settings": 0,
    "trainer_names": 0,
    "ops": 1,
    "modules": 2,
    "confidence": 3,
    "weights": 3,
    "data": 3,
    "models": 4,
    "report": 4,
    "evaluation": 5,
    "pretraining": 5,
    "baselines": 5,
    "nnunet": 6,
    "trained": 7,
    "inference": 8,
    "compare": 9,
    "experiments": 9,
    "napari": 9,
    "serve": 9,
    "summary": 9,
    "cli": 10,
}
MODULES = sorted(path for path in SOURCE.rglob("*.py") if path.parent != SOURCE)


def room_of(dotted: str) -> str | None:
    """Return the room that a dotted module name of the package lies in."""
    parts = dotted.split(".")
    return parts[1] if len(parts) > 1 and parts[0] == "swin_umamba" else None


def imported_modules(path: Path) -> set[str]:
    """Return the dotted names that a file imports, inside functions too."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: relative import"
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_a_room_imports_only_from_floors_below(path: Path) -> None:
    room = path.relative_to(SOURCE).parts[0].removesuffix(".py")
    for name in imported_modules(path):
        target = room_of(name)
        if target in FLOOR_OF and target != room:
            assert FLOOR_OF[target] < FLOOR_OF[room], f"{room} must not import {name}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_no_file_needs_what_a_laptop_lacks(path: Path) -> None:
    roots = {name.split(".")[0] for name in imported_modules(path)}
    # Networks that are MONAI's are built by MONAI; tests/baselines checks that only building them needs it.
    optional = {"monai"} if path.name == "monai_networks.py" else set()
    assert not roots & {"timm", "torchvision", "monai", "causal_conv1d"} - optional


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_only_the_widget_knows_the_viewer(path: Path) -> None:
    roots = {name.split(".")[0] for name in imported_modules(path)}
    if path.relative_to(SOURCE).as_posix() not in ("napari/form.py", "napari/widget.py"):
        assert not roots & {"napari", "qtpy", "magicgui", "superqt"}


def test_safetensors_files_have_one_place() -> None:
    users = [
        path
        for path in MODULES
        if any(each.split(".")[0] == "safetensors" for each in imported_modules(path))
    ]
    assert users == [SOURCE / "weights/safetensors_file.py"]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_only_the_server_knows_the_web(path: Path) -> None:
    roots = {name.split(".")[0] for name in imported_modules(path)}
    if path.relative_to(SOURCE).parts[0] != "serve":
        assert not roots & {"fastapi", "starlette", "uvicorn", "pydantic", "python_multipart"}


def test_importing_the_package_is_cheap() -> None:
    code = "import sys, swin_umamba; print(sorted({'torch', 'numpy', 'nnunetv2'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_public_names_resolve() -> None:
    for name in swin_umamba.__all__:
        assert getattr(swin_umamba, name) is not None
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = swin_umamba.no_such_name
