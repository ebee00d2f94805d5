from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cli.command_line import parsed
from swin_umamba.cli import predict
from swin_umamba.errors import CheckpointError, DataError, UsageError
from swin_umamba.inference.case_result import CaseResult
from swin_umamba.inference.options import FolderOptions, ModelOptions
from swin_umamba.inference.predictor import Predictor

OUT = Path("out")
WRITTEN = CaseResult("a", (Path("a.png"),), OUT / "a.png", "written", 1.5)
KEPT = CaseResult("b", (Path("b.png"),), OUT / "b.png", "kept")
FAILED = CaseResult(
    "c",
    (Path("c.png"),),
    OUT / "c.png",
    "failed",
    0.1,
    DataError("it is damaged", where="c.png", hint="copy it"),
)


arguments = partial(parsed, predict, "-m", "model", "-i", "images", "-o", "out")


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Replace the predictor; what it is called with, and the ``results`` that it returns."""
    calls: dict[str, Any] = {"results": [WRITTEN]}

    def predict_folder(inputs: Any, output: Path, **options: Any) -> list[CaseResult]:
        calls.update(inputs=inputs, output=output, predict=options)
        return calls["results"]

    def from_folder(path: Path, **options: Any) -> SimpleNamespace:
        calls.update(model=path, load=options)
        return SimpleNamespace(
            predict_folder=predict_folder,
            model=SimpleNamespace(
                checkpoints=(Path("model/fold_0/checkpoint_final.pth"),),
                parameters=({},),
                temperature=calls.get("temperature"),
            ),
            mirroring=options.get("mirroring", True),
            device="cpu",
            labels={"background": 0, "cell": 1},
        )

    monkeypatch.setattr(Predictor, "from_folder", from_folder)
    return calls


def test_defaults(calls: dict[str, Any]) -> None:
    assert predict.run(arguments()) == 0
    assert (calls["model"], calls["inputs"], calls["output"]) == (Path("model"), Path("images"), OUT)
    assert (calls["predict"], calls["load"]) == ({}, {})
    assert vars(FolderOptions()) == {
        "part": None,
        "merge": False,
        "probabilities": False,
        "confidence": False,
        "preview": False,
        "overwrite": False,
        "nonfinite": "refuse",
        "series": None,
        "format": None,
        "seg_type": "binary",
        "derived_uids": False,
        "instances": False,
        "objects": None,
        "min_size": 16,
        "split_distance": None,
        "solidity": False,
        "blocks": False,
        "workers": 1,
        "scheduler": None,
        "level": 0,
        "rescale": False,
        "roi": None,
        "statistics": None,
        "tissue": False,
        "label_format": None,
        "studies": False,
        "series_modality": None,
        "series_description": None,
        "min_slices": None,
        "max_slices": None,
        "plane": None,
        "dry_run": False,
    }
    assert vars(ModelOptions()) == {
        "folds": None,
        "checkpoint": "checkpoint_final.pth",
        "trainer": None,
        "device": "auto",
        "mirroring": True,
        "step_size": 0.5,
        "postprocessing": True,
        "backend": None,
        "precision": "float32",
    }


def test_options(calls: dict[str, Any]) -> None:
    options = "--fold 0 all --checkpoint x.pth --probabilities --no-mirroring --device cpu --backend chunked"
    options += " --confidence --overwrite --preview --step-size 0.7 --no-postprocessing"
    assert predict.run(arguments(*options.split())) == 0
    assert calls["predict"] == {"probabilities": True, "confidence": True, "preview": True, "overwrite": True}
    assert calls["load"] == {
        "folds": (0, "all"),
        "checkpoint": "x.pth",
        "device": "cpu",
        "mirroring": False,
        "step_size": 0.7,
        "postprocessing": False,
        "backend": "chunked",
    }


def test_several_input_files(calls: dict[str, Any]) -> None:
    predict.run(arguments("-i", "a_0000.nii", "a_0001.nii"))
    assert calls["inputs"] == [Path("a_0000.nii"), Path("a_0001.nii")]


def test_a_fold_that_cannot_be(calls: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="no fold 'first'"):
        predict.run(arguments("--fold", "first"))


def test_failed_cases_are_named(calls: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    calls["results"] = [WRITTEN, KEPT, FAILED]
    assert predict.run(arguments()) == 1
    captured = capsys.readouterr()
    assert captured.out.splitlines() == [
        "1 of 3 cases written to out in 0.0 s",  # of the clock, not the 1.5 s of the case
        "1 existed already and were kept (--overwrite replaces them)",
        "1 failed",
    ]
    assert captured.err == "error: case c: it is damaged\n  where: c.png\n  what to do: copy it\n"
    calls["results"] = [FAILED, replace(FAILED, case="d")]
    assert predict.run(arguments()) == 1
    assert capsys.readouterr().err.startswith("error: 2 cases (c, d): it is damaged\n  where: c.png\n")


def test_names_do_not_command_the_terminal(calls: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    calls["results"] = [replace(FAILED, case="\x1b[2Jc\nd"), sure("a\n  0.900  b", 0.5)]
    assert predict.run(arguments()) == 1
    captured = capsys.readouterr()
    assert captured.err.startswith("error: case \N{REPLACEMENT CHARACTER}[2Jc d: it is damaged")
    assert captured.out.splitlines()[-1] == "  0.500  a   0.900  b"


def test_json_summary(calls: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    calls["results"] = [WRITTEN, KEPT, FAILED]
    assert predict.run(arguments("--json")) == 1
    summary = json.loads(capsys.readouterr().out)
    assert (summary["written"], summary["kept"], summary["failed"]) == (1, 1, 1)
    assert summary["labels"] == {"background": 0, "cell": 1}
    assert summary["cases"][0] == {
        "case": "a",
        "inputs": ["a.png"],
        "output": str(OUT / "a.png"),
        "status": "written",
        "seconds": 1.5,
        "confidence": None,
        "error": None,
    }
    assert summary["cases"][2]["error"] == {"what": "it is damaged", "where": "c.png", "hint": "copy it"}


def sure(case: str, quality: float | None) -> CaseResult:
    confidence = {
        "quality": quality,
        "class_quality": {"cell": quality},
        "mean_entropy": 0.25,
        "num_members": 4,
        "temperature": 1.0,
        "quality_exponent": 1.0,
        "calibrated": False,
        "quality_calibrated": False,
    }
    return replace(WRITTEN, case=case, confidence=confidence)


def test_the_least_sure_cases_are_named(calls: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    given = [("a", 0.9), ("b", 0.31), ("c", None), ("d", 0.5), ("e", 0.6), ("f", 0.7), ("g", 0.8)]
    calls["results"] = [sure(case, quality) for case, quality in given]
    assert predict.run(arguments("--confidence")) == 0
    assert capsys.readouterr().out.splitlines()[1:] == [
        "lowest estimated Dice, to be reviewed first:",
        "  0.310  b",
        "  0.500  d",
        "  0.600  e",
        "  0.700  f",
        "  0.800  g",
    ]
    assert predict.run(arguments("--confidence", "--json")) == 0
    assert json.loads(capsys.readouterr().out)["cases"][1]["confidence"] == sure("b", 0.31).confidence


@pytest.mark.parametrize(
    ("options", "temperature", "said"),
    [
        ((), None, ["not calibrated"]),
        ((), 1.5, []),
        (("--no-mirroring",), 1.5, ["the Dice cannot be estimated"]),
        (("--no-mirroring",), None, ["not calibrated", "the Dice cannot be estimated"]),
    ],
)
def test_what_a_confidence_lacks_is_said_before(
    calls: dict[str, Any],
    caplog: pytest.LogCaptureFixture,
    options: tuple[str, ...],
    temperature: float | None,
    said: list[str],
) -> None:
    calls["temperature"] = temperature
    predict.run(arguments("--confidence", *options))
    assert len(caplog.messages) == len(said)
    assert all(part in message for part, message in zip(said, caplog.messages, strict=True))


def test_a_missing_model(tmp_path: Path) -> None:
    args = arguments("-m", str(tmp_path / "nowhere"))
    with pytest.raises(CheckpointError, match="does not exist"):
        predict.run(args)
