"""The user's own code, loaded only because the user names it, by file or by module.

No file of a model, weights or data can determine what is loaded here.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType

from swin_umamba.errors import UsageError

VARIABLE = "SWIN_UMAMBA_EXTENSIONS"
"""Absolute paths of files, and installed modules, that every command loads first, separated like the folders
of ``PATH``. It may be set permanently, so its meaning must not depend on the current folder."""


def load_extensions() -> None:
    """Load the files and modules named in ``SWIN_UMAMBA_EXTENSIONS``.

    Raises
    ------
    UsageError
        If something cannot be loaded, or a path is relative.
    """
    for given in os.environ.get(VARIABLE, "").split(os.pathsep):
        name = given.strip()
        if name.endswith(".py") and not Path(name).expanduser().is_absolute():
            raise UsageError(
                f"{name} is a relative path, which would be another file in another folder",
                where=VARIABLE,
                hint=f"give an absolute one, such as {Path.cwd() / name}",
            )
        if name:
            load_module(name, VARIABLE, in_current_folder=False)


def load_class(given: str, where: str) -> type:
    """Return the class with the name ``package.module:Class`` or ``folder/file.py:Class``.

    Parameters
    ----------
    given
        Name, as given by the user.
    where
        Option of the name, for messages.

    Raises
    ------
    UsageError
        If it cannot be loaded or is not a class.
    """
    module_name, _, name = given.rpartition(":")
    module = load_module(module_name, where)
    found = getattr(module, name, None)
    if not isinstance(found, type):
        raise UsageError(
            f"{module_name} has no class {name!r}",
            where=where,
            hint="give package.module:Class or folder/file.py:Class",
        )
    return found


def load_module(given: str, where: str, *, in_current_folder: bool = True) -> ModuleType:
    """Import a module by its name, or by the path of its file, and return it.

    The folder of the file, or the current folder if the module is there, is appended to ``sys.path``, so that
    the module can import its neighbours, even in the processes that load data. It never hides installed
    modules.

    Parameters
    ----------
    given, where
        As for ``load_class``.
    in_current_folder
        Whether to search the current folder for a module that is not installed.

    Raises
    ------
    UsageError
        If there is no such module, its name is taken, or importing it fails.
    """
    name, folder = given, Path.cwd() if in_current_folder else None
    if given.endswith(".py"):
        path = Path(given).expanduser().resolve()
        if not path.is_file():
            raise UsageError("there is no such file", where=path, hint=f"check the path in {where}")
        name, folder = path.stem, path.parent
        _check_free(name, path)
    if not all(part.isidentifier() for part in name.split(".")):
        raise UsageError(
            f"{name!r} cannot be the name of a module",
            where=where,
            hint="use letters, digits and underscores",
        )
    if folder is not None and not _is_found(name) and _holds(folder, name) and str(folder) not in sys.path:
        sys.path.append(str(folder))
        importlib.invalidate_caches()
    try:
        return importlib.import_module(name)
    except Exception as error:  # anything the user's code raises
        raise UsageError(
            f"{given} cannot be imported ({type(error).__name__}: {error})",
            where=where,
            hint="check the name, and that the module can be imported in Python",
        ) from error


def _is_found(name: str) -> bool:
    """Return whether a module, or its package, is loaded or can be found."""
    top = name.partition(".")[0]
    return top in sys.modules or importlib.util.find_spec(top) is not None


def _holds(folder: Path, name: str) -> bool:
    """Return whether a module, or its package, is in a folder."""
    top = name.partition(".")[0]
    return (folder / f"{top}.py").is_file() or (folder / top).is_dir()


def _check_free(name: str, path: Path) -> None:
    """Refuse a file with the name of another module: one of the two would hide the other."""
    loaded = sys.modules.get(name)
    if loaded is not None:
        taken_by = getattr(loaded, "__file__", None) or "Python itself"
    else:
        spec = importlib.util.find_spec(name) if name.isidentifier() else None
        taken_by = None if spec is None else spec.origin or "another package"
    if taken_by is not None and Path(taken_by).resolve() != path:
        raise UsageError(
            f"{path.name} has the name of another module, {taken_by}", where=path, hint="rename the file"
        )
