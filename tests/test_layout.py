"""The rules of the house: who may import whom, how long files and functions are, whose names are whose."""

from __future__ import annotations

import ast
import io
import tokenize
from collections import defaultdict
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import swin_umamba

SOURCE = Path(swin_umamba.__file__).parent

DOORS = ("__init__", "__main__")
"""Files of the top folder that stand before all rooms."""
FLOOR_OF = {
    "child": 0,
    "compiled_code": 0,
    "csv_files": 0,
    "errors": 0,
    "extensions": 0,
    "extras": 0,
    "files": 0,
    "fingerprint": 0,
    "interrupt": 0,
    "json_files": 0,
    "lock": 0,
    "log": 0,
    "metric_table": 0,
    "memory": 0,
    "opening": 0,
    "options": 0,
    "paper": 0,
    "progress": 0,
    "pseudonyms": 0,
    "schema": 0,
    "software": 0,
    "syncing": 0,
    "temporary_files": 0,
    "torch_settings": 0,
    "heap": 0,
    "trainer_names": 0,
    "ops": 1,
    "distributed": 2,
    "modules": 2,
    "confidence": 3,
    "weights": 3,
    "data": 3,
    "models": 4,
    "regions": 4,
    "report": 4,
    "tiling": 4,
    "evaluation": 5,
    "instances": 5,
    "pretraining": 5,
    "baselines": 5,
    "exchange": 5,
    "nnunet": 6,
    "trained": 7,
    "inference": 8,
    "compare": 9,
    "experiments": 9,
    "napari": 9,
    "serve": 9,
    "summary": 9,
    "cli": 10,
    "contracts": 10,
}
FILES = sorted(SOURCE.rglob("*.py"))
LARGEST_FILE = 350
LARGEST_FUNCTION = 60
# Class names that two files share, and why they may.
SHARED_NAMES = {
    "SwinUMamba": "models/hub.py: the same network with the methods of the Hub, imported instead of it",
    "SwinUMambaD": "models/hub.py: the same network with the methods of the Hub, imported instead of it",
    "SwinUMambaDD": "models/hub.py: the same network with the methods of the Hub, imported instead of it",
}
NOT_CODE = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
}


def place(path: Path) -> str:
    """Return the path of a file within the package."""
    return path.relative_to(SOURCE).as_posix()


def home_of(path: Path) -> str:
    """Return the room of a file; a file of the top folder is a room by itself."""
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def room_of(dotted: str) -> str | None:
    """Return the room that a dotted module name of the package lies in."""
    parts = dotted.split(".")
    return parts[1] if len(parts) > 1 and parts[0] == "swin_umamba" else None


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def imported_modules(path: Path) -> frozenset[str]:
    """Return the dotted names that a file imports, inside functions too."""
    names: set[str] = set()
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{place(path)}: relative import"
            assert node.module is not None
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return frozenset(names)


def importers_of(packages: set[str], *, but: tuple[str, ...] = ()) -> list[str]:
    """Return the files that import one of some packages, but for those whose place begins with ``but``."""
    return [
        place(path)
        for path in FILES
        if not place(path).startswith(but)
        and packages & {name.partition(".")[0] for name in imported_modules(path)}
    ]


@cache
def code_lines(path: Path) -> set[int]:
    """Return the numbers of the lines that hold more than a comment."""
    numbers: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(path.read_text(encoding="utf-8")).readline):
        if token.type not in NOT_CODE:
            numbers.update(range(token.start[0], token.end[0] + 1))
    return numbers


def refuse(violations: list[str]) -> None:
    """Fail and name every violation, not only the first."""
    assert not violations, "\n".join(["", *violations])


def test_each_room_has_a_floor() -> None:
    assert {home_of(path) for path in FILES} - set(DOORS) == set(FLOOR_OF)


def test_a_room_imports_only_from_floors_below() -> None:
    refuse(
        [
            f"{place(path)} must not import {name}"
            for path in FILES
            for name in sorted(imported_modules(path))
            if (home := home_of(path)) in FLOOR_OF
            and (target := room_of(name)) in FLOOR_OF
            and target != home
            and FLOOR_OF[target] >= FLOOR_OF[home] > 0
        ]
    )


def test_the_top_folder_needs_nothing_but_itself() -> None:
    top = {home_of(path): path for path in FILES if path.parent == SOURCE and path.stem not in DOORS}
    rooms = {
        name: {room_of(each) for each in imported_modules(path)} & set(FLOOR_OF) for name, path in top.items()
    }
    refuse(
        [f"{name}.py must not import {used - set(top)}" for name, used in rooms.items() if used - set(top)]
    )
    assert len(list(TopologicalSorter(rooms).static_order())) == len(top)  # it raises where there is a circle
    refuse([name for name in importers_of({"torch", "numpy", "nnunetv2"}) if "/" not in name])


def test_no_file_needs_what_a_laptop_lacks() -> None:
    # Networks that are MONAI's are built by MONAI; tests/baselines checks that only building them needs it.
    users = [place(path) for path in FILES if '"monai.' in path.read_text(encoding="utf-8")]
    assert users == ["baselines/monai_networks.py"]
    refuse(importers_of({"monai", "timm", "torchvision", "causal_conv1d"}))


def test_only_the_widget_knows_the_viewer() -> None:
    widget = ("napari/form.py", "napari/widget.py")
    refuse(importers_of({"napari", "qtpy", "magicgui", "superqt"}, but=widget))


def test_safetensors_files_have_one_place() -> None:
    assert importers_of({"safetensors"}) == ["weights/safetensors_file.py"]


def test_json_is_parsed_in_one_place() -> None:
    """Whatever reads JSON gets its limits from there, and so do names of the module that are renamed."""
    parsers = {"load", "loads", "JSONDecoder", "decoder", "scanner"}
    found = set()
    for path in FILES:
        modules: set[str] = set()
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.Import):
                modules |= {each.asname or each.name for each in node.names if each.name == "json"}
            elif isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "json":
                found |= {place(path) for each in node.names if each.name in {*parsers, "*"}}
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                found |= {place(path)} if node.value.id in modules and node.attr in parsers else set()
    assert found == {"json_files.py"}
    refuse(importers_of({"orjson", "simplejson", "ujson", "rapidjson", "msgspec"}))


def test_only_the_server_knows_the_web() -> None:
    web = {"fastapi", "starlette", "uvicorn", "pydantic", "python_multipart"}
    refuse(importers_of(web, but=("serve/",)))


def test_files_fit_in_the_head() -> None:
    lengths = {place(path): len(path.read_text(encoding="utf-8").splitlines()) for path in FILES}
    refuse([f"{name} has {length} lines" for name, length in lengths.items() if length > LARGEST_FILE])


def test_functions_fit_in_the_head() -> None:
    too_long = []
    for path in FILES:
        for node in ast.walk(tree_of(path)):
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            if (node.end_lineno or 0) - node.lineno < LARGEST_FUNCTION:
                continue
            numbers = code_lines(path)
            body = node.body[1:] if ast.get_docstring(node, clean=False) is not None else node.body
            lines = {number for each in body for number in range(each.lineno, (each.end_lineno or 0) + 1)}
            if len(lines & numbers) > LARGEST_FUNCTION:
                too_long.append(f"{place(path)}: {node.name} has {len(lines & numbers)} lines of code")
    refuse(too_long)


def test_no_two_public_classes_share_a_name() -> None:
    homes = defaultdict(list)
    for path in FILES:
        for node in tree_of(path).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                homes[node.name].append(place(path))
    shared = {name: paths for name, paths in homes.items() if len(paths) > 1}
    refuse([f"{name} is in {paths}" for name, paths in shared.items() if name not in SHARED_NAMES])
    refuse([f"{name} is an exception that nothing needs" for name in SHARED_NAMES if name not in shared])


def test_public_names_resolve() -> None:
    for name in swin_umamba.__all__:
        assert getattr(swin_umamba, name) is not None
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = swin_umamba.no_such_name
