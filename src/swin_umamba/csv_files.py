"""Tables as CSV in which no name can become a spreadsheet formula."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from swin_umamba.files import atomic_open

# Characters that begin a formula in spreadsheets, including the full-width ones of East Asian keyboards.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
# In locales with a decimal comma, spreadsheets split at semicolons; quotes within a cell do not prevent that.
_SEPARATORS = ";\t|"


def csv_text(rows: Iterable[Sequence[Any]]) -> str:
    """Return rows as CSV, with unchanged numbers, and empty cells for NaN and None.

    Text that a spreadsheet would evaluate, such as ``=cmd|...`` or ``-2+3``, is prefixed with an apostrophe,
    as OWASP recommends against CSV injection. So is any part of it after a character that a spreadsheet may
    treat as the end of a cell. JSON files keep names unchanged.
    """
    return "".join(_lines(rows))


def write_csv(path: str | Path, rows: Iterable[Sequence[Any]]) -> None:
    """Write rows to a CSV file as they come, atomically; see :func:`csv_text`.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    with atomic_open(path) as file:
        for line in _lines(rows):
            file.write(line.encode())


def _lines(rows: Iterable[Sequence[Any]]) -> Iterator[str]:
    line = io.StringIO()
    writer = csv.writer(line, lineterminator="\n")
    for row in rows:
        writer.writerow([_cell(value) for value in row])
        yield line.getvalue()
        line.seek(0)
        line.truncate()


def _cell(value: object) -> object:
    if value is None or value != value:
        return ""
    if not isinstance(value, str):
        return value
    # Line breaks and surrogates (from names that are not UTF-8) are useless in a cell.
    text = re.sub(r"[\r\n]+", " ", value).encode("utf-8", "replace").decode()
    text = _without_inner_formulas(text)
    shown = "".join(letter for letter in text if letter.isprintable()).strip()
    return f"'{text}" if shown.startswith(_FORMULA) or text.startswith(_FORMULA) else text


def _without_inner_formulas(text: str) -> str:
    """Return a text with an apostrophe before each formula that would begin a cell after a separator."""
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
