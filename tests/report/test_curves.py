"""Charts: places of points, ticks, text, and names that are only text."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from swin_umamba.report.curves import MAX_POINTS, Line, line_chart
from swin_umamba.report.distributions import MAX_DOTS, MAX_GROUPS, Group, distribution_chart
from swin_umamba.report.layers import data_uri, fill_path, outline_path, runs
from swin_umamba.report.svg import (
    BOTTOM,
    HEIGHT,
    LEFT,
    PART,
    POSITIVE,
    RIGHT,
    TOP,
    WIDTH,
    Scale,
    tick_step,
    tick_texts,
)


def points(chart: str) -> list[tuple[float, float]]:
    """Return the corners of the first curve."""
    path = re.findall(r'class="curve"[^>]* d="([^"]*)"', chart)[0]
    return [(float(x), float(y)) for x, y in re.findall(r"[ML]([\d.]+) ([\d.]+)", path)]


def test_ticks_are_round_and_hold_all_values() -> None:
    assert tick_step(1.0) == pytest.approx(0.2)
    scale = Scale.around([0.13, 0.92], 100, 0)
    assert scale.ticks() == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1.0])
    assert (scale(0), scale(1)) == (100, 0)
    for same in ([0.0], [5.0, 5.0], [-1e-30]):
        scale = Scale.around(same, 100, 0)
        assert 0 <= scale(same[0]) <= 100


def test_ticks_of_close_values_differ() -> None:
    for values in ([1e-4, 9.99990e-5], [0.9994, 0.9999], [1.0005, 1.0012], [0.9999, 1.0]):
        ticks = Scale.around(values, 100, 0).ticks()
        texts = tick_texts(ticks)
        assert len(set(texts)) == len(ticks) > 1
        assert [float(each) for each in texts] == pytest.approx(ticks, rel=1e-5)
    assert Scale.around([1e-4, 9.99990e-5], 100, 0).low == pytest.approx(9.99e-5)
    chart = line_chart("Learning rate", [Line("rate", (1e-4, 9.99998e-5, 9.99990e-5))])
    assert chart.count(">0.0001<") == 1


def test_a_curve_goes_from_corner_to_corner() -> None:
    chart = line_chart("Loss", [Line("training", (0.0, 0.5, 1.0))])
    middle = (LEFT + WIDTH - RIGHT) / 2
    assert points(chart) == [
        (LEFT, HEIGHT - BOTTOM),
        (middle, (TOP + HEIGHT - BOTTOM) / 2),
        (WIDTH - RIGHT, TOP),
    ]
    assert "training: 3 epochs, from 0 to 1" in chart


def test_gaps_and_long_curves() -> None:
    chart = line_chart("a", [Line("b", (1.0, 2.0, math.nan, 3.0))])
    assert re.findall(r'class="curve"[^>]* d="([^"]*)"', chart)[0].count("M") == 2
    assert len(points(line_chart("a", [Line("b", np.arange(5000.0).tolist())]))) <= MAX_POINTS + 1
    assert "no numbers" in line_chart("a", [Line("b", (math.nan,))])


def test_box_and_dots() -> None:
    chart = distribution_chart(
        "Dice", [Group("liver", (0.0, 0.25, 0.5, 0.75, 1.0)), Group("none", (math.nan,))]
    )
    box = re.findall(r'class="box" x="[\d.]+" y="([\d.]+)" width="[\d.]+" height="([\d.]+)"', chart)
    height = HEIGHT - BOTTOM - TOP
    assert [tuple(map(float, each)) for each in box] == [(TOP + height / 4, height / 2)]
    assert chart.count('class="dot"') == 5
    assert "liver: 5 cases, median 0.5, lowest 0, highest 1. none: no numbers." in chart
    many = distribution_chart("Dice", [Group("a", np.linspace(0, 1, 1000).tolist())])
    assert many.count('class="dot"') <= MAX_DOTS


@pytest.mark.parametrize("name", ["<b>", '"><script>', "a & b", "</svg>"])
def test_charts_are_well_formed_whatever_the_names(name: str) -> None:
    for chart in (
        line_chart(name, [Line(name, (1.0, 2.0))]),
        distribution_chart(name, [Group(name, (1.0,))]),
    ):
        root = ElementTree.fromstring(chart)
        assert not root.findall(".//script")
        assert root.attrib["aria-label"].startswith(name)


def test_paths_follow_the_pixels() -> None:
    mask = np.array([[0, 1, 1], [0, 0, 1]], bool)
    assert runs(mask) == [(0, 1, 2), (1, 2, 1)]
    assert fill_path(mask) == "M1 0h2v1h-2zM2 1h1v1h-1z"
    assert sorted(outline_path(mask).split("M")[1:]) == sorted(
        ["1 0h2", "1 1h1", "2 2h1", "1 0v1", "2 1v1", "3 0v2"]
    )
    assert fill_path(np.zeros((2, 2), bool)) == outline_path(np.zeros((2, 2), bool)) == ""


def test_pictures_are_inside_the_page() -> None:
    assert data_uri(np.zeros((4, 5, 3), np.uint8)).startswith("data:image/webp;base64,UklGR")


def test_classes_without_number_do_not_make_a_chart_without_end() -> None:
    groups = [Group(f"class {number}", (0.5,)) for number in range(1000)]
    chart = distribution_chart("Dice", groups)
    assert chart.count('class="box"') == MAX_GROUPS
    assert f"Dice, first {MAX_GROUPS} of 1000 classes" in chart
    assert "first" not in distribution_chart("Dice", groups[:MAX_GROUPS])


@pytest.mark.parametrize(
    ("values", "bounds", "ends"),
    [
        ([0.55, 0.97], PART, (0.5, 1.0)),
        ([0.9, 1.0], PART, (0.9, 1.0)),
        ([1.0, 1.0], PART, (0.4, 1.0)),
        ([0.0, 0.0], PART, (0.0, 1.0)),
        ([0.0, 0.0], POSITIVE, (0.0, 1.0)),
        ([0.5, 1.2], PART, (0.4, 1.2)),  # a value that cannot be is shown all the same
    ],
)
def test_an_axis_ends_where_the_quantity_does(
    values: list[float], bounds: tuple[float, float], ends: tuple[float, float]
) -> None:
    scale = Scale.around(values, 0, 100, bounds)
    assert (scale.low, scale.high) == pytest.approx(ends)
