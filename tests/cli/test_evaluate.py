"""``swin-umamba evaluate``: output, files and exit codes."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image as PillowImage

from cli.command_line import parsed
from swin_umamba.cli import compare, evaluate
from swin_umamba.errors import DataError, OutputError, UsageError
from swin_umamba.evaluation.protocols import PROTOCOLS
from swin_umamba.evaluation.protocols.endoscopy import Endoscopy
from swin_umamba.metric_table import metrics_of


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """One case; the prediction has two thirds of class 1 and all of class 2."""
    truth = np.array([[1, 1, 1, 0, 2, 2]] * 4, np.uint8)
    prediction = np.array([[0, 1, 1, 0, 2, 2]] * 4, np.uint8)
    for name, labels in (("truth", truth), ("predicted", prediction)):
        (tmp_path / name).mkdir()
        PillowImage.fromarray(labels).save(tmp_path / name / "a.png")
    (tmp_path / "dataset.json").write_text(
        '{"labels": {"background": 0, "liver": 1, "spleen": 2, "tumour": 3}}'
    )
    return tmp_path


def run(folder: Path, *options: str) -> int:
    return evaluate.run(parsed(evaluate, folder / "predicted", folder / "truth", *options))


def test_table_and_files(folders: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--dataset-json", str(folders / "dataset.json"), "-o", str(folders / "scores"))
    assert run(folders, *options, "--tolerance", "0.5") == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == ["class", "Dice", "NSD", "HD95", "mm", "cases", "not", "applicable"]
    assert lines[1][:2] == ["liver", "0.8000"]
    assert lines[2] == ["spleen", "1.0000", "1.0000", "0.00", "1", "0"]
    assert lines[3] == ["tumour", "-", "-", "-", "0", "1"]
    assert lines[4][:4] == ["mean", "of", "classes", "0.9000"]
    assert json.loads((folders / "scores" / "metrics.json").read_text())["classes"]["liver"]["dice"] == 0.8
    assert (
        (folders / "scores" / "metrics.csv").read_text().startswith("case,class,dice,nsd,hd95\na,liver,0.8,")
    )


def test_json_and_labels(folders: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(folders, "--labels", "left=1", "both=1,2", "--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert result["mean"]["dice"] == pytest.approx((0.8 + 2 * 16 / 36) / 2)
    assert list(result["classes"]) == ["left", "both"]


def test_references_in_grey_values_are_suspected(folders: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert run(folders) == 0
    assert "convert folder" not in caplog.text
    truth = np.array([[255, 255, 255, 0, 128, 128]] * 4, np.uint8)
    PillowImage.fromarray(truth).save(folders / "truth" / "a.png")
    assert run(folders) == 0
    assert "in any class" in caplog.text
    assert "convert folder" in caplog.text


def test_failed_case_gives_exit_code_1(folders: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(folders, "--labels", "1") == 1
    captured = capsys.readouterr()
    assert "1 cases failed" in captured.out
    assert "case a could not be evaluated" in captured.err
    assert "not declared: 2" in captured.err


def test_a_reason_is_told_once_for_all_its_cases(folders: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for case in "bcdefg":
        for name in ("truth", "predicted"):
            (folders / name / f"{case}.png").write_bytes((folders / name / "a.png").read_bytes())
    (folders / "predicted" / "c.png").write_bytes(b"")
    assert run(folders, "--labels", "1") == 1
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert errors == [
        "error: 6 cases (a, b, d, e, f and 1 more) could not be evaluated: "
        "the label map holds values that are not declared: 2",
        "error: case c could not be evaluated: the file is empty",
    ]
    assert run(folders, "--labels", "1", "--json") == 1
    failed = json.loads(capsys.readouterr().out)["failed"]
    assert list(failed) == list("abcdefg")
    assert f"where: {folders / 'truth' / 'd.png'}\n" in failed["d"]


def test_missing_predictions(folders: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folders / "truth" / "b.png").write_bytes((folders / "truth" / "a.png").read_bytes())
    with pytest.raises(DataError, match="1 of 2 cases have no prediction: b") as caught:
        run(folders)
    assert caught.value.exit_code == 1
    assert run(folders, "--missing", "worst") == 0
    assert "1 cases have no prediction" in capsys.readouterr().out


def test_an_unusable_output_folder_is_found_before_any_work(
    folders: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folders / "file").write_text("mine")
    with pytest.raises(OutputError, match="a file, not a folder"):
        run(folders, "--output", str(folders / "file"))
    assert capsys.readouterr().out == ""


def test_labels_and_dataset_json_exclude_each_other(folders: Path) -> None:
    with pytest.raises(SystemExit) as caught:
        run(folders, "--labels", "1", "--dataset-json", "x")
    assert caught.value.code == 2


def test_default_tolerance_is_that_of_the_function(folders: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from swin_umamba.evaluation.evaluate import DEFAULT_TOLERANCE

    assert run(folders, "--json") == 0
    assert json.loads(capsys.readouterr().out)["tolerance_mm"] == DEFAULT_TOLERANCE == 2


def test_a_protocol_that_is_not_the_papers(
    folders: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PROTOCOLS, "made-up", "MadeUp")
    made_up = SimpleNamespace(MadeUp=type("MadeUp", (Endoscopy,), {"name": "made-up"}))
    monkeypatch.setitem(sys.modules, "swin_umamba.evaluation.protocols.made_up", made_up)
    assert run(folders, "--protocol", "made-up", "--json") == 0
    assert json.loads(capsys.readouterr().out)["protocol"] == "made-up"
    for option in (("--outer-rim", "1"), ("--labels", "1")):
        with pytest.raises(UsageError, match=r"boundary class|its own classes"):
            run(folders, "--protocol", "made-up", *option)
    parsed(compare, "--data", "d", "--networks", "n", "--budget", "1", "-o", "o", "--protocol", "made-up")


def test_protocol_shows_both_forms_where_they_differ(
    folders: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folders / "truth" / "b.png").write_bytes((folders / "truth" / "a.png").read_bytes())
    options = ("--protocol", "endoscopy", "--missing", "worst", "-o", str(folders / "scores"))
    assert run(folders, *options) == 0
    out = capsys.readouterr().out
    lines = [line.split() for line in out.splitlines()]
    assert lines[0] == ["metric", "class", "as-published", "corrected", "difference"]
    assert lines[1] == ["Dice", "instruments", "0.9000", "0.4500", "-0.4500"]
    assert lines[3][:4] == ["HD95", "mm", "instruments", "-"]
    assert "1 cases have no prediction" in out
    assert "left out as published: b" in out
    assert "all pixels are surface" in out
    assert (folders / "scores" / "metrics.csv").read_text().startswith("form,case,class,dice,nsd,hd95\n")


def test_protocol_in_one_form(folders: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(folders, "--protocol", "endoscopy", "--form", "corrected", "--json") == 0
    assert list(json.loads(capsys.readouterr().out)["forms"]) == ["corrected"]
    assert run(folders, "--protocol", "endoscopy", "--form", "corrected") == 0
    assert "as published" not in capsys.readouterr().out


def test_protocol_with_failures_gives_exit_code_1(folders: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(folders, "--protocol", "abdomen-mr", "--labels", "liver=1", "spleen=2") == 1
    captured = capsys.readouterr()
    assert "1 cases failed and are not in the means" in captured.out
    assert "label maps of 3 axes" in captured.err


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (("--protocol", "endoscopy", "--tolerance", "1"), "tolerances"),
        (("--protocol", "endoscopy", "--labels", "1"), "own classes"),
        (("--protocol", "endoscopy", "--outer-rim", "0"), "outer-rim"),
        (("--protocol", "abdomen-mr", "--labels", "tumour=1"), "tumour"),
        (("--form", "corrected"), "--protocol"),
        (("--outer-rim", "1"), "--protocol"),
    ],
)
def test_options_that_do_not_go_together(folders: Path, options: tuple[str, ...], named: str) -> None:
    with pytest.raises(UsageError, match=named):
        run(folders, *options)


def test_objects(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of two objects one is found, and one of another class is predicted in the place of the other."""
    truth = np.array([[1, 1, 0, 2, 2]] * 4, np.uint8)
    for name, labels in (("truth", truth), ("predicted", truth * (truth == 1)), ("classes", truth)):
        (tmp_path / name).mkdir()
        PillowImage.fromarray(labels).save(tmp_path / name / "a.png")
    assert run(tmp_path, "--instances", "-o", str(tmp_path / "scores")) == 0
    printed = capsys.readouterr().out
    lines = [line.split() for line in printed.splitlines()]
    assert lines[0] == ["class", "metric", "mean", "of", "images", "all", "objects"]
    assert lines[1] == ["objects", "F1", "(IoU", "0.5)", "0.6667", "0.6667"]
    assert ["objects", "AJI+", "0.5000", "-"] in lines
    errors = "1 missed, 0 false, 0 split, 0 merged"
    assert printed.endswith(f"objects: 1 predicted, 2 true ({errors}); count error 1.00 an image\n")
    header = (tmp_path / "scores" / "metrics.csv").read_text().splitlines()[0]
    numbers = "num_reference,num_prediction,num_missed,num_false,num_split,num_merged"
    assert header == f"case,class,{numbers}," + ",".join(metrics_of("instances"))
    maps = [str(tmp_path / "classes")] * 2
    assert run(tmp_path, "--instances", "--class-maps", *maps, "--labels", "red=1", "blue=2", "--json") == 0
    result = json.loads(capsys.readouterr().out)["classes"]
    assert (result["red"]["mean"]["ap"], result["blue"]["mean"]["ap"]) == (1, 0)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--instances", "--outer-rim", "1"), "--outer-rim belongs to a protocol"),
        (("--instances", "--tolerance", "1"), "objects have no tolerance"),
        (("--instances", "--labels", "1"), "instance maps hold no classes"),
        (("--class-maps", "a", "b"), "only objects have class maps"),
        (("--protocol", "microscopy", "--class-maps", "a", "b"), "a protocol has its own classes"),
    ],
)
def test_options_of_objects(folders: Path, options: tuple[str, ...], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        run(folders, *options)
