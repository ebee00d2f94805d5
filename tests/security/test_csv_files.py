"""CSV that a spreadsheet opens: nothing in a name is calculated, and numbers stay numbers."""

from __future__ import annotations

import csv
import io
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from swin_umamba.csv_files import csv_text, write_csv


def read(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text, newline="")))


@pytest.mark.parametrize(
    "name",
    [
        '=cmd|"/c calc"!A1',
        "+1",
        "-2+3",
        "@SUM(A1:A9)",
        "\u00a0=1",
        "\ufeff=1",
        "\u200b=1",
        "  =1",
        "＝1",
        "＋1",
        "－1",
        "＠x",
        '=HYPERLINK("http://evil.example","liver")',
        "-",
    ],
)
def test_a_text_is_never_a_formula(name: str) -> None:
    assert read(csv_text([["case", name]])) == [["case", f"'{name}"]]


@pytest.mark.parametrize("name", ["liver", "a-b", "a=b", "1e5", "", "'quoted'", 'two "words"', "a,b", "肝"])
def test_other_texts_stay(name: str) -> None:
    assert read(csv_text([["case", name]])) == [["case", name]]


def test_a_formula_behind_a_tab_or_semicolon() -> None:
    assert csv_text([["\t=1", "a;=1", "a; -1", 'a;"=1', "a|@b", "a;b-c"]]) == (
        "'\t'=1,a;'=1,a; '-1,\"a;\"\"'=1\",a|'@b,a;b-c\n"
    )


def test_line_breaks_and_half_characters() -> None:
    assert csv_text([["a\r=1", "\n=1", "a\r\nb", "a\udc80"]]) == "a =1,' =1,a b,a?\n"


def test_numbers_stay_numbers() -> None:
    text = csv_text([["a", "b", "c", "d", "e"], [-1, -0.5, np.float32("nan"), None, math.inf]])
    assert text == "a,b,c,d,e\n-1,-0.5,,,inf\n"


def test_the_file(tmp_path: Path) -> None:
    write_csv(tmp_path / "table.csv", [["=1"], [0.1 + 0.2]])
    assert (tmp_path / "table.csv").read_bytes() == b"'=1\n0.30000000000000004\n"


@given(st.lists(st.text("ab=+-@＝;\t|,\" '\n\u200b", max_size=8), min_size=1, max_size=4))
def test_no_cell_is_a_formula_whatever_splits_the_cells(names: list[str]) -> None:
    written = csv_text([[*names, 0.5]])
    for separator in ",;\t|":
        for row in csv.reader(io.StringIO(written), delimiter=separator):
            for cell in row:
                letters = "".join(letter for letter in cell if letter.isprintable()).strip()
                assert not letters.startswith(("=", "+", "-", "@", "＝")), (separator, written)
