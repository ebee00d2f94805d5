from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage
from scipy import special

from swin_umamba.errors import DataError, OutputError, UsageError
from swin_umamba.evaluation.metrics import dice
from swin_umamba.fingerprint import fingerprint_of
from swin_umamba.inference.calibrate import calibrate
from swin_umamba.inference.predictor import Predictor
from swin_umamba.nnunet.resume.training_state import OWN_ENTRY
from swin_umamba.trained.calibration_file import read_calibration
from swin_umamba.trained.export_model import export_model
from swin_umamba.weights.checkpoint import load_checkpoint, save_checkpoint

MakeModel = Callable[..., Path]
NUM_CASES = 4


def write_picture(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    PillowImage.fromarray(values.astype(np.uint8)).save(path)


def truth_of(probabilities: np.ndarray, temperature: float, seed: int) -> np.ndarray:
    """Return labels that are drawn with the probabilities of the divided logits."""
    honest = special.softmax(np.log(probabilities) / temperature, axis=0)
    draws = np.random.default_rng(seed).random(honest.shape[1:])
    return (draws > np.cumsum(honest, axis=0)[:-1]).sum(axis=0)


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Return the folder of one data set in nnUNet_results."""
    return tmp_path / "nnUNet_results" / "Dataset999_Tiny"


@pytest.fixture
def model(tmp_path: Path, results: Path, make_model_at: Callable[..., Path]) -> Path:
    """Return a model whose data set is beside it; its validation cases have labels of temperature 2."""
    folder = make_model_at(results)
    raw = tmp_path / "nnUNet_raw" / "Dataset999_Tiny"
    predictor = Predictor.from_folder(folder, device="cpu")
    random = np.random.default_rng(5)
    for number in range(NUM_CASES + 1):
        image = np.round(random.normal(127, 60, (96, 80)).clip(0, 255))
        write_picture(raw / "imagesTr" / f"case{number}_0000.png", image)
        probabilities = predictor.predict(image.astype(np.uint8), probabilities=True).probabilities
        assert probabilities is not None
        write_picture(raw / "labelsTr" / f"case{number}.png", truth_of(probabilities, 2.0, number))
    splits = [{"train": [f"case{NUM_CASES}"], "val": [f"case{number}" for number in range(NUM_CASES)]}]
    preprocessed = tmp_path / "nnUNet_preprocessed" / "Dataset999_Tiny"
    preprocessed.mkdir(parents=True)
    (preprocessed / "splits_final.json").write_text(json.dumps(splits))
    return folder


def test_the_temperature_of_the_validation_cases(model: Path, tmp_path: Path) -> None:
    result = calibrate(Predictor.from_folder(model, device="cpu"))
    assert result.calibration.temperature == pytest.approx(2.0, rel=0.1)
    assert [each.case for each in result.cases] == [f"case{number}" for number in range(NUM_CASES)]
    assert result.curves.after.expected_calibration_error < result.curves.before.expected_calibration_error
    assert result.failures == ()
    again = Predictor.from_folder(model, device="cpu")
    assert again.model.temperature == result.calibration.temperature
    image = tmp_path / "nnUNet_raw" / "Dataset999_Tiny" / "imagesTr" / "case0_0000.png"
    found = again.predict(image, probabilities=True, confidence=True)
    assert found.confidence is not None
    assert found.confidence.calibrated
    scaled = special.softmax(np.log(found.probabilities) / result.calibration.temperature, axis=0)
    expected = special.entr(scaled).sum(axis=0) / np.log(3)
    np.testing.assert_allclose(found.confidence.entropy, expected, atol=1e-5)


def test_estimated_and_true_quality(model: Path, tmp_path: Path) -> None:
    predictor = Predictor.from_folder(model, device="cpu")
    result = calibrate(predictor)
    first, exponent = result.cases[0], result.calibration.quality_exponent
    assert exponent is not None
    raw = tmp_path / "nnUNet_raw" / "Dataset999_Tiny"
    found = predictor.predict(raw / "imagesTr" / "case0_0000.png", confidence=True)
    truth = np.asarray(PillowImage.open(raw / "labelsTr" / "case0.png"))
    scores = [dice(found.labels == value, truth == value) for value in (1, 2)]
    assert first.true == pytest.approx(np.nanmean(scores))
    assert first.raw == found.confidence.quality
    # Drawn labels are noise, so that the true Dice is far below the agreement.
    assert abs(first.calibrated - first.true) < abs(first.raw - first.true)
    again = Predictor.from_folder(model, device="cpu").predict(
        raw / "imagesTr" / "case0_0000.png", confidence=True
    )
    assert again.confidence is not None
    assert again.confidence.quality_calibrated
    assert again.confidence.class_agreement == found.confidence.class_agreement
    for name, agreement in found.confidence.class_agreement.items():
        assert again.confidence.class_quality[name] == pytest.approx(agreement**exponent)


def test_a_calibrated_model_is_calibrated_from_the_start(model: Path) -> None:
    first = calibrate(Predictor.from_folder(model, device="cpu"))
    again = calibrate(Predictor.from_folder(model, device="cpu"))
    assert (again.calibration, again.cases) == (first.calibration, first.cases)


def test_the_file_holds_what_a_report_needs(model: Path) -> None:
    result = calibrate(Predictor.from_folder(model, device="cpu"))
    _, content = read_calibration(result.file)
    assert content["mirroring"] is True
    assert content["pixels"] == NUM_CASES * 96 * 80
    assert [case["case"] for case in content["cases"]] == [each.case for each in result.cases]
    assert set(content["reliability"]) == {"before", "after", "structures_before", "structures_after"}
    assert sum(content["reliability"]["before"]["counts"]) == content["pixels"]


def test_other_labelled_cases(model: Path, tmp_path: Path) -> None:
    raw = tmp_path / "nnUNet_raw" / "Dataset999_Tiny"
    result = calibrate(
        Predictor.from_folder(model, device="cpu"), images=raw / "imagesTr", references=raw / "labelsTr"
    )
    assert len(result.cases) == NUM_CASES + 1


def test_a_damaged_case_is_named_and_left_out(model: Path, tmp_path: Path) -> None:
    label = tmp_path / "nnUNet_raw" / "Dataset999_Tiny" / "labelsTr" / "case1.png"
    write_picture(label, np.full((96, 80), 9))
    result = calibrate(Predictor.from_folder(model, device="cpu"))
    assert [case for case, _ in result.failures] == ["case1"]
    assert "not declared: 9" in result.failures[0][1]
    assert len(result.cases) == NUM_CASES - 1


def test_labels_that_do_not_fit_are_noticed(
    model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    calibrate(Predictor.from_folder(model, device="cpu"))
    assert "end of its range" not in caplog.text
    for path in (tmp_path / "nnUNet_raw" / "Dataset999_Tiny" / "labelsTr").iterdir():
        write_picture(path, np.zeros((96, 80)))
    assert calibrate(Predictor.from_folder(model, device="cpu")).calibration.temperature > 9.9
    assert "the temperature is at the end of its range, 10" in caplog.text


def test_a_folder_that_cannot_be_written_to_costs_no_predictions(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    predictor = Predictor.from_folder(model, device="cpu")
    monkeypatch.setattr("os.access", lambda path, mode: False)
    monkeypatch.setattr(predictor, "predict", None)
    with pytest.raises(OutputError, match="no permission"):
        calibrate(predictor)


def test_no_case_at_all(model: Path, tmp_path: Path) -> None:
    for number in range(NUM_CASES):
        label = tmp_path / "nnUNet_raw" / "Dataset999_Tiny" / "labelsTr" / f"case{number}.png"
        write_picture(label, np.full((96, 80), 9))
    with pytest.raises(DataError, match="no case could be used"):
        calibrate(Predictor.from_folder(model, device="cpu"))
    assert not (model / "fold_0" / "calibration.json").exists()


def test_a_missing_validation_case_is_named(model: Path, tmp_path: Path) -> None:
    (tmp_path / "nnUNet_raw" / "Dataset999_Tiny" / "labelsTr" / "case2.png").unlink()
    with pytest.raises(DataError, match="case2"):
        calibrate(Predictor.from_folder(model, device="cpu"))


def test_cases_that_it_was_trained_on_are_refused(tmp_path: Path, make_model_at: Callable[..., Path]) -> None:
    folder = make_model_at(tmp_path, folds=("all",))
    with pytest.raises(UsageError, match="fold_all has no cases") as error:
        calibrate(Predictor.from_folder(folder, device="cpu"))
    assert "--images" in str(error.value)


def test_splits_that_name_no_cases(model: Path, tmp_path: Path) -> None:
    splits = tmp_path / "nnUNet_preprocessed" / "Dataset999_Tiny" / "splits_final.json"
    for content in ("[]", "{", "[[]]", '{"0": 1}'):
        splits.write_text(content)
        with pytest.raises(UsageError, match="no validation cases of fold_0"):
            calibrate(Predictor.from_folder(model, device="cpu"))
    splits.unlink()
    with pytest.raises(UsageError, match="are not there"):
        calibrate(Predictor.from_folder(model, device="cpu"))


def test_splits_of_after_the_training_are_refused(model: Path) -> None:
    checkpoint = model / "fold_0" / "checkpoint_final.pth"
    content = load_checkpoint(checkpoint)
    save_checkpoint(checkpoint, {**content, OWN_ENTRY: {"cases": {"validation": fingerprint_of(["other"])}}})
    with pytest.raises(UsageError, match="may have been trained on its validation cases"):
        calibrate(Predictor.from_folder(model, device="cpu"))


def test_one_folder_alone(model: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="both folders"):
        calibrate(Predictor.from_folder(model, device="cpu"), images=tmp_path)


def test_several_folds_at_once(tmp_path: Path, make_model_at: Callable[..., Path]) -> None:
    with pytest.raises(UsageError, match="one by one"):
        calibrate(Predictor.from_folder(make_model_at(tmp_path, folds=(0, 1)), device="cpu"))


def test_an_exported_model_takes_its_temperature_along(model: Path, tmp_path: Path) -> None:
    result = calibrate(Predictor.from_folder(model, device="cpu"))
    export_model(model, tmp_path / "model.safetensors")
    exported = Predictor.from_folder(tmp_path / "model.safetensors", device="cpu")
    assert exported.model.calibrations == (result.calibration,)
    with pytest.raises(UsageError, match="not calibrated by itself"):
        calibrate(exported, images=tmp_path, references=tmp_path)
