"""A challenge of the user's own: one file makes it known to convert, evaluate and reproduce."""

from __future__ import annotations

import json
import multiprocessing
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage

import forked
from swin_umamba.cli.main import main
from swin_umamba.data.datasets import DATASETS, ChallengeDataset
from swin_umamba.errors import UsageError
from swin_umamba.evaluation.protocols import PROTOCOLS
from swin_umamba.evaluation.protocols.endoscopy import Endoscopy
from swin_umamba.experiments import register_challenge
from swin_umamba.paper import ENDOSCOPY, EXPERIMENTS

FILE = """
from dataclasses import replace

from swin_umamba import register_challenge
from swin_umamba.data.datasets import ChallengeDataset
from swin_umamba.data.datasets.folder import convert_folder
from swin_umamba.evaluation.protocols.endoscopy import Endoscopy
from swin_umamba.paper import ENDOSCOPY

DATASET_NAME = "Dataset905_Polyps"


class Polyps(Endoscopy):
    name = "polyps"


def convert_my_polyps(source, folder, *, skip_damaged=False, needs_test=False):
    return convert_folder(source / "images", source / "masks", folder, skip_damaged=skip_damaged)


experiment = replace(ENDOSCOPY, name="polyps", dataset_name=DATASET_NAME, epochs=7, published_results={})
register_challenge(ChallengeDataset("polyps", "images and masks", __name__), Polyps, experiment)
"""
OWN = ChallengeDataset("own", "x", "y")
Own = type("Own", (Endoscopy,), {"name": "own"})


@pytest.fixture
def challenge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    folders, tables = list(sys.path), [dict(each) for each in (DATASETS, PROTOCOLS, EXPERIMENTS)]
    (tmp_path / "my_polyps.py").write_text(FILE)
    monkeypatch.setenv("SWIN_UMAMBA_EXTENSIONS", str(tmp_path / "my_polyps.py"))
    for name in ("images", "masks"):
        (tmp_path / "data" / name).mkdir(parents=True)
    for number in range(3):
        picture = np.random.default_rng(number).integers(0, 255, (40, 40, 3), dtype=np.uint8)
        PillowImage.fromarray(picture).save(tmp_path / "data" / "images" / f"a{number}.png")
        mask = np.zeros((40, 40), np.uint8)
        mask[5:20, 5:20] = 1
        PillowImage.fromarray(mask).save(tmp_path / "data" / "masks" / f"a{number}.png")
    yield tmp_path / "data"
    sys.path[:] = folders
    sys.modules.pop("my_polyps", None)
    for table, before in zip((DATASETS, PROTOCOLS, EXPERIMENTS), tables, strict=True):
        table.clear()
        table.update(before)  # type: ignore[arg-type]


def test_convert_evaluate_and_reproduce(
    challenge: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["convert", "polyps", str(challenge), "-o", str(tmp_path / "out"), "--json"]) == 0
    converted = json.loads(capsys.readouterr().out)
    assert (converted["dataset"], converted["num_training"]) == ("Dataset905_Polyps", 3)
    labels = str(Path(converted["folder"]) / "labelsTr")
    # Its processes import the file, too; they come from one that has imported the package, and not that.
    monkeypatch.setattr(multiprocessing, "get_context", lambda method: forked.CONTEXT)
    command = ["evaluate", labels, labels, "--protocol", "polyps", "--num-workers", "2", "--json"]
    assert main(command) == 0
    assert json.loads(capsys.readouterr().out)["protocol"] == "polyps"
    command = [
        "reproduce",
        "polyps",
        "--data",
        str(challenge),
        "--trainer",
        "nnUNetTrainerSwinUMambaDScratch",
    ]
    assert main([*command, "-o", str(tmp_path / "run"), "--dry-run"]) == 0
    steps = capsys.readouterr().out
    assert "7 epochs of 250 steps" in steps
    assert "by the protocol polyps" in steps


@pytest.mark.parametrize(
    "parts",
    [
        (replace(OWN, name="endoscopy"),),
        (replace(OWN, name="folder"),),
        (OWN, Endoscopy),
        (OWN, Own, ENDOSCOPY),
        (OWN, None, replace(ENDOSCOPY, name="own")),
    ],
)
def test_what_cannot_be_registered(parts: tuple) -> None:
    before = dict(DATASETS), dict(PROTOCOLS), dict(EXPERIMENTS)
    with pytest.raises(UsageError, match="cannot be registered"):
        register_challenge(*parts)
    assert before == (DATASETS, PROTOCOLS, EXPERIMENTS)
