from __future__ import annotations

import math
import re

from swin_umamba.report.confidence import quality_chart, reliability_chart
from swin_umamba.report.contents import ReliabilityCurve
from swin_umamba.report.svg import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH


def dots(chart: str, low: float = 0.0) -> list[tuple[float, float]]:
    """Return the dots of a chart in its own units, from ``low`` to 1."""
    found = re.findall(r'<circle class="dot" cx="([\d.]+)" cy="([\d.]+)"', chart)
    width, height = WIDTH - RIGHT - LEFT, HEIGHT - BOTTOM - TOP
    parts = [((float(x) - LEFT) / width, (HEIGHT - BOTTOM - float(y)) / height) for x, y in found]
    return [(round(low + (1 - low) * x, 2), round(low + (1 - low) * y, 2)) for x, y in parts]


def test_reliability_is_drawn_where_it_is() -> None:
    before = ReliabilityCurve((0.5, 0.9), (0.25, 0.5), (10, 30), 0.3625)
    chart = reliability_chart("All", {"before": before, "<after>": ReliabilityCurve((), (), (), math.nan)})
    assert dots(chart) == [(0.5, 0.25), (0.9, 0.5)]
    assert "before: calibration error 0.3625." in chart
    assert "&lt;after&gt;: calibration error nan." in chart
    assert "<after>" not in chart


def test_quality_is_drawn_where_it_is() -> None:
    chart = quality_chart("Quality", {"a": (0.9, 0.6), "<b>": (0.5, 0.4)}, true_name="true NSD")
    assert dots(chart, low=0.4) == [(0.9, 0.6), (0.5, 0.4)]
    assert "<title>&lt;b&gt;</title>" in chart
    assert "2 cases; the estimate is on average 0.2 too high." in chart
    assert "true NSD" in chart


def test_an_estimate_that_is_too_low_is_said_to_be() -> None:
    assert "on average 0.1 too low" in quality_chart("Quality", {"a": (0.5, 0.6)})


def test_many_cases_are_thinned() -> None:
    chart = quality_chart("Quality", {str(n): (n / 2000, 0.5) for n in range(2000)})
    assert 400 <= len(dots(chart)) <= 500
    assert "2000 cases" in chart
