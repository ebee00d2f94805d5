"""Tables as CSV, which a spreadsheet opens without calculating anything out of a name."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from swin_umamba.files import write_text

# What a spreadsheet takes for the beginning of a formula, also in the wide letters of East Asian keyboards.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


def csv_text(rows: Iterable[Sequence[Any]]) -> str:
    """Return rows as CSV: numbers as they are, NaN and None as empty cells.

    A text that a spreadsheet would calculate, such as ``=cmd|...`` or ``-2+3``, gets an apostrophe before it,
    as OWASP advises against CSV injection. JSON files keep names as they are.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for row in rows:
        writer.writerow([_cell(value) for value in row])
    return text.getvalue()


def write_csv(path: str | Path, rows: Iterable[Sequence[Any]]) -> None:
    """Write rows to a CSV file, atomically; see :func:`csv_text`.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    write_text(path, csv_text(rows))


def _cell(value: object) -> object:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, str) and value.lstrip(" ").startswith(_FORMULA):
        return f"'{value}"
    return value
