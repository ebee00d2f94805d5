"""Objects in a report: their maps, found beside label maps or evaluated, and their table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image as PillowImage

from swin_umamba.evaluation.evaluate_instances import evaluate_instances
from swin_umamba.evaluation.object_errors import ERRORS
from swin_umamba.instances.table import objects_of
from swin_umamba.instances.write import write_objects
from swin_umamba.report.html import report_html
from swin_umamba.summary import objects
from swin_umamba.summary.collect import collect_report
from swin_umamba.summary.objects import read_objects_table
from swin_umamba.summary.places import Sources

TRUTH = np.kron([[7, 7, 0, 2, 3, 0], [0, 0, 0, 0, 0, 5]], np.ones((4, 4), int)).astype(np.uint16)
FOUND = np.kron([[1, 4, 0, 2, 2, 0], [8, 0, 0, 0, 0, 0]], np.ones((4, 4), int)).astype(np.uint16)
COUNTS = dict(zip(ERRORS, (1, 1, 1, 1), strict=True))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Label maps and instance maps of two pictures, and the same as they should be."""
    for name in ("out/instances", "data/labelsTs", "data/instancesTs", "data/imagesTs"):
        (tmp_path / name).mkdir(parents=True)
    for case, found in (("a", FOUND), ("b", TRUTH)):
        PillowImage.fromarray((found > 0).astype(np.uint8)).save(tmp_path / f"out/{case}.png")
        PillowImage.fromarray((TRUTH > 0).astype(np.uint8)).save(tmp_path / f"data/labelsTs/{case}.png")
        PillowImage.fromarray(np.full(TRUTH.shape, 90, np.uint8)).save(tmp_path / f"data/imagesTs/{case}.png")
        tifffile.imwrite(tmp_path / f"out/instances/{case}.tif", found)
        tifffile.imwrite(tmp_path / f"data/instancesTs/{case}_masks.tif", TRUTH)
    tables = [objects_of(found, case=case) for case, found in (("a", FOUND), ("b", TRUTH))]
    write_objects(tmp_path / "out/objects.csv", tables)
    return tmp_path


def sources(folder: Path, references: str, predictions: str | None = None) -> Sources:
    return Sources(
        predictions=None if predictions is None else folder / predictions,
        references=folder / "data" / references,
        images=folder / "data/imagesTs",
    )


def test_predictions_with_objects(folder: Path) -> None:
    report = collect_report(folder / "out", sources(folder, "labelsTs"))
    assert report.objects is not None
    assert report.objects.counts == {"a": 4, "b": 4}
    assert report.objects.sizes.tolist() == [16, 32, 16, 16, 16, 16, 16, 32]
    assert (report.objects.unit, report.objects.size_column) == ("px", "area_px")
    assert report.objects.columns[:4] == ("case", "object", "class", "area_px")
    assert "area_um2" not in report.objects.columns
    assert report.objects.rows[1][:6] == ("a", "2", "1", "32", "1.5", "15.5")
    (case,) = (each for each in report.cases if each.name == "a")
    assert case.errors == COUNTS
    assert case.note == "4 objects"
    (picture,) = case.slices
    assert picture.truth is not None
    assert picture.objects is not None
    assert picture.object_errors is not None
    twice = np.kron(FOUND, np.ones((2, 2), int))
    assert np.array_equal(picture.objects > 0, twice > 0)
    assert len(np.unique(picture.objects)) == 5
    assert picture.object_errors[::8, ::8].tolist() == [[3, 3, 0, 4, 4, 0], [2, 0, 0, 0, 0, 1]]
    assert "Errors of objects of case a: 1 missed, 1 false, 1 split, 1 merged" in report_html(report)


def test_an_evaluation_of_objects(folder: Path) -> None:
    """Its folders hold instance maps, whose names may have endings."""
    evaluate_instances(folder / "out/instances", folder / "data/instancesTs").write(folder / "scores")
    for predictions in ("out/instances", "out"):
        report = collect_report(folder / "scores", sources(folder, "instancesTs", predictions))
        assert report.scores is not None
        assert [metric.key for metric in report.scores.metrics][:2] == ["f1", "precision"]
        assert report.scores.objects["a"] == {
            "num_reference": 4,
            "num_prediction": 4,
            **{f"num_{kind}": count for kind, count in COUNTS.items()},
        }
        assert [(case.name, case.rank) for case in report.cases] == [("a", "worst"), ("b", "worst")]
        assert [case.errors for case in report.cases] == [COUNTS, dict.fromkeys(ERRORS, 0)]
        assert report.cases[0].slices[0].truth is None
        assert report.objects is not None
        assert not [each for each in report.missing if "matrix" in each or "objects" in each]


def test_a_long_table_is_cut_and_counted_whole(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "MAX_ROWS", 3)
    table = read_objects_table(folder / "out", [])
    assert table is not None
    assert (len(table.rows), len(table.sizes), sum(table.counts.values())) == (3, 8, 8)


def test_areas_are_in_micrometres_where_all_are_known(folder: Path) -> None:
    known = objects_of(FOUND, case="a", spacing=(0.0005, 0.001))
    write_objects(folder / "out/objects.csv", [known])
    table = read_objects_table(folder / "out", [])
    assert table is not None
    assert (table.sizes.tolist(), table.unit) == ([8, 16, 8, 8], "µm²")
    write_objects(folder / "out/objects.csv", [known, objects_of(FOUND, case="b")])
    table = read_objects_table(folder / "out", [])
    assert table is not None
    assert (table.sizes.tolist(), table.unit) == ([16, 32, 16, 16] * 2, "px")


@pytest.mark.parametrize(
    "content",
    [
        "",
        "case,object\na,1\n",
        "case,object,class,area_px\na,1,1,wide\n",
        "case,object,class,area_px\na,1,1,\n",
        "case,object,class,area_px\na,1,1,inf\n",
        "case,object,class,area_px\na,1\n",
        "case,object,class,area_px\na,1,1,2,3\n",
        "object,class,area_px\n1,1,2\n",
        "case,\udcff",
    ],
)
def test_a_damaged_table_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "objects.csv").write_text(content, encoding="utf-8", errors="surrogateescape")
    missing: list[str] = []
    assert read_objects_table(tmp_path, missing) is None
    assert missing == ["the table of objects, as objects.csv is damaged: predict with --overwrite again"]


def test_no_table(tmp_path: Path) -> None:
    missing: list[str] = []
    assert read_objects_table(tmp_path, missing) is None
    assert missing == []


def test_an_instance_map_of_another_size_is_named(folder: Path) -> None:
    tifffile.imwrite(folder / "out/instances/b.tif", FOUND[:4])
    report = collect_report(folder / "out", sources(folder, "labelsTs"))
    assert [case.name for case in report.cases] == ["a"]
    assert any(each.startswith("pictures of case b: ") for each in report.missing)
