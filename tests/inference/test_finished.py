"""Results that are there already: kept, made again, or neither, by what they are and were made from."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
import tifffile
from PIL import Image as PillowImage

from swin_umamba.data.image_io import read_labels
from swin_umamba.errors import DataError, UsageError
from swin_umamba.inference import case_run
from swin_umamba.inference.case_result import CaseResult
from swin_umamba.inference.predictor import Predictor
from swin_umamba.inference.records import RECORDS_FILE

MakeModel = Callable[..., Path]


def picture(path: Path, seed: int) -> None:
    values = np.random.default_rng(seed).integers(0, 255, (40, 50), np.uint8)
    PillowImage.fromarray(values).save(path)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    (tmp_path / "images").mkdir()
    picture(tmp_path / "images" / "a.png", 1)
    return tmp_path / "images"


@pytest.fixture
def one(make_model: MakeModel) -> Predictor:
    return Predictor.from_folder(make_model(), device="cpu", mirroring=False)


Run = Callable[..., CaseResult]


@pytest.fixture
def run(one: Predictor, images: Path, tmp_path: Path) -> Run:
    """Predict the one case again, perhaps with another predictor."""

    def again(predictor: Predictor = one, **options: bool) -> CaseResult:
        return predictor.predict_folder(images, tmp_path / "out", **options)[0]

    assert again().status == "written"
    return again


def test_a_finished_result_is_kept_wherever_the_files_lie(
    run: Run, one: Predictor, images: Path, tmp_path: Path
) -> None:
    assert run().status == "kept"
    images.rename(tmp_path / "moved")
    assert one.predict_folder(tmp_path / "moved", tmp_path / "out")[0].status == "kept"
    assert len((tmp_path / "out" / RECORDS_FILE).read_text().splitlines()) == 1


@pytest.mark.parametrize("length", [0, 1, 30, -1])
def test_a_result_that_is_cut_off_is_made_anew(run: Run, tmp_path: Path, length: int) -> None:
    labels = tmp_path / "out" / "a.png"
    whole = labels.read_bytes()
    labels.write_bytes(whole[:length])
    assert run().status == "written"
    assert labels.read_bytes() == whole
    (tmp_path / "out" / RECORDS_FILE).unlink()
    labels.write_bytes(whole[:length])
    assert run().status == "written", "also where nothing is recorded"


@pytest.mark.parametrize("option", ["probabilities", "confidence"])
def test_all_files_must_be_whole(run: Run, tmp_path: Path, option: str) -> None:
    wanted = {option: True}
    assert [run(**wanted).status, run(**wanted).status, run().status] == ["written", "kept", "kept"]
    file = tmp_path / "out" / ("a.npz" if option == "probabilities" else "entropy/a.tif")
    file.write_bytes(file.read_bytes()[:-5])
    assert run().status == "kept"
    assert [run(**wanted).status, run(**wanted).status] == ["written", "kept"]


def test_results_of_another_input_model_or_options_are_made_anew(
    run: Run, images: Path, tmp_path: Path, make_model_at: MakeModel, caplog: pytest.LogCaptureFixture
) -> None:
    picture(images / "a.png", 2)
    assert [run().status, run().status] == ["written", "kept"]
    assert "is of another input and is made again" in caplog.text
    folder = make_model_at(tmp_path / "other", folds=(0, 1))
    for options, said in (({"mirroring": False}, "another model"), ({"mirroring": True}, "another options")):
        other = Predictor.from_folder(folder, device="cpu", **options)
        assert [run(other).status, run(other).status] == ["written", "kept"]
        assert f"is of {said} and is made again" in caplog.text


def test_a_killed_run_leaves_nothing_that_counts(run: Run, tmp_path: Path) -> None:
    records = tmp_path / "out" / RECORDS_FILE
    record = json.loads(records.read_text())
    records.write_text(json.dumps({**record, "status": "started", "files": None}) + "\n")
    assert run().status == "written"


def test_what_somebody_has_corrected_is_kept_and_never_replaced_unasked(
    run: Run, images: Path, tmp_path: Path
) -> None:
    labels = tmp_path / "out" / "a.png"
    corrected = 1 - np.minimum(read_labels(labels).data[0], 1)
    PillowImage.fromarray(corrected.astype(np.uint8)).save(labels)
    mine = labels.read_bytes()
    assert run().status == "kept"
    for spoil in (lambda: picture(images / "a.png", 3), (tmp_path / "out" / RECORDS_FILE).unlink):
        spoil()
        result = run()
        assert result.status == "failed"
        assert result.error is not None
        assert "--overwrite" in str(result.error)
        assert labels.read_bytes() == mine
    assert run(overwrite=True).status == "written"
    assert run().status == "kept"


def volume(path: Path, seed: int = 4) -> Path:
    values = np.random.default_rng(seed).normal(size=(40, 50, 1)).astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), path)
    return path


def names_in(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_a_result_in_another_format_is_replaced_only_if_asked_and_after_the_new_one(
    run: Run, one: Predictor, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, options = tmp_path / "out", {"confidence": True, "instances": True}
    assert run(**options).status == "written"
    before = names_in(out)
    assert {"a.png", "entropy/a.tif", "instances/a.tif"} <= set(before)
    (images / "a.png").unlink()
    volume(images / "a.nii.gz")
    result = run()
    assert result.status == "failed"
    assert result.error is not None
    assert result.error.what == "there is a result of this case in another format"
    assert result.error.where == str(out / "a.png")
    assert "--overwrite" in (result.error.hint or "")
    assert names_in(out) == before

    def fails(*given: object) -> None:
        raise DataError("no", where="a", hint="no")

    with monkeypatch.context() as patched:
        patched.setattr(case_run, "write_labels", fails)
        assert run(overwrite=True).status == "failed"
    assert names_in(out) == before
    assert run(overwrite=True).status == "written"
    # The table of objects has one name, whatever the format.
    assert names_in(out) == ["a.nii.gz", "objects.csv", "objects/a.csv", RECORDS_FILE]
    assert run().status == "kept"


def test_the_spacing_file_of_a_tiff_volume_goes_with_it(
    make_model: MakeModel, images: Path, tmp_path: Path
) -> None:
    one = Predictor.from_folder(make_model(file_ending=".tif"), device="cpu", mirroring=False)
    out, options = tmp_path / "volumes", {"confidence": True, "instances": True}
    (images / "a.png").unlink()
    for name in ("a", "b"):
        slices = np.arange(6000, dtype=np.uint16).reshape(3, 40, 50)
        tifffile.imwrite(images / f"{name}_0000.tif", slices, photometric="minisblack")
        (images / f"{name}.json").write_text('{"spacing": [2.0, 0.5, 0.5]}')
    results = one.predict_folder(images, out, **options)
    assert [each.error for each in results] == [None, None]
    beside = {"a.json", "instances/a.json", "entropy/a.json"}
    assert beside <= set(names_in(out))
    (out / "b.json").write_text('{"spacing": [2.0, 0.5, 0.5], "mine": 1}')
    (out / "entropy" / "b.json").write_text("mine")
    for path in images.iterdir():
        path.unlink()
    for name in ("a", "b"):
        volume(images / f"{name}.nii.gz")
    results = one.predict_folder(images, out, overwrite=True)
    assert [each.output.name for each in results] == ["a.nii.gz", "b.nii.gz"]
    left = [name for name in names_in(out) if name.endswith((".json", ".tif"))]
    assert left == ["b.json", "entropy/b.json"]  # somebody keeps something else there


def test_what_is_not_known_to_be_a_result_is_never_removed(run: Run, tmp_path: Path) -> None:
    """Not even if the record, which anybody may have written, names files elsewhere."""
    mine = volume(tmp_path / "out" / "a.nii.gz")
    for _ in range(2):
        result = run(overwrite=True)
        assert result.status == "failed"
        assert result.error is not None
        assert "nobody recorded that it is one" in result.error.what
        assert "--overwrite" not in (result.error.hint or "")
    records = tmp_path / "out" / RECORDS_FILE
    record = json.loads(records.read_text())
    elsewhere = tmp_path / "elsewhere.png"
    elsewhere.write_text("mine")
    files = {**record["files"], "../elsewhere.png": "0" * 64, str(elsewhere): "0" * 64, "a.nii.gz": "0" * 64}
    records.write_text(json.dumps({**record, "files": files}) + "\n")
    assert run(overwrite=True).status == "written"
    assert not mine.exists()
    assert elsewhere.read_text() == "mine"


def test_a_single_file_may_lie_beside_another(run: Run, one: Predictor, images: Path, tmp_path: Path) -> None:
    (result,) = one.predict_folder(images, tmp_path / "out" / "a.tif")
    assert (result.status, names_in(tmp_path / "out")) == ("written", ["a.png", "a.tif", RECORDS_FILE])


def test_two_images_of_one_name_are_refused(run: Run, images: Path, tmp_path: Path) -> None:
    """One record, one table and one preview would be of both."""
    volume(images / "a.nii.gz")
    with pytest.raises(UsageError, match="would both be written as a"):
        run()
