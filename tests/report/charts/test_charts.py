"""Charts below the scores: the package's, and those of the user's own."""

from __future__ import annotations

import pytest

from swin_umamba import register_chart
from swin_umamba.report import charts
from swin_umamba.report.charts import draw_charts
from swin_umamba.report.contents import Report
from swin_umamba.report.curves import Line, line_chart
from swin_umamba.report.html import report_html


def test_a_chart_of_the_users_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(charts, "_OWN", {})
    report = Report("A title", {}, classes={"liver": 1})
    assert draw_charts(report) == []

    @register_chart
    def draw_my_own(shown: Report) -> list[str]:
        return [line_chart(f"Own chart of {len(shown.classes)} class", [Line("x", [0.0, 1.0])])]

    page = report_html(report)
    assert page.count("Own chart of 1 class") == 2  # the title, and the text for screen readers
    assert '<div class="charts"><div><svg' in page
    register_chart(draw_my_own)  # again, as when its file is loaded a second time
    assert len(draw_charts(report)) == 1
