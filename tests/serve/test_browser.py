"""The page in a real browser: what a person does, sees, and must not be able to break."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conformance.dicom_files import Slice, write_series
from serve.client_files import nifti, png
from serve.serving import PATIENCE, Gate, Listening, eventually, listening_at
from swin_umamba.data.image_io import read_labels
from swin_umamba.inference.predictor import Predictor
from swin_umamba.serve.limits import MIB, Limits
from swin_umamba.serve.service import Service

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
QUIET = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
SECONDS = 1000 * PATIENCE  # in Playwright's milliseconds

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    # Whoever asks for these tests is not served by skipping them.
    assert CHROMIUM is not None, "no Chromium is installed"
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=list(QUIET))
        yield browser
        browser.close()


class Visit:
    """A page of the server, and what happened while it was open."""

    def __init__(self, browser: Any, listening: Listening, **options: Any) -> None:
        self.messages: list[str] = []
        self.requests: list[str] = []
        self.service = listening.service
        self.address = f"http://127.0.0.1:{listening.port}/"
        self.context = browser.new_context(accept_downloads=True, **options)
        self.page = self.context.new_page()
        self.page.set_default_timeout(SECONDS)
        self.page.on("console", lambda message: self.messages.append(message.text))
        self.page.on("pageerror", lambda error: self.messages.append(str(error)))
        self.page.on("dialog", lambda dialog: self.messages.append(f"dialog {dialog.message}"))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(self.address)

    def choose(self, *files: tuple[str, bytes]) -> None:
        self.page.set_input_files(
            "#files",
            [
                {"name": name, "mimeType": "application/octet-stream", "buffer": content}
                for name, content in files
            ],
        )

    def segment(self, *files: tuple[str, bytes]) -> None:
        self.choose(*files)
        self.page.wait_for_selector("#image[href]")

    def failure(self, *files: tuple[str, bytes]) -> list[str]:
        """Choose files that are refused; return the lines of the message."""
        self.choose(*files)
        self.page.wait_for_selector("#failed:not([hidden])")
        return [self.page.inner_text(f"#failed-{part}") for part in ("what", "where", "hint")]

    def shown(self, selector: str) -> int:
        return self.page.locator(f"{selector}:visible").count()

    def box(self) -> list[float]:
        return [float(each) for each in self.page.get_attribute("#picture", "viewBox").split()]

    def slice(self) -> int:
        """Return the number of the slice whose picture is shown, from 1."""
        # The policy of the page forbids Playwright's own waiting, which evaluates text.
        return int(self.page.text_content("#picture-text").rpartition(" ")[2])

    def is_deleted(self) -> bool:
        return list(self.service.storage.path.iterdir()) == []


@pytest.fixture
def visit(
    browser: Any, start: Callable[..., Service], predictor: Predictor, listen: Callable[[Service], Listening]
) -> Iterator[Callable[..., Visit]]:
    """Return a function that opens the page of a model."""
    visits: list[Visit] = []

    def opened(
        model: Predictor | None = None,
        limits: Limits | None = None,
        *,
        confidence: bool = False,
        **options: Any,
    ) -> Visit:
        service = start(model or predictor, limits, confidence=confidence)
        visits.append(Visit(browser, listen(service), **options))
        return visits[-1]

    yield opened
    for each in visits:
        each.context.close()
        assert all(url.startswith((each.address, "data:")) for url in each.requests)


def test_from_upload_to_mask(
    visit: Callable[..., Visit], predictor: Predictor, picture: np.ndarray, tmp_path: Path
) -> None:
    labels = predictor.predict(picture).labels
    assert set(np.unique(labels).tolist()) == {1, 2}
    here = visit()
    page = here.page
    here.segment(("cells.png", png(picture)))
    assert page.inner_text("#result-title") == "cells.png"
    assert page.evaluate("document.activeElement.id") == "result-title"
    rows = [row.split() for row in page.locator(".classes tbody tr").all_inner_texts()]
    counts = {name: f"{int((labels == value).sum()):,}" for name, value in (("small", 1), ("large", 2))}
    assert {row[0]: row[2] for row in rows} == counts
    assert "48 × 40 pixels" in page.inner_text("#facts")
    assert not page.is_visible("#slices")

    assert here.shown(".label") == 2
    page.uncheck('.class-toggle[data-value="1"]')
    assert here.shown('.label[data-value="1"]') == 0
    page.keyboard.press("1")
    assert here.shown(".label") == 2
    page.uncheck("#outlines")
    assert here.shown(".outline") == 0
    page.keyboard.press("o")
    page.fill("#opacity", "80")
    fill = "getComputedStyle(document.querySelector('.fill')).fillOpacity"
    assert page.evaluate(fill) == "0.8"
    page.focus("#viewer")
    page.keyboard.press("f")
    assert page.evaluate(fill) == "0"

    assert here.box() == [0, 0, 48, 40]
    page.click('.zoom[data-factor="1.5"]')
    assert here.box() == pytest.approx([8, 40 / 6, 32, 80 / 3])
    page.focus("#viewer")
    page.keyboard.press("ArrowLeft")
    assert here.box()[0] == pytest.approx(1.6)
    page.keyboard.press("0")
    assert here.box() == [0, 0, 48, 40]
    page.hover("#picture", position={"x": 1, "y": 1})
    page.mouse.wheel(0, -100)
    assert eventually(lambda: here.box()[2] == pytest.approx(40))
    assert here.box()[:2] == pytest.approx([0, 0], abs=0.1)  # about the pointer, in the corner
    page.mouse.down()
    page.mouse.move(-100, -100)
    page.mouse.up()
    assert min(here.box()[:2]) > 1

    with page.expect_download() as download:
        page.click("#download")
    assert download.value.suggested_filename == "cells_labels.png"
    download.value.save_as(tmp_path / "mask.png")
    np.testing.assert_array_equal(read_labels(tmp_path / "mask.png").data[0], labels)

    page.click("#result .again")
    assert page.is_visible("#drop")
    assert eventually(here.is_deleted)
    assert here.messages == []


def test_a_series_of_a_dicom_folder_is_chosen(visit: Callable[..., Visit], tmp_path: Path) -> None:
    """Two series whose files have no ending, beside a program; one of them is sent again."""
    numbers = np.random.default_rng(1).integers(0, 500, (2, 3, 20, 24))
    for number, volume in enumerate(numbers):
        slices = [Slice(image, (0, 0, 2.5 * index)) for index, image in enumerate(volume)]
        for path in write_series(tmp_path / "disc" / str(number), slices, series=f"1.2.{number}"):
            path.rename(path.with_suffix(""))
    (tmp_path / "disc" / "viewer.exe").write_bytes(b"MZ")
    here = visit()
    page = here.page
    page.set_input_files("#folder", tmp_path / "disc")
    page.wait_for_selector("#series-form:not([hidden])")
    assert page.inner_text("#failed-what") == "The folder holds 2 DICOM series:"
    options = page.locator("#series option").all_inner_texts()
    assert sorted(text.rsplit("(", 1)[1] for text in options) == ["1.2.0)", "1.2.1)"]
    page.select_option("#series", "1.2.1")
    page.click("#series-form button")
    page.wait_for_selector("#image[href]")
    assert page.inner_text("#slice-text").endswith("of 3")
    assert not page.is_visible("#series-form")
    page.click("#result .again")
    assert here.failure(("a.txt", b"x"))[0] == "The format of this file is not known"
    assert not page.is_visible("#series-form")
    assert here.messages == []


def test_a_volume_slice_by_slice(visit: Callable[..., Visit]) -> None:
    volume = np.random.default_rng(1).normal(size=(7, 20, 24)).astype(np.float32)
    here = visit()
    page = here.page
    here.segment(("v.nii.gz", nifti(volume, (1.0, 2.0, 5.0))))
    page.fill("#slice", "2")
    assert eventually(lambda: here.slice() == 3)
    assert page.inner_text("#slice-text") == "3 of 7"
    assert page.get_attribute("#slice", "aria-valuetext") == "slice 3 of 7"
    first = page.get_attribute("#image", "href")
    page.focus("#viewer")
    page.keyboard.press("ArrowUp")
    assert eventually(lambda: here.slice() == 4)
    assert page.get_attribute("#image", "href") != first
    page.keyboard.press("PageDown")
    page.hover("#picture")
    page.mouse.wheel(0, 100)
    assert eventually(lambda: here.slice() == 2)
    assert here.box() == [0, 0, 24, 40]  # voxels are twice as high as wide
    assert page.inner_text("#unit") == "ml"
    assert [page.text_content(f"#edge-{side}") for side in ("left", "right", "top", "bottom")] == list("RLAP")
    assert ", axial;" in page.inner_text("#facts")
    assert here.messages == []


def test_large_images_are_shown_smaller_and_say_so(visit: Callable[..., Visit], tmp_path: Path) -> None:
    here = visit()
    here.segment(("a.png", png(np.arange(40 * 2048, dtype=np.uint32).astype(np.uint8).reshape(40, 2048))))
    assert here.box() == [0, 0, 1024, 20]
    assert "shown at 50 % of its size" in here.page.inner_text("#scaled")
    with here.page.expect_download() as download:
        here.page.click("#download")
    download.value.save_as(tmp_path / "mask.png")
    assert read_labels(tmp_path / "mask.png").spatial_shape == (40, 2048)
    assert here.messages == []


def test_uncertainty_and_quality(visit: Callable[..., Visit], picture: np.ndarray) -> None:
    here = visit(confidence=True)
    here.segment(("a.png", png(picture)))
    assert 0 <= float(here.page.inner_text("#quality-figure")) <= 1
    assert here.shown("#heat") == 0
    here.page.focus("#viewer")
    here.page.keyboard.press("u")
    assert here.shown("#heat") == 1
    assert "not calibrated" in here.page.inner_text("#heat-note")
    assert here.messages == []


def test_objects_are_counted_and_shown_in_one_colour_each(
    visit: Callable[..., Visit], predictor: Predictor, picture: np.ndarray, tmp_path: Path
) -> None:
    here = visit()
    page = here.page
    here.segment(("a.png", png(picture)))
    assert not any(map(here.shown, ("#found", "#object-setting", "#object-fill", "th.objects")))
    page.click("#result .again")
    page.check("#instances")
    here.segment(("a.png", png(picture)))
    table = predictor.predict(picture, instances=True).objects
    assert table is not None
    assert page.inner_text("#object-count") == f"{len(table):,}"
    counts = page.locator(".classes td.objects").all_inner_texts()
    assert [int(each) for each in counts] == [int((table.label == value).sum()) for value in (1, 2)]
    assert (here.shown("#object-fill"), here.shown(".object-outline"), here.shown(".label")) == (1, 1, 0)
    assert "each in its own colour" in page.text_content("#picture-text")
    page.focus("#viewer")
    page.keyboard.press("c")
    assert eventually(lambda: here.shown(".label") == 2)
    assert (here.shown("#object-fill"), here.shown(".object-outline")) == (0, 0)
    for link, name in {
        "table": "a_objects.csv",
        "map": "a_instances.tif",
        "outlines": "a_objects.geojson",
    }.items():
        with page.expect_download() as download:
            page.click(f"#object-{link}")
        assert download.value.suggested_filename == name
        download.value.save_as(tmp_path / name)
    assert len((tmp_path / "a_objects.csv").read_text().splitlines()) == 1 + len(table)
    assert here.messages == []


def test_channels_are_put_in_order(visit: Callable[..., Visit], predictor_of_two: Predictor) -> None:
    here = visit(predictor_of_two)
    page = here.page
    first = np.random.default_rng(0).integers(0, 99, (20, 20), dtype=np.uint8)
    here.choose(("b.png", png(first)), ("a.png", png(first.T)))
    names = page.locator(".channel").evaluate_all("all => all.map(e => e.selectedOptions[0].text)")
    assert names == ["a.png", "b.png"]
    page.select_option("#channel-0", "1")
    page.click("#order button[type=submit]")
    assert "one channel only" in page.inner_text("#order-wrong")
    page.select_option("#channel-1", "0")
    page.click("#order button[type=submit]")
    page.wait_for_selector("#image[href]")
    assert page.inner_text("#result-title") == "b.png"
    before = page.get_attribute("#image", "href")
    page.select_option("#view", label="T2")
    assert eventually(lambda: page.get_attribute("#image", "href") != before)
    assert here.messages == []


@pytest.mark.parametrize(
    ("files", "lines"),
    [
        ([("a.txt", b"hello")], ["The format of this file is not known", "a.txt", "convert it to one of"]),
        ([("a.png", b"broken")], ["The file is not a PNG picture", "a.png", "What to do: "]),
        ([("a.png", b"")], ["The file is empty", "a.png", "copy or download"]),
        ([("a.png", b"x"), ("b.png", b"x")], ["2 files were chosen", "", "choose one file"]),
        ([("a.png", bytes(2 * MIB))], ["The upload would be larger than 1 MiB", "a.png", "--max-upload"]),
        (
            [("<img src=x onerror=alert(1)>.png", b"broken")],
            ["not a PNG", "<img src=x onerror=alert(1)>.png", ""],
        ),
        ([("a.png", png(np.zeros((9, 9, 3), np.uint8)))], ["The image has 3 channels", "a.png", "grey"]),
    ],
)
def test_what_is_refused_is_explained(
    files: list[tuple[str, bytes]], lines: list[str], visit: Callable[..., Visit], picture: np.ndarray
) -> None:
    here = visit(limits=Limits(upload_bytes=MIB))
    for found, expected in zip(here.failure(*files), lines, strict=True):
        assert expected in found
    assert here.page.evaluate("document.activeElement.id") == "failed-what"
    assert eventually(here.is_deleted)
    here.segment(("a.png", png(picture)))  # and the page still works
    assert not here.page.is_visible("#failed")
    assert here.messages == []


def test_what_only_the_server_refuses_is_explained(visit: Callable[..., Visit], picture: np.ndarray) -> None:
    here = visit(limits=Limits(queue=1, upload_bytes=MIB))
    here.page.evaluate("document.body.dataset.uploadBytes = 1e9")
    what, where, _ = here.failure(("a.png", bytes(MIB + 2**17)))
    assert "larger than 1 MiB" in what or "connection ended" in what
    assert where == "a.png"


def test_cancelling_and_leaving_delete_everything(
    visit: Callable[..., Visit], picture: np.ndarray, gate: Gate
) -> None:
    here = visit()
    here.choose(("a.png", png(picture)))
    assert eventually(lambda: here.page.inner_text("#work-title") == "Segmenting")
    assert here.page.evaluate("document.getElementById('bar').value") == 0.25
    here.page.click("#cancel")
    assert here.page.is_visible("#drop")
    assert eventually(here.is_deleted)
    gate.open.set()
    here.segment(("a.png", png(picture)))
    assert not here.is_deleted()
    here.page.goto("about:blank")
    assert eventually(here.is_deleted)
    assert here.messages == []


def test_a_result_that_has_expired_is_explained(visit: Callable[..., Visit]) -> None:
    here = visit()
    here.segment(("v.nii.gz", nifti(np.random.default_rng(0).normal(size=(9, 16, 16)).astype(np.float32))))
    (job,) = here.service.queue._jobs
    here.service.queue.remove(job)
    here.page.fill("#slice", "8" if here.slice() < 5 else "0")  # the neighbours are fetched beforehand
    here.page.wait_for_selector("#failed:not([hidden])")
    assert "no such image" in here.page.inner_text("#failed-what")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 390, 1280])
def test_it_fits_and_follows_the_theme(
    scheme: str, width: int, visit: Callable[..., Visit], picture: np.ndarray
) -> None:
    here = visit(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page = here.page
    colour = {"light": "rgb(255, 255, 255)", "dark": "rgb(20, 23, 27)"}
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == colour[scheme]
    here.segment(("a_very_long_name_" * 5 + ".png", png(picture)))
    page.locator("summary").first.click()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.click("#theme")
    page.click("#theme")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == colour["dark"]
    assert here.messages == []


def test_a_file_can_be_dropped_anywhere(visit: Callable[..., Visit], picture: np.ndarray) -> None:
    here = visit()
    here.page.evaluate(
        """bytes => {
          const data = new DataTransfer();
          data.items.add(new File([new Uint8Array(bytes)], "dropped.png"));
          document.querySelector("footer").dispatchEvent(
            new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true }));
        }""",
        list(png(picture)),
    )
    here.page.wait_for_selector("#image[href]")
    assert here.page.inner_text("#result-title") == "dropped.png"
    assert here.messages == []


def test_a_person_types_the_token(browser: Any, start: Callable[..., Service], predictor: Predictor) -> None:
    token = "correct-horse-battery-staple"
    with listening_at(start(predictor), token) as listening:
        page = browser.new_context().new_page()
        page.set_default_timeout(SECONDS)
        page.goto(f"http://127.0.0.1:{listening.port}/")
        page.fill("#token", "a wrong token, as long")
        page.click("button")
        page.wait_for_selector("text=That is not the token.")
        page.fill("#token", token)
        page.click("button")
        page.wait_for_selector("#files", state="attached")
        assert page.url == f"http://127.0.0.1:{listening.port}/"
        page.context.close()


def test_the_printed_address_logs_in(
    browser: Any, start: Callable[..., Service], predictor: Predictor
) -> None:
    token = "correct-horse-battery-staple"
    with listening_at(start(predictor), token) as listening:
        page = browser.new_context().new_page()
        page.set_default_timeout(SECONDS)
        page.goto(f"http://127.0.0.1:{listening.port}/?token={token}")
        page.wait_for_selector("#files", state="attached")
        assert page.url == f"http://127.0.0.1:{listening.port}/"
        page.context.close()
