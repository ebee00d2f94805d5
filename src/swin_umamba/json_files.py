"""Read and write JSON: one parser with limits, for files, their lines, and text inside other files."""

from __future__ import annotations

import json
import math
import os
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NoReturn, TypeVar

from swin_umamba.errors import DataError, SwinUMambaError
from swin_umamba.files import write_text
from swin_umamba.opening import open_to_read
from swin_umamba.schema import shown

LARGEST_JSON = 64 * 2**20
"""Largest size in bytes. Plans of a data set with thousands of channels are far smaller."""
LARGEST_RESULTS = 256 * 2**20
"""Largest size in bytes of files with a value for each case and class."""
DEEPEST = 100
"""Largest depth of nested lists and objects. Recursive code would fail at about a thousand."""
SCHEMA: Final = 2
"""Version of the schemas of printed JSON and of our files; those of version 0.1 have none."""

_Kind = TypeVar("_Kind")
_NAMES: dict[type, str] = {dict: "object", list: "list"}


class _DamagedLine(DataError):
    """A damaged line, which is left out."""


def read_json(
    path: str | Path,
    kind: type[_Kind],
    *,
    error: type[SwinUMambaError] = DataError,
    hint: str = "write it again",
    largest: int = LARGEST_JSON,
    nan: bool = False,
) -> _Kind:
    """Read a JSON file.

    Parameters
    ----------
    path
        The file: UTF-8, with or without a byte order mark.
    kind
        Expected content: ``dict``, ``list``, or ``object`` for anything.
    error, hint
        Class and hint of the error to raise if that fails.
    largest
        Largest size in bytes.
    nan
        Whether numbers may be NaN or infinite, which is not JSON; nnU-Net writes them.

    Raises
    ------
    SwinUMambaError
        An error of class ``error``: the file is missing, too large, not JSON, of another kind, nested too
        deeply, or has a duplicate key.
    """
    text = read_text(path, error=error, hint=hint, largest=largest)
    return parse_json(text, kind, where=path, error=error, hint=hint, nan=nan)


def read_text(
    path: str | Path,
    *,
    error: type[SwinUMambaError] = DataError,
    hint: str = "write it again",
    largest: int = LARGEST_JSON,
    damaged: str = "strict",
) -> str:
    """Read a text file; the parameters are those of ``read_json``.

    Parameters
    ----------
    path, error, hint, largest
        As for ``read_json``.
    damaged
        Treatment of bytes that are not UTF-8: ``strict`` refuses them, ``replace`` replaces them.
    """
    try:
        with open_to_read(path) as file:
            size = os.fstat(file.fileno()).st_size
            content = file.read(largest + 1)
        if len(content) > largest:
            raise ValueError(f"it has {max(size, len(content)):,} bytes, {largest:,} are the most")
        return content.decode("utf-8-sig", errors=damaged)
    except (OSError, ValueError) as reason:
        raise error(f"the file cannot be read: {_said(reason)}", where=path, hint=hint) from reason


def parse_json(
    text: str | bytes,
    kind: type[_Kind],
    *,
    where: str | Path,
    error: type[SwinUMambaError] = DataError,
    hint: str = "write it again",
    nan: bool = False,
) -> _Kind:
    """Return the content of a JSON text.

    Parameters
    ----------
    text
        Text, whose size the caller has limited.
    where
        Place of the text, for the error.
    kind, error, hint, nan
        As for ``read_json``.

    Raises
    ------
    SwinUMambaError
        An error of class ``error``: the text is not JSON, of another kind, has a duplicate key, or is nested
        too deeply.
    """
    try:
        if isinstance(text, bytes):
            text = text.decode("utf-8-sig")
        content = json.loads(
            text,
            object_pairs_hook=_without_doubles,
            parse_constant=None if nan else _refuse_constant,
            parse_float=None if nan else _finite,
        )
        _check_depth(content)
        if not isinstance(content, kind):
            raise ValueError(f"it holds no JSON {_NAMES[kind]}")
        return content
    except (ValueError, RecursionError) as reason:
        raise error(f"the file cannot be read: {_said(reason)}", where=where, hint=hint) from reason


def read_contract_lines(
    path: str | Path,
    *,
    error: type[SwinUMambaError] = DataError,
    newer: type[SwinUMambaError] | None = None,
    hint: str = "delete it",
    largest: int = LARGEST_RESULTS,
    nan: bool = False,
) -> list[dict[str, Any]]:
    """Read a file with a JSON object on each line; a killed writer may have left an incomplete one.

    The parameters are those of ``read_contract``.

    Returns
    -------
    list of dict
        The objects, without their schema numbers. Damaged lines are left out.

    Raises
    ------
    SwinUMambaError
        An error of class ``error``: the file is missing or far too large. One of class ``newer``: a line was
        written by a newer version, and this one must not drop it.
    """
    text = read_text(path, error=error, hint=hint, largest=largest, damaged="replace")
    return contract_lines(text, where=path, newer=newer or error, nan=nan)


def contract_lines(
    text: str, *, where: str | Path, newer: type[SwinUMambaError] = DataError, nan: bool = False
) -> list[dict[str, Any]]:
    """Return the objects on the lines of a text, read from ``where``; see ``read_contract_lines``."""
    lines = []
    for line in text.split("\n"):
        with suppress(_DamagedLine):
            lines.append(parse_contract(line, where=where, error=_DamagedLine, newer=newer, nan=nan))
    return lines


def write_json(path: str | Path, data: Any) -> None:
    """Write ``data`` as indented JSON, atomically. NaN is not JSON and raises ``ValueError``."""
    write_text(path, json.dumps(data, indent=2, allow_nan=False) + "\n")


def write_contract(name: str, path: str | Path, data: Mapping[str, Any]) -> None:
    """Write a file with a contract; ``name`` is the name of its schema in ``docs/schemas/``."""
    write_text(path, contract_text(name, data, indent=2) + "\n")


def read_contract(
    path: str | Path,
    *,
    error: type[SwinUMambaError] = DataError,
    newer: type[SwinUMambaError] | None = None,
    hint: str = "write it again",
    largest: int = LARGEST_JSON,
    nan: bool = False,
) -> dict[str, Any]:
    """Return the content of a file written by ``write_contract``, without its schema number.

    Parameters
    ----------
    path, error, hint, largest, nan
        As for ``read_json``.
    newer
        Error for a file of a newer version, for callers that replace a damaged one; by default ``error``.

    Raises
    ------
    SwinUMambaError
        An error of class ``error``: as for ``read_json``, or no version writes the number. One of class
        ``newer``: the number is higher than ours, so keys may mean something else.
    """
    text = read_text(path, error=error, hint=hint, largest=largest)
    return parse_contract(text, where=path, error=error, newer=newer, hint=hint, nan=nan)


def parse_contract(
    text: str,
    *,
    where: str | Path,
    error: type[SwinUMambaError] = DataError,
    newer: type[SwinUMambaError] | None = None,
    hint: str = "write it again",
    nan: bool = False,
) -> dict[str, Any]:
    """Return the content of text from ``contract_text``; parameters and errors as for ``read_contract``."""
    content = parse_json(text, dict, where=where, error=error, hint=hint, nan=nan)
    if "schema" not in content:  # version 0.1
        return content
    number = content.pop("schema")
    if type(number) is int and number > SCHEMA:
        raise (newer or error)(
            f"the file was written by a newer version: its schema is {shown(number)}, "
            f"and this version reads up to {SCHEMA}",
            where=where,
            hint="update swin-umamba",
        )
    if type(number) is not int or number != SCHEMA:
        raise error(
            f"the file cannot be read: its schema is {shown(number)}, which no version writes",
            where=where,
            hint=hint,
        )
    return content


def contract_text(name: str, data: Mapping[str, Any], indent: int | None = None) -> str:
    """Return data with a contract as JSON, on one line by default, with their schema number."""
    return json.dumps(_under_contract(name, data), indent=indent, allow_nan=False)


def _under_contract(name: str, data: Mapping[str, Any]) -> dict[str, Any]:
    """Return data with their schema number; in tests, all data passing here are validated."""
    return {"schema": SCHEMA, **data}


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):  # other readers use the first, or the last
        double = next(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
        raise ValueError(f"the key {double[:80]!r} is there twice")
    return content


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number in JSON")


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError(f"the number {digits[:80]} is too large")
    return number


def _check_depth(content: Any) -> None:
    level: list[Any] = [content]
    for _ in range(DEEPEST):
        level = [
            child
            for each in level
            if isinstance(each, dict | list)
            for child in (each.values() if isinstance(each, dict) else each)
            if isinstance(child, dict | list)
        ]
        if not level:
            return
    raise RecursionError


def _said(reason: Exception) -> str:
    if isinstance(reason, json.JSONDecodeError):
        return f"it is not valid JSON: {reason}"
    if isinstance(reason, UnicodeDecodeError):
        return f"it is not UTF-8: {reason.reason} at byte {reason.start}"
    if isinstance(reason, OSError):
        return reason.strerror or str(reason)
    if isinstance(reason, RecursionError):
        return f"it is nested more than {DEEPEST} levels deep"
    return str(reason)
