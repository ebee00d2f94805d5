"""The records of formats: a format is added with its record alone, and every command takes it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from swin_umamba.cli.main import main
from swin_umamba.data import formats
from swin_umamba.data.formats import Format, format_of, label_suffix, register_format
from swin_umamba.data.image_io import Image, list_images, read_image, read_labels, write_image, write_labels
from swin_umamba.errors import DataError
from trained.model_folder import make_model_folder


def read_plain_text(path: Path, *, indexed: bool, max_voxels: int) -> Image:
    """Read a table of whole numbers: a format that nobody else has."""
    data = np.loadtxt(path, dtype=np.uint8, ndmin=2)
    if data.size > max_voxels:
        raise DataError("too large", where=path)
    return Image.without_geometry(data[None], path)


def encode_plain_text(data: np.ndarray, like: Image, suffix: str) -> bytes | None:
    if data.ndim != 3 or len(data) != 1:
        return None
    return "\n".join(" ".join(map(str, row)) for row in data[0].tolist()).encode() + b"\n"


@pytest.fixture
def made_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A format of plain text, registered from outside the package."""
    monkeypatch.setattr(formats, "FORMATS", list(formats.FORMATS))
    register_format(
        Format("numbers", (".numbers",), read_plain_text, encode_plain_text, True, False, ".numbers")
    )


@pytest.mark.parametrize(
    ("image", "preferred", "expected"),
    [
        ("a.nii", ".nii.gz", ".nii.gz"),
        ("a.nii", ".nii", ".nii"),
        ("a.nii.gz", ".png", ".nii.gz"),
        ("a.jpg", ".jpg", ".png"),
        ("a.bmp", "", ".png"),
        ("a.tiff", ".nii.gz", ".tif"),
        ("a.tif", ".png", ".png"),
        ("a.PNG", ".tif", ".tif"),
    ],
)
def test_what_label_maps_are_written_as(image: str, preferred: str, expected: str) -> None:
    assert label_suffix(image, preferred) == expected


def test_a_suffix_has_one_format() -> None:
    assert format_of("A.NII.GZ").name == "NIfTI"
    suffixes = formats.image_suffixes()
    assert len(suffixes) == len(set(suffixes))
    taken = Format("mine", (".mine", ".png"), read_plain_text, None, False, False, ".png")
    with pytest.raises(ValueError, match=r"\.png: there is a format"):
        register_format(taken)


@pytest.mark.usefixtures("made_up")
def test_a_made_up_format_is_read_and_written(tmp_path: Path) -> None:
    labels = np.arange(12, dtype=np.uint8).reshape(3, 4)
    image = Image.without_geometry(labels[None], tmp_path)
    write_image(tmp_path / "image.numbers", image)
    write_labels(tmp_path / "labels.numbers", labels, like=image)
    assert np.array_equal(read_image(tmp_path / "image.numbers").data[0], labels)
    assert np.array_equal(read_labels(tmp_path / "labels.numbers").data[0], labels)
    assert [path.name for path in list_images(tmp_path)] == ["image.numbers", "labels.numbers"]
    with pytest.raises(DataError, match="cannot hold an image"):
        write_image(tmp_path / "two.numbers", image.with_data(np.zeros((2, 3, 4), np.uint8)))


@pytest.mark.usefixtures("made_up")
def test_commands_take_a_made_up_format(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Convert, plan, predict and evaluate files of a format that no module of the package names."""
    random = np.random.default_rng(0)
    for number in range(3):
        mask = np.zeros((40, 44), np.uint8)
        mask[8 : 20 + number, 10:30] = 1
        grey = mask * 100 + random.integers(0, 50, mask.shape, dtype=np.uint8)
        image = Image.without_geometry(grey[None], tmp_path)
        write_image(tmp_path / "images" / f"case{number}.numbers", image)
        write_labels(tmp_path / "masks" / f"case{number}.numbers", mask, like=image)

    raw = tmp_path / "nnUNet_raw"
    convert = ["convert", "folder", "--images", tmp_path / "images", "--masks", tmp_path / "masks"]
    convert += ["-o", tmp_path, "--name", "Dataset905_Numbers"]
    assert main([str(each) for each in convert]) == 0, capsys.readouterr().err
    description = json.loads((raw / "Dataset905_Numbers" / "dataset.json").read_text())
    assert description["numTraining"] == 3
    assert main(["plan", "905", "--root", str(tmp_path), "--workers", "0"]) == 0, capsys.readouterr().err

    labels = {"background": 0, "foreground": 1}
    model = make_model_folder(tmp_path / "model", labels=labels, file_ending=".numbers")
    predict = ["predict", "-m", model, "-i", tmp_path / "images", "-o", tmp_path / "out", "--device", "cpu"]
    assert main([str(each) for each in predict]) == 0, capsys.readouterr().err
    assert read_labels(tmp_path / "out" / "case0.numbers").data.shape == (1, 40, 44)
    evaluate = ["evaluate", tmp_path / "masks", tmp_path / "masks", "--json"]
    capsys.readouterr()
    assert main([str(each) for each in evaluate]) == 0
    assert json.loads(capsys.readouterr().out)["classes"]["1"]["dice"] == 1.0


@pytest.mark.parametrize("document", ["README.md", "SECURITY.md", "docs/serve.md", "docs/formats.md"])
def test_documents_name_every_format(document: str) -> None:
    text = (Path(__file__).parents[2] / document).read_text(encoding="utf-8")
    assert [record.name for record in formats.FORMATS if record.name not in text] == []
