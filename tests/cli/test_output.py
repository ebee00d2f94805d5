"""Names that commands print cannot command the terminal, nor look like others."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage

from swin_umamba.cli.main import main
from trained.model_folder import make_model_folder

SECRETS = ("Meier", "Schulze", "Krüger")


@pytest.fixture
def cases_with_names(tmp_path: Path) -> dict[str, Path]:
    """A model with its validation, images, references; one image is damaged, and one has no reference."""
    folders = {name: tmp_path / name for name in ("images", "references", "out", "broken")}
    folders["model"] = make_model_folder(tmp_path / "nnUNet_results" / "Dataset999_Tiny", folds=(0,))
    validation = folders["model"] / "fold_0" / "validation"
    labels = np.zeros((40, 48), np.uint8)
    labels[5:20, 5:20], labels[25:35, 25:40] = 1, 2
    for folder in (folders["images"], folders["references"], folders["broken"], validation):
        folder.mkdir()
    for number, name in enumerate(SECRETS):
        PillowImage.fromarray(labels * 90 + number).save(folders["images"] / f"{name}_0000.png")
        PillowImage.fromarray(labels).save(folders["references"] / f"{name}.png")
        (folders["broken"] / f"{name}.png").write_bytes(b"\x89PNG\r\n\x1a\n damaged")
        PillowImage.fromarray(labels).save(validation / f"{name}.png")
    scores = {"1": {"Dice": 1.0, "IoU": 1.0}, "2": {"Dice": 1.0, "IoU": 1.0}}
    listed = [{"prediction_file": f"/x/{name}.png", "metrics": scores} for name in SECRETS]
    (validation / "summary.json").write_text(json.dumps({"metric_per_case": listed, "mean": scores}))
    (folders["images"] / f"{SECRETS[2]}_0000.png").write_bytes(b"\x89PNG\r\n\x1a\n damaged")
    return folders


def pseudonyms_of(folder: Path) -> set[str]:
    return {path.stem for path in folder.glob("case_*.png")}


def test_anonymous_commands_show_and_write_no_names(
    cases_with_names: dict[str, Path],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    images, references, out, model, broken = (
        str(cases_with_names[name]) for name in ("images", "references", "out", "model", "broken")
    )
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "results").mkdir()
    before = set(tmp_path.rglob("*"))
    fast = ("-m", model, "--device", "cpu", "--no-mirroring")
    predict = ("predict", *fast, "-i", images, "-o")
    one = ("predict", *fast, "-i", f"{images}/{SECRETS[0]}_0000.png", "-o")
    first = f"{images}/{SECRETS[0]}_0000.png"
    damaged = f"{images}/{SECRETS[2]}_0000.png"
    lone = f"{references}/{SECRETS[0]}.png"
    folders = ("--images", images, "--references", references)
    for code, *command in (
        (1, *predict, out, "--probabilities", "--preview", "--confidence"),
        (1, *predict, out, "--json"),
        (0, *one, "again"),
        (1, "evaluate", out, references),
        (0, "evaluate", out, references, "--missing", "worst", "-o", "results"),
        (1, "evaluate", broken, references, "--json"),
        (1, "statistics", images, "-o", "results/table.csv"),
        (0, "statistics", references, "--json"),
        (1, "statistics", damaged),
        (1, "statistics", f"{references}/{SECRETS[1]}_gone.png"),
        (0, "preview", first, lone),
        (1, "preview", damaged, "--json", "-o", "results/damaged.png"),
        (0, "report", "results", "-o", "results/report.html", "--predictions", out, *folders, "--json"),
        (0, "report", model, "-o", "results/model.html", *folders),
        (1, "calibrate", *fast, *folders),
        (0, "postprocess", "-m", model, "--references", references),
    ):
        assert main([*command, "--anonymous"]) == code, (command, capfd.readouterr())
        printed = "".join(capfd.readouterr())
        written = {path: path.read_bytes() for path in set(tmp_path.rglob("*")) - before if path.is_file()}
        for name in SECRETS:
            for spelling in (name, json.dumps(name)[1:-1]):
                assert spelling not in printed, command
                assert not [path for path in written if spelling in path.as_posix()], command
                found = [path for path, content in written.items() if spelling.encode() in content]
                assert not found, command
    names = pseudonyms_of(Path(out))
    assert len(names) == 2
    assert len(pseudonyms_of(Path("again")) & names) == 1
    assert set(json.loads(Path("results/metrics.json").read_text())["cases"]) > names
    assert len(list(tmp_path.glob("case_*_preview.png"))) == 1
    monkeypatch.setenv("SWIN_UMAMBA_PSEUDONYM_KEY", str(tmp_path / "other.key"))
    assert main([*one, "other", "--anonymous"]) == 0
    assert len(pseudonyms_of(Path("other")) - names) == 1


@pytest.mark.slow  # each worker imports what it needs anew
def test_names_in_errors_of_worker_processes(
    cases_with_names: dict[str, Path],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    folders = (str(cases_with_names[name]) for name in ("broken", "references"))
    assert main(["evaluate", *folders, "--json", "--num-workers", "2", "--anonymous"]) == 1
    printed = "".join(capfd.readouterr())
    assert printed.count("case_") >= len(SECRETS)
    assert not [name for name in SECRETS if name in printed or json.dumps(name)[1:-1] in printed]
