"""The page: values, texts for those who cannot see, nothing from outside, nothing that names can do."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
import subprocess
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as PillowImage

from report.report_contents import HOSTILE, make_object_report, make_report
from swin_umamba.report.contents import Report
from swin_umamba.report.html import report_html
from swin_umamba.report.palette import uncertainty_colours

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
VOID = {"meta", "input", "br", "hr", "img", "link"}


class Page(HTMLParser):
    """Elements, texts and whether every element is closed by its own end."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.stack: list[str] = []
        self.texts: list[tuple[str, str]] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.stack.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.stack.pop() == tag

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.texts.append((self.stack[-1] if self.stack else "", data.strip()))

    def all(self, tag: str, **wanted: str) -> list[dict[str, str | None]]:
        """Return the attributes of the elements with these attributes."""
        named = {key.removesuffix("_").replace("_", "-"): value for key, value in wanted.items()}
        return [a for t, a in self.elements if t == tag and named.items() <= a.items()]


@pytest.fixture(scope="module")
def html() -> str:
    return report_html(make_report())


@pytest.fixture(scope="module")
def page(html: str) -> Page:
    return Page(html)


def test_every_element_is_closed_and_headings_are_in_order(page: Page) -> None:
    assert page.stack == []
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))


def test_values_are_there(page: Page) -> None:
    texts = [text for _, text in page.texts]
    for value in ("0.6250", "0.5000 to 0.7500", "1.0000", "75.0%", "25.0%", "7", "A note.", "2 of 20 slices"):
        assert value in texts
    assert "slice 9" in texts  # has more labels than slice 4
    (slider,) = page.all("input", type="range")
    assert (slider["min"], slider["max"], slider["value"]) == ("0", "1", "1")
    shown = [a["data-place"] for a in page.all("g", class_="slice") if "hidden" not in a]
    assert shown == ["1", "1", "1", "1", "0"]


def test_one_colour_for_a_class_everywhere(html: str, page: Page) -> None:
    for value, colour in (("1", "#e69f00"), ("3", "#009e73")):
        assert page.all("path", class_="fill", fill=colour)
        assert page.all("path", class_="curve", stroke=colour)
        assert page.all("rect", class_="box", fill=colour)
        assert page.all("input", class_="class-toggle controls", data_value=value)
    assert html.count("background: #e69f00") == 2


def test_pictures_have_texts_and_controls_have_labels(page: Page) -> None:
    pictures = page.all("svg", role="img")
    assert all(picture["aria-label"] for picture in pictures)
    texts = [str(picture["aria-label"]) for picture in pictures]
    assert "Errors of case a: 4 of 96 pixels shown differ from the truth" in texts
    assert any(text.startswith("Loss. training: 3 epochs, from 1 to 0.25") for text in texts)
    assert any("liver: 2 cases, median 0.625" in text for text in texts)
    targets = {label.get("for") for label in page.all("label")}
    assert all(slider["id"] in targets for slider in page.all("input", type="range"))
    assert all(each["aria-label"] for each in page.all("button", class_="zoom"))


def test_the_least_sure_cases_come_first(page: Page) -> None:
    texts = [text for _, text in page.texts]
    assert "Predicted: 2 cases in 2.0 s; fastest 0.50 s, slowest 1.50 s." in texts
    assert any("of 2 cases the lowest" in text for text in texts)
    low = texts.index("0.2500")
    assert texts[low - 1] == HOSTILE
    assert texts[low : low + 5] == ["0.2500", "-", "a", "0.8000", "0.1250"]
    charts = [str(a["aria-label"]) for a in page.all("svg", role="img")]
    assert "Estimated Dice and Dice. 1 cases; the estimate is on average 0.3 too high." in charts


def test_calibration(page: Page) -> None:
    texts = [text for _, text in page.texts]
    assert any("divided by the temperature 1.7500" in text for text in texts)
    assert any("to the power of 1.5000" in text for text in texts)
    row = texts.index("all pixels")
    assert texts[row : row + 3] == ["all pixels", "0.3625", "0.0500"]
    assert texts[row + 3 : row + 6] == ["where structures have a probability of 1 % or more", "0.3625", "-"]
    charts = [str(a["aria-label"]) for a in page.all("svg", role="img")]
    assert any(chart.startswith("Reliability where structures have a") for chart in charts)
    assert any("before: calibration error 0.3625." in chart for chart in charts)


def test_uncertainty_is_a_layer_over_the_picture(page: Page) -> None:
    labels = [str(a["aria-label"]) for a in page.all("svg", role="img")]
    assert "Uncertainty of case a: 0.500 on average, from 0 for certain to 1" in labels
    uris = [str(a["href"]) for a in page.all("image")]
    assert len(uris) == 5  # two slices with one layer each, and the flat image
    decoded = PillowImage.open(io.BytesIO(base64.b64decode(uris[2].partition(",")[2])))
    assert np.array_equal(np.asarray(decoded)[0, 0], uncertainty_colours(np.array(0.25)))


def test_names_are_only_text(html: str, page: Page) -> None:
    assert len(page.all("script")) == 1
    assert html.count("<script>") == 1
    assert sum(HOSTILE in text for tag, text in page.texts if tag != "script") >= 6
    assert not [name for _, a in page.elements for name in a if name.startswith("on")]
    policy = page.all("meta", http_equiv="Content-Security-Policy")[0]["content"]
    assert policy is not None
    assert "default-src 'none'" in policy
    assert re.search(r"script-src 'sha256-[A-Za-z0-9+/]{43}='", policy)


def test_nothing_comes_from_outside(html: str, page: Page) -> None:
    assert not re.search(r"https?://", html)
    links = [a[name] for _, a in page.elements for name in ("href", "src") if name in a]
    assert links
    assert all(str(link).startswith(("#", "data:image/webp;base64,")) for link in links)
    assert "@import" not in html


def test_long_outlines_cost_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("swin_umamba.report.viewer.MAX_PATH_CHARACTERS", 300)
    page = Page(report_html(make_report()))
    assert not page.all("input", type="range")
    assert any("2 of 20 slices; as outlines are long, 1 of 2 shown" in text for _, text in page.texts)


def test_a_case_without_label_maps_shows_its_image() -> None:
    case = make_report().cases[1]
    bare = replace(case, slices=(replace(case.slices[0], prediction=None),))
    page = Page(report_html(Report(title="Bare", cases=(bare,))))
    assert ("figcaption", "Image") in page.texts
    assert len(page.all("image")) == 1


def test_half_characters_can_be_written() -> None:
    html = report_html(Report(title="of a name that is not UTF-8: \udcff"))
    assert "<title>of a name that is not UTF-8: \N{REPLACEMENT CHARACTER}" in html
    assert html.encode().decode() == html


def test_an_empty_report_names_what_it_lacks() -> None:
    page = Page(report_html(Report(title="Nothing", missing=("everything",))))
    assert ("li", "everything") in page.texts
    assert not page.all("svg")


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
def test_zoomed_pictures_stay_inside(html: str) -> None:
    script = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)[0]
    script += (
        "console.log(JSON.stringify([zoomedBox([0, 0, 80, 40], 2, 0.5, 0.5, 80, 40),"
        "zoomedBox([20, 10, 40, 20], 0, 0.5, 0.5, 80, 40), zoomedBox([0, 0, 5, 2.5], 9, 0, 0, 80, 40),"
        "movedBox([20, 10, 40, 20], 1, -1, 80, 40), nextTheme('dark')]))"
    )
    done = subprocess.run(["node", "-e", script], capture_output=True, encoding="utf-8", check=True)
    expected = [[20, 10, 40, 20], [0, 0, 80, 40], [0, 0, 5, 2.5], [40, 0, 40, 20], "system"]
    assert json.loads(done.stdout) == expected


def test_objects() -> None:
    report = make_object_report()
    page = Page(report_html(report))
    assert page.stack == []
    titles = [text for tag, text in page.texts if tag == "figcaption"]
    assert titles[:3] == ["True objects", "Objects", "Errors of objects:"]
    assert titles[3:] == ["5 missed,", "0 false,", "0 split,", "1 merged"]
    assert len(page.all("image")) == 4
    pictures = [str(a["aria-label"]) for a in page.all("svg", class_="picture")]
    assert pictures[1:] == [
        "Objects of case cells, one colour an object",
        "Errors of objects of case cells: 5 missed, 0 false, 0 split, 1 merged",
    ]
    texts = [text for _, text in page.texts]
    first = texts.index("all cases")
    counts = ["3", "1,003", "5", "1"]
    assert texts[first - 5 : first + 5] == [HOSTILE, *counts, "all cases", *counts]
    assert any("The first 3 of 2002 objects" in text for text in texts)
    (table,) = page.all("table", id="object-table")
    assert (table["data-size"], table["data-unit"]) == ("3", "µm²")
    assert texts.count(HOSTILE) == 3
    charts = [str(a["aria-label"]) for a in page.all("svg", class_="chart")]
    assert charts[0].startswith("Area of 2,002 objects, the last bar with all larger ones. median 1000,")
    counted = replace(report, scores=None)
    texts = [text for _, text in Page(report_html(counted)).texts]
    first = texts.index("all cases")
    assert texts[first - 4 : first + 2] == ["cells", "2", HOSTILE, "2,000", "all cases", "2,002"]


@pytest.mark.parametrize(("sizes", "bars"), [([7.0], 1), ([3.0] * 4 + [9.0], 2), ([], 0)])
def test_histograms_of_few_objects(sizes: list[float], bars: int) -> None:
    objects = replace(make_object_report().objects, sizes=np.array(sizes), rows=())
    page = Page(report_html(Report("Few", objects=objects)))
    assert len(page.all("rect", class_="box")) == bars
    assert page.stack == []


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
def test_order_of_cells(html: str) -> None:
    script = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)[0]
    script += (
        "console.log(JSON.stringify(['', 'b', '10', '9', 'B', '-1', '', '1e3', '0'].sort(compareCells)))"
    )
    done = subprocess.run(["node", "-e", script], capture_output=True, encoding="utf-8", check=True)
    assert json.loads(done.stdout) == ["-1", "0", "9", "10", "1e3", "B", "b", "", ""]


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")
def test_a_table_in_a_browser(tmp_path: Path) -> None:
    probe = """
    const texts = () => Array.from(document.querySelectorAll("#object-table tbody tr:not([hidden])"),
      (row) => row.cells[3].textContent);
    const output = document.getElementById("object-chosen"), seen = [texts()];
    const area = document.querySelectorAll(".sort")[3];
    area.click(); seen.push(texts());
    area.click(); seen.push(texts(), area.parentNode.getAttribute("aria-sort"));
    const search = document.getElementById("object-search");
    search.value = "CELLS"; search.dispatchEvent(new Event("input")); seen.push(texts());
    document.querySelectorAll("#object-table tbody tr:not([hidden])").forEach((row) => row.cells[1].click());
    document.title = JSON.stringify([...seen, output.textContent]);
    """
    title = in_chromium(report_html(make_object_report()), probe, tmp_path)
    assert title == [
        ["8.5", "30", ""],
        ["8.5", "30", ""],
        ["", "30", "8.5"],
        "descending",
        ["30", "8.5"],
        "2 of 3 rows; 2 chosen, on average 19.25 µm²",
    ]


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")
def test_in_a_browser(html: str, tmp_path: Path) -> None:
    probe = """
    const picture = document.querySelector(".picture"), slider = document.querySelector(".slider");
    slider.value = "0"; slider.dispatchEvent(new Event("input"));
    document.querySelector(".class-toggle").click();
    document.querySelector(".zoom").click();
    document.getElementById("theme").click(); document.getElementById("theme").click();
    document.title = JSON.stringify([document.querySelector("output").textContent,
      document.querySelectorAll('.label[data-value="1"]:not([hidden])').length,
      picture.getAttribute("viewBox").split(" ").length,
      getComputedStyle(document.body).backgroundColor]);
    """
    assert in_chromium(html, probe, tmp_path) == ["slice 4", 0, 4, "rgb(20, 23, 27)"]


def in_chromium(html: str, probe: str, tmp_path: Path) -> Any:
    """Return what a script makes the title of a page, which must not have complained."""
    # The policy lets only the page's own script run, so it is taken out.
    page = re.sub(r'<meta http-equiv="Content-Security-Policy".*?>', "", html)
    page = page.replace("</body>", f"<script>{probe}</script></body>")
    (tmp_path / "report.html").write_text(page, encoding="utf-8")
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--dump-dom"]
    done = subprocess.run(
        [str(CHROMIUM), *options, f"--user-data-dir={tmp_path}/profile", f"file://{tmp_path}/report.html"],
        capture_output=True,
        text=True,
        timeout=600,
        check=True,
    )
    assert "CONSOLE" not in done.stderr
    title = re.findall(r"<title>(.*?)</title>", done.stdout)[0]
    return json.loads(unescape(title))
