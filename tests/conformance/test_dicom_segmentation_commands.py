"""DICOM segmentations in every command that takes label maps; those of an image's space and grid."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as PillowImage

from conformance.dicom_files import Slice, write_series
from conformance.dicom_segmentations import write_segmentation_file
from swin_umamba.data.image_io import read_image, read_labels, write_labels

Run = Callable[..., tuple[int, str, str]]
OBLIQUE = (0.8, 0.6, 0.0, -0.36, 0.48, 0.8)
NORMAL = np.cross(OBLIQUE[:3], OBLIQUE[3:])
NAMES = {1: "liver", 2: "spleen"}
VOLUME = np.random.default_rng(5).integers(0, 500, (4, 12, 10))
LABELS = np.zeros(VOLUME.shape, np.uint8)
LABELS[1:3, 2:8, 1:5], LABELS[2:, 4:9, 6:9] = 1, 2
SPACE = {0x00200052: ("UI", "1.2.3.77")}


def slices(numbers: np.ndarray) -> list[Slice]:
    starts = [np.array((-7.25, 11.5, 3.0)) + 2.5 * index * NORMAL for index in range(len(numbers))]
    return [
        Slice(each, start, OBLIQUE, (0.75, 0.5), more=SPACE)
        for each, start in zip(numbers, starts, strict=True)
    ]


def segments(
    path: Path, labels: np.ndarray = LABELS, kind: str = "BINARY", most: int = 1, **options: Any
) -> Path:
    """Write a frame for each slice and segment that it has, the last first."""
    masks = [(number, slices((labels == number) * most)) for number in NAMES]
    frames = [(number, each) for number, found in masks for each in found[::-1] if each.numbers.any()]
    return write_segmentation_file(path, frames, NAMES, kind, **options)


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    for name in ("anna", "bert"):
        write_series(tmp_path / "scans" / name, slices(VOLUME))
    return tmp_path / "scans"


def test_evaluate(tmp_path: Path, scans: Path, run: Run) -> None:
    """Against NIfTI and against each other, whichever covers more slices; each of the two ways round."""
    smaller = np.where(np.arange(4)[:, None, None] == 3, 0, LABELS)
    for name in ("anna", "bert"):
        image = read_image(scans / name)
        write_labels(tmp_path / "nifti" / f"{name}.nii.gz", LABELS, like=image)
        segments(tmp_path / "seg" / f"{name}.dcm", smaller)
        segments(tmp_path / "whole" / name / "IM0001", LABELS)
    inside, truth = (smaller == 2).sum(), (LABELS == 2).sum()
    expected = 2 * inside / (inside + truth)
    for one, other in (("seg", "nifti"), ("nifti", "seg"), ("seg", "whole"), ("whole", "seg")):
        code, output, errors = run("evaluate", tmp_path / one, tmp_path / other, "--json")
        assert code == 0, errors
        scores = json.loads(output)["cases"]["bert"]
        assert scores["liver"]["dice"] == 1
        assert scores["spleen"]["dice"] == pytest.approx(expected)


def test_evaluate_in_another_space(tmp_path: Path, run: Run) -> None:
    segments(tmp_path / "a" / "anna.dcm")
    segments(tmp_path / "b" / "anna.dcm", more={0x00200052: ("UI", "1.2.3.78")})
    code, _, errors = run("evaluate", tmp_path / "a", tmp_path / "b")
    assert code == 1
    assert "another frame of reference" in errors


def test_fractions_need_a_threshold(tmp_path: Path, scans: Path, run: Run) -> None:
    segments(tmp_path / "seg" / "anna.dcm", kind="FRACTIONAL", most=150)
    segments(tmp_path / "truth" / "anna.dcm")
    mask, out = tmp_path / "seg" / "anna.dcm", tmp_path / "a.png"
    for command in (
        ("evaluate", tmp_path / "seg", tmp_path / "truth"),
        ("statistics", mask),
        ("statistics", tmp_path / "seg"),
        ("preview", scans / "anna", mask, "-o", out, "--overwrite"),
    ):
        code, _, errors = run(*command)
        assert (code, "needs a threshold" in errors) == (1, True), command
        assert run(*command, "--fraction", "0.5")[0] == 0
        assert run(*command, "--fraction", "1.5")[0] == 2
    found = json.loads(run("statistics", mask, "--fraction", "0.5", "--json")[1])
    assert [each["pixels"] for each in found["classes"]] == [(LABELS == 1).sum(), (LABELS == 2).sum()]
    none = json.loads(run("statistics", mask, "--fraction", "0.6", "--json")[1])
    assert [each["pixels"] for each in none["classes"]] == [0, 0]


def test_statistics_and_preview(tmp_path: Path, scans: Path, run: Run) -> None:
    mask = segments(tmp_path / "anna.dcm")
    code, output, _ = run("statistics", mask, scans / "anna", "--json")
    assert code == 0
    (liver, spleen) = json.loads(output)["classes"]
    for each, number in ((liver, 1), (spleen, 2)):
        inside = number == LABELS
        assert each["pixels"] == inside.sum()
        assert each["size"] == pytest.approx(inside.sum() * 0.75 * 0.5 * 2.5)
        assert each["intensities"][0]["mean"] == pytest.approx(VOLUME[inside].mean())
    pictures = []
    image = read_image(scans / "anna")
    write_labels(tmp_path / "anna.nii.gz", LABELS, like=image)
    for number, labels in enumerate((mask, tmp_path / "anna.nii.gz")):
        picture = tmp_path / f"{number}.png"
        assert run("preview", scans / "anna", labels, "-o", picture)[0] == 0
        pictures.append(np.asarray(PillowImage.open(picture)))
    np.testing.assert_array_equal(*pictures)
    other = slices(VOLUME[:, :6])
    write_series(tmp_path / "other", other)
    code, _, errors = run("preview", tmp_path / "other", mask, "-o", tmp_path / "b.png")
    assert (code, "another grid" in errors) == (1, True)


def test_statistics_of_a_folder(tmp_path: Path, run: Run) -> None:
    for name in ("anna", "bert"):
        segments(tmp_path / "seg" / f"{name}.dcm")
    assert run("statistics", tmp_path / "seg", "-o", tmp_path / "a.csv")[0] == 0
    with (tmp_path / "a.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["case"] for row in rows] == ["anna", "anna", "bert", "bert"]


@pytest.mark.parametrize("layout", ["files", "folders"])
def test_convert(tmp_path: Path, scans: Path, run: Run, layout: str) -> None:
    for name in ("anna", "bert"):
        masks = tmp_path / "masks"
        segments(masks / f"{name}.dcm" if layout == "files" else masks / name / "1.2.3.dcm")
    arguments = ("convert", "folder", "--images", scans, "--masks", tmp_path / "masks", "-o", tmp_path)
    code, _, errors = run(*arguments, "--name", "Dataset905_Scans")
    assert code == 0, errors
    folder = tmp_path / "nnUNet_raw" / "Dataset905_Scans"
    assert json.loads((folder / "dataset.json").read_text())["labels"] == {
        "background": 0,
        "liver": 1,
        "spleen": 2,
    }
    for name in ("anna", "bert"):
        labels, image = read_labels(folder / "labelsTr" / f"{name}.nii.gz"), read_image(scans / name)
        np.testing.assert_array_equal(labels.data[0], LABELS)
        np.testing.assert_allclose(labels.origin, image.origin, atol=1e-4)
