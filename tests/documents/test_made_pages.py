"""Figures and tables of the documentation are those that the scripts make; variables are all there."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree

import pytest

import swin_umamba
from script_modules import ROOT, script
from swin_umamba.nnunet.training.options import OTHER_VARIABLES
from swin_umamba.report.palette import class_colour

VARIABLE = re.compile(r"\bSWIN_UMAMBA_[A-Z_]+\b")


def test_the_page_of_benchmarks_is_what_the_results_say() -> None:
    benchmarks = script("benchmarks_page")
    assert benchmarks.PAGE.read_text(encoding="utf-8") == benchmarks.page(), (
        "docs/benchmarks.md is stale: python scripts/benchmarks_page.py"
    )


def test_times_of_the_scan_become_ratios() -> None:
    size = {"mode": "forward", "d_inner": 4, "height": 2, "width": 3, "d_state": 1}
    timings = [
        {**size, "implementation": "native", "seconds": 0.002},
        {**size, "implementation": "reference", "seconds": 0.5},
    ]
    assert list(script("benchmarks_page").scan_tables(timings))[3] == "| 4 | 2 x 3 | 1 | 2.0 ms | 250.0 x |"


@pytest.mark.parametrize("name", ["scan.svg", "networks.svg"])
def test_figures_are_what_the_script_draws(name: str) -> None:
    figures = script("draw_figures")
    drawn = figures.FIGURES[name]()
    ElementTree.fromstring(drawn)
    stored = (figures.FOLDER / name).read_text(encoding="utf-8")
    assert stored == drawn, f"docs/figures/{name} is stale: python scripts/draw_figures.py"


def test_the_first_direction_is_drawn_row_by_row_in_a_colour_of_the_palette() -> None:
    figures = script("draw_figures")
    lines = ElementTree.fromstring(figures.scan()).findall("{*}polyline")
    assert len(lines) == 4
    assert lines[0].get("stroke") == "#{:02x}{:02x}{:02x}".format(*class_colour(1))
    paths = [
        [tuple(map(float, point.split(","))) for point in line.get("points", "").split()] for line in lines
    ]
    left, top = paths[0][0]
    expected = [(left + 32 * column, top + 32 * row) for row in range(5) for column in range(5)]
    assert paths[0] == expected
    # Of the others, the first and the last step say which way they go.
    steps = [(b[0] - a[0], b[1] - a[1]) for a, b in (path[:2] for path in paths)]
    assert steps == [(32, 0), (0, 32), (-32, 0), (0, -32)]


def test_the_page_names_every_variable() -> None:
    page = (ROOT / "docs" / "environment.md").read_text(encoding="utf-8")
    listed = set(VARIABLE.findall(page))
    assert {f"SWIN_UMAMBA_{name}" for name in OTHER_VARIABLES} <= listed
    source = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "src").rglob("*.py"))
    assert listed - {"SWIN_UMAMBA_NAME", "SWIN_UMAMBA_EPOCHS"} <= set(VARIABLE.findall(source))
    assert "SWIN_UMAMBA_PSEUDONYM_KEY" in listed


def test_the_page_of_the_api_has_every_name_that_the_package_exports() -> None:
    page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    shown = {name.rpartition(".")[2] for name in re.findall(r"^::: (\S+)$", page, re.MULTILINE)}
    assert set(swin_umamba.__all__) - {"__version__"} <= shown
