"""Tables as CSV, which a spreadsheet opens without calculating anything out of a name."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from swin_umamba.files import write_text

# What a spreadsheet takes for the beginning of a formula, also in the wide letters of East Asian keyboards.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
# Where the decimal point is a comma, spreadsheets split at semicolons; quotes within a cell do not stop them.
_SEPARATORS = ";\t|"


def csv_text(rows: Iterable[Sequence[Any]]) -> str:
    """Return rows as CSV: numbers as they are, NaN and None as empty cells.

    A text that a spreadsheet would calculate, such as ``=cmd|...`` or ``-2+3``, gets an apostrophe before it,
    as OWASP advises against CSV injection, and so does a part of it behind what a spreadsheet may take for
    the end of a cell. JSON files keep names as they are.
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
    if value is None or value != value:
        return ""
    if not isinstance(value, str):
        return value
    # A line break or a half character (of a name that is not UTF-8) is of no use in a cell.
    text = re.sub(r"[\r\n]+", " ", value).encode("utf-8", "replace").decode()
    text = _without_inner_formulas(text)
    shown = "".join(letter for letter in text if letter.isprintable()).strip()
    return f"'{text}" if shown.startswith(_FORMULA) or text.startswith(_FORMULA) else text


def _without_inner_formulas(text: str) -> str:
    """Return a text with an apostrophe before each formula that would begin a cell behind a separator."""
    letters, begins = [], False
    for letter in text:
        if letter in _SEPARATORS:
            begins = True
        elif letter.isprintable() and letter not in "\"' ":
            if begins and letter in _FORMULA:
                letters.append("'")
            begins = False
        letters.append(letter)
    return "".join(letters)
