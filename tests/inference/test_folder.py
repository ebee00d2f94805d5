from __future__ import annotations

import itertools
import time
import weakref
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import tifffile
from PIL import Image as PillowImage

from cli.command_line import parsed
from swin_umamba.cli import predict
from swin_umamba.data.image_io import read_labels
from swin_umamba.errors import OutputError, UsageError
from swin_umamba.inference import case_run, pipeline, records
from swin_umamba.inference.predictor import Predictor
from swin_umamba.inference.records import read_records
from swin_umamba.inference.stages import pass_through
from swin_umamba.trained.volume import Volume

MakeModel = Callable[..., Path]


@pytest.fixture
def one(make_model: MakeModel) -> Predictor:
    return Predictor.from_folder(make_model(), device="cpu", mirroring=False)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Return a folder of three grey pictures."""
    folder = tmp_path / "images"
    folder.mkdir()
    generator = np.random.default_rng(0)
    for name in "abc":
        PillowImage.fromarray(generator.integers(0, 255, (40, 50), np.uint8)).save(folder / f"{name}.png")
    return folder


def test_every_picture_gets_its_labels(one: Predictor, images: Path, tmp_path: Path) -> None:
    results = one.predict_folder(images, tmp_path / "out")
    assert [(result.case, result.status) for result in results] == [
        ("a", "written"),
        ("b", "written"),
        ("c", "written"),
    ]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "a.png",
        "b.png",
        "c.png",
        "predictions.jsonl",
    ]
    for result in results:
        labels = read_labels(result.output).data[0]
        assert np.array_equal(labels, one.predict(result.files[0]).labels)


def test_a_corrupt_image_fails_alone(one: Predictor, images: Path, tmp_path: Path) -> None:
    content = (images / "b.png").read_bytes()
    (images / "b.png").write_bytes(content[: len(content) // 2])
    results = one.predict_folder(images, tmp_path / "out")
    assert [result.status for result in results] == ["written", "failed", "written"]
    assert "b.png" in str(results[1].error)
    assert sorted(path.name for path in (tmp_path / "out").glob("*.png")) == ["a.png", "c.png"]


def test_a_file_as_output_folder_is_found_before_any_work(
    one: Predictor, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Predictor, "predict", None)
    (tmp_path / "out").write_text("mine")
    with pytest.raises(OutputError, match="a file, not a folder"):
        one.predict_folder(images, tmp_path / "out")


def test_wrong_channels_fail_alone(one: Predictor, images: Path, tmp_path: Path) -> None:
    PillowImage.fromarray(np.zeros((40, 50, 3), np.uint8)).save(images / "colour.png")
    results = {result.case: result for result in one.predict_folder(images, tmp_path / "out")}
    assert results["colour"].status == "failed"
    assert "3 channels, but the model takes 1: grey" in str(results["colour"].error)
    assert results["c"].status == "written"


def test_an_unexpected_error_fails_alone(
    one: Predictor, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    preprocess = one.plans.preprocess

    def fails_on_b(volume: Volume, max_voxels: int) -> object:
        if volume.source is not None and volume.source.path.name == "b.png":
            raise ZeroDivisionError("by zero")
        return preprocess(volume, max_voxels)

    monkeypatch.setattr(one.plans, "preprocess", fails_on_b)
    results = one.predict_folder(images, tmp_path / "out")
    assert [result.status for result in results] == ["written", "failed", "written"]
    assert "unexpected ZeroDivisionError: by zero" in str(results[1].error)


def test_an_unwritable_output_stops_everything(one: Predictor, images: Path, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file where the folder should be")
    with pytest.raises(OutputError):
        one.predict_folder(images, tmp_path / "out")


@pytest.mark.parametrize("ahead", [0, 16])
def test_a_folder_that_is_removed_meanwhile_is_not_made_again(
    one: Predictor, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ahead: int
) -> None:
    """Whether the next case is read before that, or after."""
    out, seen = tmp_path / "out", []

    def removes(*given: object) -> object:
        seen.append(given)
        if len(seen) == 2:
            while read_records(out)["a"]["status"] != "written":
                time.sleep(0.01)
            out.rename(tmp_path / "elsewhere")
        return pass_through(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(case_run, "pass_through", removes)
    monkeypatch.setattr(pipeline, "AHEAD", max(ahead, 1))
    with pytest.raises(OutputError, match="removed while results were written") as caught:
        one.predict_folder(images, out, overwrite=True, confidence=True)
    assert caught.value.where == str(out)
    assert not out.exists()
    monkeypatch.undo()
    assert [each.status for each in one.predict_folder(images, out)] == ["written"] * 3


@pytest.mark.parametrize("appended", range(1, 6))
def test_a_folder_may_be_removed_before_any_line_of_its_record(
    one: Predictor, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, appended: int
) -> None:
    out, append = tmp_path / "out", records.append_line
    counts = itertools.count()

    def removes(*given: Any, **options: Any) -> None:
        if next(counts) == appended:
            out.rename(tmp_path / "elsewhere")
        append(*given, **options)

    monkeypatch.setattr(records, "append_line", removes)
    with pytest.raises(OutputError, match="removed while results were written"):
        one.predict_folder(images, out, confidence=True)
    assert not out.exists()


def test_clashing_names_write_nothing(one: Predictor, images: Path, tmp_path: Path) -> None:
    PillowImage.open(images / "a.png").save(images / "a.bmp")
    with pytest.raises(UsageError, match="both be written"):
        one.predict_folder(images, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_probabilities_are_written(one: Predictor, images: Path, tmp_path: Path) -> None:
    one.predict_folder(images / "a.png", tmp_path / "out", probabilities=True)
    probabilities = np.load(tmp_path / "out/a.npz")["probabilities"]
    assert probabilities.shape == (3, 1, 40, 50), "as nnU-Net writes them"
    np.testing.assert_allclose(probabilities.sum(0), 1, atol=1e-5)
    assert np.array_equal(probabilities.argmax(0), read_labels(tmp_path / "out/a.png").data)


def test_previews_are_drawn_also_of_kept_results(one: Predictor, images: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    one.predict_folder(images, out, preview=True)
    assert sorted(path.name for path in out.iterdir()) == [
        "a.png",
        "b.png",
        "c.png",
        "predictions.jsonl",
        "previews",
    ]
    assert PillowImage.open(out / "previews/a.png").size == (512, 410)
    (out / "previews/b.png").unlink()
    content = (out / "b.png").read_bytes()
    results = one.predict_folder(images, out, preview=True)
    assert [result.status for result in results] == ["kept"] * 3
    assert (out / "b.png").read_bytes() == content
    assert (out / "previews/b.png").is_file()


def test_a_volume_keeps_its_geometry(make_model: MakeModel, tmp_path: Path) -> None:
    one = Predictor.from_folder(make_model(channels=("T1", "T2"), file_ending=".nii.gz"), device="cpu")
    affine = np.array([[0.0, -1.0, 0.0, 10.0], [1.5, 0.0, 0.0, -5.0], [0.0, 0.0, 4.0, 3.0], [0, 0, 0, 1.0]])
    (tmp_path / "in").mkdir()
    for channel in range(2):
        volume = np.random.default_rng(channel).normal(size=(50, 40, 3)).astype(np.float32)
        nibabel.save(nibabel.Nifti1Image(volume, affine), tmp_path / f"in/case_000{channel}.nii.gz")
    (result,) = one.predict_folder(tmp_path / "in", tmp_path / "out")
    assert result.output == tmp_path / "out/case.nii.gz"
    labels = nibabel.load(result.output)
    assert labels.shape == (50, 40, 3)
    np.testing.assert_allclose(labels.affine, affine)
    assert labels.get_data_dtype() == np.uint8


def test_the_command(
    make_model: MakeModel, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (images / "b.png").write_bytes(b"damaged")
    options = ["-m", make_model(), "-i", images, "-o", tmp_path / "out", "--device", "cpu", "--no-mirroring"]
    assert predict.run(parsed(predict, *options)) == 1
    captured = capsys.readouterr()
    assert captured.out.startswith("2 of 3 cases written")
    assert "b.png" in captured.err
    assert sorted(path.name for path in (tmp_path / "out").glob("*.png")) == ["a.png", "c.png"]


def test_every_case_is_recorded(one: Predictor, images: Path, tmp_path: Path) -> None:
    (images / "b.png").write_bytes(b"no picture")
    results = one.predict_folder(images, tmp_path / "out")
    records = read_records(tmp_path / "out")
    assert list(records) == ["a", "b", "c"]
    assert [records[case]["status"] for case in "abc"] == ["written", "failed", "written"]
    assert records["a"]["labels"] == "a.png"
    assert records["a"]["inputs"] == ["a.png"]
    assert records["a"]["seconds"] == pytest.approx(results[0].seconds, abs=1e-3)
    assert records["a"]["confidence"] is None
    assert records["b"]["labels"] is None
    assert "PNG" in records["b"]["error"]["what"]
    assert datetime.fromisoformat(records["c"]["finished"]).utcoffset() == timedelta(0)


def test_a_single_result_file_has_no_record_beside_it(one: Predictor, images: Path, tmp_path: Path) -> None:
    one.predict_folder(images / "a.png", tmp_path / "out" / "labels.png", confidence=True)
    assert sorted(str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.*")) == [
        "entropy/labels.tif",
        "labels.png",
    ]


def test_confidence_of_pictures(make_model: MakeModel, images: Path, tmp_path: Path) -> None:
    model = Predictor.from_folder(make_model(), device="cpu")
    results = model.predict_folder(images, tmp_path / "out", confidence=True)
    for result in results:
        expected = model.predict(result.files[0], confidence=True)
        assert expected.confidence is not None
        assert np.array_equal(read_labels(result.output).data[0], expected.labels)
        written = tifffile.imread(tmp_path / "out" / "entropy" / f"{result.case}.tif")
        assert written.dtype == np.float32
        assert np.array_equal(written, expected.confidence.entropy)
        assert result.confidence == {
            "quality": expected.confidence.quality,
            "class_quality": expected.confidence.class_quality,
            "mean_entropy": pytest.approx(float(expected.confidence.entropy.mean())),
            "num_members": 4,
            "temperature": 1.0,
            "quality_exponent": 1.0,
            "calibrated": False,
            "quality_calibrated": False,
        }
        assert read_records(tmp_path / "out")[result.case]["confidence"] == result.confidence


def test_confidence_of_a_volume_has_its_geometry(make_model: MakeModel, tmp_path: Path) -> None:
    model = Predictor.from_folder(make_model(file_ending=".nii.gz"), device="cpu")
    affine = np.array([[0, 0, 3.0, 5], [0.8, 0, 0, -2], [0, 0.9, 0, 1], [0, 0, 0, 1]])
    values = np.random.default_rng(0).normal(size=(40, 50, 3)).astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(values, affine), tmp_path / "volume.nii.gz")
    model.predict_folder(tmp_path / "volume.nii.gz", tmp_path / "out", confidence=True)
    written = nibabel.load(tmp_path / "out" / "entropy" / "volume.nii.gz")
    assert np.array_equal(written.affine, affine.astype(np.float32))
    entropy = model.predict(tmp_path / "volume.nii.gz", confidence=True).confidence.entropy
    assert np.array_equal(np.asarray(written.dataobj), entropy.transpose())


def test_what_lacks_confidence_is_predicted_again(
    make_model: MakeModel, images: Path, tmp_path: Path
) -> None:
    model = Predictor.from_folder(make_model(), device="cpu")
    model.predict_folder(images, tmp_path / "out")
    first = model.predict_folder(images, tmp_path / "out", confidence=True)
    assert {result.status for result in first} == {"written"}
    again = model.predict_folder(images, tmp_path / "out", confidence=True)
    assert {result.status for result in again} == {"kept"}
    assert [result.confidence for result in again] == [result.confidence for result in first]
    assert len((tmp_path / "out" / "predictions.jsonl").read_text().splitlines()) == 3


def test_half_a_line_of_a_killed_run_is_dropped(one: Predictor, images: Path, tmp_path: Path) -> None:
    one.predict_folder(images / "a.png", tmp_path / "out")
    record = tmp_path / "out" / "predictions.jsonl"
    record.write_bytes(record.read_bytes() + b'{"case": "b", "sta')
    one.predict_folder(images, tmp_path / "out")
    assert list(read_records(tmp_path / "out")) == ["a", "b", "c"]
    assert len(record.read_text().splitlines()) == 3


def test_a_failed_case_keeps_no_memory(
    one: Predictor, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its error is kept until the folder is done, but not the arrays that were being worked on."""
    arrays: list[weakref.ref[np.ndarray]] = []

    def fail(data: np.ndarray, *_: object) -> None:
        large = np.zeros(1000)
        arrays.append(weakref.ref(large))
        try:
            raise RuntimeError("not enough memory")
        except RuntimeError as error:
            raise MemoryError from error

    monkeypatch.setattr(one.plans, "preprocess", fail)
    results = one.predict_folder(images, tmp_path / "out")
    assert [result.status for result in results] == ["failed"] * 3
    assert "not enough memory" in str(results[0].error)
    assert len(arrays) >= 3  # there may be more memory once others are done, so some are tried twice
    assert not [each for each in arrays if each() is not None]
