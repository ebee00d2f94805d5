"""Packages that only some functions need, and that pip installs with an extra."""

from __future__ import annotations

import importlib
from typing import Any

from swin_umamba.errors import UsageError


def extra_module(name: str, need: str, extra: str, *, otherwise: str = "", where: str | None = None) -> Any:
    """Import a module of a package that an extra brings.

    Parameters
    ----------
    name
        Module to import.
    need
        What needs which package, such as "OME-Zarr needs the zarr library".
    extra
        Name of the extra.
    otherwise
        What can be done without it, such as ", or leave these networks out".
    where
        Option that asks for it.

    Raises
    ------
    UsageError
        It cannot be imported.
    """
    try:
        return importlib.import_module(name)
    except (ImportError, OSError) as error:  # OSError: a library that it loads may be missing
        raise UsageError(
            f"{need}, which cannot be imported: {error}",
            where=where,
            hint=f"pip install 'swin-umamba[{extra}]'{otherwise}",
        ) from error
