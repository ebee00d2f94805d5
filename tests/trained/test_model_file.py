"""A model in one file gives the numbers of its folder; what was changed or is hostile is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from swin_umamba.errors import CheckpointError, OutputError, UsageError
from swin_umamba.inference.predictor import Predictor
from swin_umamba.instances.decoding import Decoding
from swin_umamba.trained.calibration_file import FoldCalibration, write_calibration
from swin_umamba.trained.export_model import export_model
from swin_umamba.trained.model_file import content_hash, read_model_file
from swin_umamba.weights.checkpoint import load_checkpoint, save_checkpoint

MakeModel = Callable[..., Path]


def predictor(path: Path, **options: Any) -> Predictor:
    return Predictor.from_folder(path, device="cpu", **options)


def picture(*shape: int) -> np.ndarray:
    return np.random.default_rng(3).integers(0, 255, shape).astype(np.uint8)


def content_of(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    with safe_open(path, framework="pt") as file:
        return dict(file.metadata()), {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118


def write(path: Path, metadata: dict[str, str], tensors: dict[str, Tensor], *, with_right_hash: bool) -> Path:
    if with_right_hash:
        metadata = metadata | {"sha256": content_hash(metadata, tensors)}
    save_file(tensors, path, metadata=metadata)
    return path


@pytest.mark.parametrize("network", ["swin_umamba", "swin_umamba_d", "plain_unet"])
def test_the_file_predicts_exactly_what_the_folder_does(
    make_model: MakeModel, tmp_path: Path, network: str
) -> None:
    folder = make_model(network=network, folds=(0, 1), channels=("red", "green"), spacing=(1.5, 1.5))
    model, sha256 = export_model(folder, tmp_path / "model.safetensors")
    assert len(model.parameters) == 2
    assert len(sha256) == 64
    image = picture(2, 40, 50)
    folder_says = predictor(folder).predict(image, spacing=(1.0, 1.0), probabilities=True)
    (tmp_path / "model.safetensors").rename(tmp_path / "moved.safetensors")
    file_says = predictor(tmp_path / "moved.safetensors").predict(
        image, spacing=(1.0, 1.0), probabilities=True
    )
    assert np.array_equal(file_says.labels, folder_says.labels)
    assert np.array_equal(file_says.probabilities, folder_says.probabilities)


def test_the_file_cuts_objects_as_it_was_calibrated(make_model: MakeModel, tmp_path: Path) -> None:
    folder = make_model(labels={"background": 0, "interior": 1, "boundary": 2})
    image = np.kron(picture(6, 8), np.ones((8, 8), np.uint8))
    as_trained = predictor(folder).predict(image, instances=True)
    checkpoint = folder / "fold_0/checkpoint_final.pth"
    weights = load_checkpoint(checkpoint)["network_weights"]
    write_calibration(checkpoint, weights, FoldCalibration(1.5, None, Decoding(3, outer_rim=0)), {})
    folder_says = predictor(folder).predict(image, instances=True)
    export_model(folder, tmp_path / "model.safetensors")
    file_says = predictor(tmp_path / "model.safetensors").predict(image, instances=True)
    np.testing.assert_array_equal(file_says.instances, folder_says.instances)
    assert (file_says.instances != as_trained.instances).any()
    assert file_says.objects is not None
    assert folder_says.objects is not None
    rows = list(folder_says.objects.rows())
    assert len(rows) > 1
    np.testing.assert_equal(list(file_says.objects.rows()), rows)


def test_the_first_version_keeps_its_architecture(make_model: MakeModel, tmp_path: Path) -> None:
    folder, image = make_model(network="swin_umamba"), picture(32, 32)
    path = folder / "fold_0/checkpoint_final.pth"
    content = load_checkpoint(path)
    weights = {key: value for key, value in content["network_weights"].items() if "decoder6" not in key}
    save_checkpoint(path, content | {"network_weights": weights})
    export_model(folder, tmp_path / "model.safetensors")
    model = read_model_file(tmp_path / "model.safetensors")
    architecture = model.plans["configurations"]["2d"]["architecture"]
    assert architecture["arch_kwargs"]["use_last_stage"] is False
    for mirroring in (False, True):
        ours = predictor(tmp_path / "model.safetensors", mirroring=mirroring).predict(image)
        assert np.array_equal(ours.labels, predictor(folder, mirroring=mirroring).predict(image).labels)


def test_folds(make_model: MakeModel, tmp_path: Path) -> None:
    folder, path = make_model(folds=(0, 2, "all")), tmp_path / "model.safetensors"
    export_model(folder, path)
    image = picture(40, 50)
    assert len(read_model_file(path).parameters) == 2  # as everywhere, fold_all only stands in
    for folds in ([0], [2], [2, 0]):
        ours = predictor(path, folds=folds).predict(image, probabilities=True).probabilities
        assert np.array_equal(
            ours, predictor(folder, folds=folds).predict(image, probabilities=True).probabilities
        )
    with pytest.raises(CheckpointError, match=r"no fold_1(.|\n)*choose among: fold_0, fold_2"):
        read_model_file(path, folds=[0, 1])
    export_model(folder, path, folds=["all"])
    assert len(read_model_file(path, folds=["all"]).parameters) == 1
    with pytest.raises(UsageError, match="no named checkpoints"):
        predictor(path, checkpoint="checkpoint_best.pth")


def test_a_checkpoint_from_anywhere_is_fold_0(make_model: MakeModel, tmp_path: Path) -> None:
    (make_model() / "fold_0/checkpoint_final.pth").rename(tmp_path / "alone.pth")
    export_model(tmp_path / "alone.pth", tmp_path / "model.safetensors")
    assert len(read_model_file(tmp_path / "model.safetensors", folds=[0]).parameters) == 1


def test_what_is_in_it(make_model: MakeModel, tmp_path: Path) -> None:
    folder = make_model(labels={"background": 0, "a|b `c`\n# d": 1}, folds=("all",))
    _, sha256 = export_model(folder, tmp_path / "model.safetensors")
    metadata, tensors = content_of(tmp_path / "model.safetensors")
    assert metadata["sha256"] == sha256 == content_hash(metadata, tensors)
    assert json.loads(metadata["dataset"]) == json.loads((folder / "dataset.json").read_text())
    plans = json.loads((folder / "plans.json").read_text())
    assert json.loads(metadata["plans"]) == plans
    assert json.loads(metadata["inference"]) == {
        "configuration": "2d",
        "trainer_name": "nnUNetTrainer",
        "mirror_axes": [0, 1],
        "folds": ["fold_all"],
        "calibrations": [None],
    }
    weights = load_checkpoint(folder / "fold_all/checkpoint_final.pth")["network_weights"]
    assert tensors.keys() == {f"fold_all/{key}" for key in weights}
    card = metadata["model_card"]
    assert card.startswith("---\nlibrary_name: swin-umamba\n")
    assert "# PlainConvUNet trained on Dataset999_Tiny\n" in card
    assert "| a\\|b 'c' # d | 1 |\n" in card
    assert "- Input: 2d, channels grey\n" in card


def test_nothing_is_written_if_the_model_could_not_predict(make_model: MakeModel, tmp_path: Path) -> None:
    folder, output = make_model(), tmp_path / "model.safetensors"
    output.write_bytes(b"old")
    plans = (folder / "plans.json").read_text()
    (folder / "plans.json").write_text(plans.replace('"ZScoreNormalization"', '"shutil"'))
    with pytest.raises(CheckpointError, match="shutil"):
        export_model(folder, output)
    (folder / "plans.json").write_text(plans.replace("[4, 8]", "[4, 16]"))
    with pytest.raises(CheckpointError, match="do not fit PlainConvUNet"):
        export_model(folder, output)
    assert output.read_bytes() == b"old"
    (folder / "plans.json").write_text(plans)
    with pytest.raises(UsageError, match=r"does not end in \.safetensors"):
        export_model(folder, tmp_path / "model.pth")
    with pytest.raises(OutputError):
        export_model(folder, output / "model.safetensors")


@pytest.fixture
def exported(make_model: MakeModel, tmp_path: Path) -> Path:
    export_model(make_model(), tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors"


@pytest.mark.parametrize("key", ["plans", "dataset", "inference", "model_card", "sha256"])
def test_changed_descriptions_are_refused(exported: Path, key: str) -> None:
    metadata, tensors = content_of(exported)
    metadata[key] = metadata[key].replace("a", "b", 1)
    write(exported, metadata, tensors, with_right_hash=False)
    with pytest.raises(CheckpointError, match="damaged or changed after it was written"):
        predictor(exported)


def change_a_value(tensors: dict[str, Tensor]) -> None:
    next(iter(tensors.values())).view(-1)[-1] += 1e-3


def rename_one(tensors: dict[str, Tensor]) -> None:
    tensors["fold_0/other"] = tensors.pop(sorted(tensors)[0])


def swap_two(tensors: dict[str, Tensor]) -> None:
    shapes: dict[Any, str] = {}
    for key, value in tensors.items():
        other = shapes.setdefault(value.shape, key)
        if not torch.equal(tensors[other], value):
            tensors[key], tensors[other] = tensors[other], value
            return
    raise AssertionError


def reshape_one(tensors: dict[str, Tensor]) -> None:
    tensors[sorted(tensors)[0]] = tensors[sorted(tensors)[0]].reshape(1, -1)


def reinterpret_one(tensors: dict[str, Tensor]) -> None:
    tensors[sorted(tensors)[0]] = tensors[sorted(tensors)[0]].view(torch.int32)


@pytest.mark.parametrize("change", [change_a_value, rename_one, swap_two, reshape_one, reinterpret_one])
def test_changed_tensors_are_refused(exported: Path, change: Callable[[dict[str, Tensor]], None]) -> None:
    metadata, tensors = content_of(exported)
    change(tensors)
    write(exported, metadata, tensors, with_right_hash=False)
    with pytest.raises(CheckpointError, match="damaged or changed after it was written"):
        predictor(exported)


def edit(key: str, **entries: object) -> Any:
    def apply(metadata: dict[str, str]) -> None:
        content = json.loads(metadata[key])
        for name, value in entries.items():
            place = (
                content["configurations"]["2d"]
                if name in content.get("configurations", {"2d": ""})["2d"]
                else content
            )
            place[name] = value
        metadata[key] = json.dumps(content)

    return apply


def put(key: str, value: str) -> Any:
    return lambda metadata: metadata.update({key: value})


EVIL_NETWORK = {"network_class_name": "os.system", "arch_kwargs": {}, "_kw_requires_import": []}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (edit("plans", architecture=EVIL_NETWORK), r"os\.system(.|\n)*nothing of it was run"),
        (edit("plans", preprocessor_name="shutil"), "'shutil'"),
        (edit("plans", resampling_fn_data="os.system"), r"os\.system"),
        (edit("plans", configurations={}), "configuration"),
        (edit("plans", patch_size="large"), "patch|incomplete"),
        (edit("plans", transpose_forward=[7, 8, 9]), "transpose_forward"),
        (edit("dataset", labels=5), "incomplete"),
        (edit("inference", folds=["../../etc"]), "'folds'"),
        (edit("inference", folds=[]), "'folds'"),
        (edit("inference", folds=[{}]), "'folds'"),
        (edit("inference", folds="fold_0"), "'folds'"),
        (edit("inference", folds=["fold_1"]), "tensor fold_0/"),
        (edit("inference", mirror_axes=5), "'mirror_axes'"),
        (edit("inference", mirror_axes=[9]), "mirroring along axes"),
        (edit("inference", configuration="3d"), "3d"),
        (edit("inference", configuration=None), "'configuration'"),
        (edit("inference", trainer_name=["x"]), "'trainer_name'"),
        (put("inference", "{}"), "'folds'"),
        (put("inference", "[1"), "'inference'"),
        (put("plans", "[" * 100_000), "'plans'"),
        (put("plans", "null"), "'plans'"),
        (put("dataset", "NaN"), "'dataset'"),
        (put("format", "swin-umamba-model-2"), "not a model that swin-umamba export wrote .*model-2"),
    ],
)
def test_hostile_descriptions_with_the_right_hash_are_refused(
    exported: Path, change: Any, message: str
) -> None:
    metadata, tensors = content_of(exported)
    change(metadata)
    write(exported, metadata, tensors, with_right_hash=True)
    with pytest.raises(CheckpointError, match=message):
        predictor(exported)


def test_odd_entries(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    metadata, tensors = content_of(exported)
    for odd in (
        metadata | {"more": "x"},
        {key: value for key, value in metadata.items() if key != "plans"},
        {key: value for key, value in metadata.items() if key != "sha256"},
    ):
        write(exported, odd, tensors, with_right_hash=False)
        with pytest.raises(CheckpointError, match="must have the entries format, plans"):
            read_model_file(exported)
    write(exported, metadata, tensors, with_right_hash=False)
    monkeypatch.setattr("swin_umamba.trained.model_file.LARGEST_ENTRY", 100)
    with pytest.raises(CheckpointError, match="of at most 100 characters"):
        read_model_file(exported)


def test_files_that_are_none(exported: Path, tmp_path: Path) -> None:
    data = exported.read_bytes()
    for content in (b"", b"<html>", data[:100], data[:-1], data + b"x", b"\xff" * 8 + data[8:]):
        (tmp_path / "a.safetensors").write_bytes(content)
        with pytest.raises(CheckpointError, match=r"damaged, incomplete(.|\n)*a\.safetensors"):
            predictor(tmp_path / "a.safetensors")
    save_file({"weight": torch.zeros(2)}, tmp_path / "weights.safetensors")
    with pytest.raises(CheckpointError, match="not a model that swin-umamba export wrote"):
        predictor(tmp_path / "weights.safetensors")
    with pytest.raises(CheckpointError, match="does not exist"):
        predictor(tmp_path / "nowhere.safetensors")


def test_a_tensor_too_many_with_the_right_hash(exported: Path) -> None:
    metadata, tensors = content_of(exported)
    write(exported, metadata, tensors | {"fold_0/x": torch.zeros(1)}, with_right_hash=True)
    with pytest.raises(CheckpointError, match="x is unknown"):
        predictor(exported)
