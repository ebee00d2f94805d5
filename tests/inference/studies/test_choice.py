"""What a tree would yield: names of cases, the list of the command line, and the reasons of the choice."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from inference.studies.trees import TREE, Written, write_tree
from swin_umamba.cli.main import build_parser, main
from swin_umamba.data.dicom.studies import OBLIQUE, PLANE_NAMES
from swin_umamba.inference.options import FolderOptions
from swin_umamba.inference.studies.choice import list_studies
from swin_umamba.inference.studies.options import StudyOptions
from swin_umamba.options import declared_options

LIST = ("predict", "-m", "model", "-o", "no/output", "--dry-run", "-i")


def described(*channels: str) -> str:
    """Return the ``dataset.json`` of a model."""
    names = {str(number): name for number, name in enumerate(channels)}
    return json.dumps({"channel_names": names, "labels": {"background": 0, "liver": 1}})


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder ``model`` in the current one, of a model whose weights nobody can read."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "model"
    (folder / "fold_0").mkdir(parents=True)
    (folder / "fold_0" / "checkpoint_final.pth").touch()
    (folder / "plans.json").write_text("{}")
    (folder / "dataset.json").write_text(described("MR"))
    return folder


def names(root: Path) -> list[str]:
    return [each.case.name for each in list_studies(root, FolderOptions()).series]


def test_names_depend_on_the_series_alone(tmp_path: Path) -> None:
    known = names(write_tree(tmp_path / "a"))
    assert len(set(known)) == len(TREE)
    assert names((tmp_path / "a").rename(tmp_path / "b")) == known
    Written("elsewhere", TREE[0].uid, number=1).write(tmp_path / "c" / "d")
    assert names(tmp_path / "c") == known[:1]


def test_names_are_file_names(tmp_path: Path) -> None:
    odd = Written("a", "1.2.3", modality="../MR", description="a/b\\c: 'Kr\u00fcger' " + "x" * 99)
    odd.write(tmp_path)
    Written("no uid", "", number=2).write(tmp_path)
    first, second = names(tmp_path)
    assert first.startswith("MR_1_a-b-c-Kr")
    assert all(letter.isascii() and (letter.isalnum() or letter in "-_") for letter in first + second)
    assert len(first) < 80


def test_the_planes_of_the_option_are_those_of_series() -> None:
    (plane,) = (each for each in declared_options(StudyOptions) if each.name == "plane")
    assert sorted(plane.choices) == sorted([*PLANE_NAMES, OBLIQUE])


def test_the_list_reads_no_weights_and_writes_nothing(
    tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = write_tree(tmp_path / "disc")
    (root / "PA0" / "ST0" / "SE0" / "IM01001").unlink()
    before = sorted(tmp_path.rglob("*"))
    assert main([*LIST, str(root), "--series-modality", "MR", "--min-slices", "3"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "3 of 5 series of 2 patient(s):"
    assert "patient 1, 3 images, axial 'T2 TSE': the slices are not evenly spaced" in lines[1]
    assert "patient 1, 4 images, sagittal 'T1 mprage'" in lines[2]
    assert lines[4] == "left out:"
    assert lines[5].endswith("'Thorax': its modality is not MR")
    assert lines[7] == "problem: DICOMDIR: 1 of 19 files that the DICOMDIR lists are not there"
    assert (
        lines[8]
        == "not images: 2 x not DICOM, 1 x Media Storage Directory Storage, 1 x Basic Text SR Storage"
    )
    assert main([*LIST, "disc", "--plane", "sagittal", "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert [each["status"] for each in content["series"]] == [
        *("left_out", "chosen", "left_out", "left_out", "left_out")
    ]
    assert content["series"][0]["reason"] == "its plane is not sagittal"
    assert sorted(tmp_path.rglob("*")) == before
    assert main([*LIST, "nowhere"]) == 1
    assert "there is no such folder" in capsys.readouterr().err


@pytest.mark.usefixtures("model")
def test_the_list_imports_no_torch(tmp_path: Path) -> None:
    write_tree(tmp_path / "disc")
    code = (
        "import sys\n"
        "from swin_umamba.cli.main import main\n"
        f"assert main([*{LIST}, 'disc', '--json']) == 0\n"
        "assert 'torch' not in sys.modules, 'imported'"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("changed", "more", "code", "said"),
    [
        ({}, ("-m", "nowhere"), 1, "the model does not exist"),
        ({"dataset.json": None}, (), 1, "plans.json or dataset.json is missing"),
        ({"fold_0/checkpoint_final.pth": None}, (), 1, "checkpoint_final.pth is missing in fold_0"),
        ({}, ("--fold", "0", "3"), 1, "the model has no fold_3"),
        ({}, ("--checkpoint", "checkpoint_7.pth"), 1, "checkpoint_7.pth is missing in fold_0"),
        ({"plans.json": "{"}, (), 1, "copy it again"),
        ({"dataset.json": "{}"}, (), 1, "the labels in dataset.json"),
        ({"dataset.json": described("T1", "T2")}, (), 2, "takes 2 channels (T1, T2)"),
        ({"dataset.json": described("R", "G", "B")}, (), 0, ""),
        ({}, ("-o", "disc/results"), 2, "would lie among the studies"),
        ({}, ("-o", "results.nii.gz"), 2, "the results of studies go into a folder"),
    ],
)
def test_the_list_refuses_what_the_prediction_would(
    model: Path,
    capsys: pytest.CaptureFixture[str],
    changed: dict[str, str | None],
    more: tuple[str, ...],
    code: int,
    said: str,
) -> None:
    for name, content in changed.items():
        if content is None:
            (model / name).unlink()
        else:
            (model / name).write_text(content)
    write_tree(model.parent / "disc")
    assert main([*LIST, "disc", *more]) == code
    captured = capsys.readouterr()
    assert said in captured.err
    assert bool(captured.out) == (code == 0)


@pytest.mark.usefixtures("model")
def test_the_list_foresees_what_is_no_source_of_a_segmentation(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("highdicom", reason="highdicom is not installed")
    for number, more in enumerate(
        (
            {},
            {0x00200052: ("UI", "")},
            {0x00200052: ("UI", r"1.2\3.4")},
            {0x00100020: ("LO", r"A\B")},
            {0x00080018: ("UI", "1.2.3.4")},
        )
    ):
        Written(str(number), f"1.3.{number}", number=number, more=more).write(tmp_path / "disc")
    assert main([*LIST, "disc", "--json"]) == 0
    assert {each["status"] for each in json.loads(capsys.readouterr().out)["series"]} == {"chosen"}
    assert main([*LIST, "disc", "--json", "--format", "dicom-seg"]) == 0
    fine, *refused = json.loads(capsys.readouterr().out)["series"]
    assert (fine["status"], fine["reason"]) == ("chosen", None)
    assert [each["status"] for each in refused] == ["failed"] * 4
    for each, words in zip(
        refused,
        ("no frame of reference", "can be made of the headers", "values of PatientID", "same SOPInstanceUID"),
        strict=True,
    ):
        assert words in each["reason"]
        assert each["hint"]
    monkeypatch.setitem(sys.modules, "highdicom", None)
    assert main([*LIST, "disc", "--format", "dicom-seg"]) == 2
    assert "need highdicom" in capsys.readouterr().err


def test_a_folder_of_several_series_says_how_to_choose(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from swin_umamba.data.image_io import read_image
    from swin_umamba.errors import DataError

    with pytest.raises(DataError, match="predict --studies"):
        read_image(write_tree(tmp_path / "disc"))


def test_the_options_are_one_group(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        build_parser().parse_args(["predict", "--help"])
    text = capsys.readouterr().out
    group = text[text.index("trees of DICOM studies:") :].partition("\n\n\n")[0]
    for each in declared_options(StudyOptions):
        assert text.count(f"\n  {each.flags[0]}") == 1
        assert f"\n  {each.flags[0]}" in group
