from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from PIL import Image as PillowImage
from scipy import special

from json_edits import changed_json
from smooth_pictures import picture
from swin_umamba.data.image_io import read_image
from swin_umamba.errors import BackendError, CheckpointError, DataError, GeometryError, UsageError
from swin_umamba.inference.inputs import as_volume
from swin_umamba.inference.predictor import Predictor
from swin_umamba.models.registry import create_model
from swin_umamba.models.swin_umamba_d import SwinUMambaD
from swin_umamba.weights.checkpoint import load_checkpoint, save_checkpoint

MakeModel = Callable[..., Path]

# Stock nnU-Net's float16 sums decide a few pixels otherwise where two classes are nearly equal.
STOCK_AGREEMENT = 0.999
# Of softmax probabilities, between one float32 summation and another.
PROBABILITY_TOLERANCE = 1e-5


def predictor(folder: Path, **options: Any) -> Predictor:
    return Predictor.from_folder(folder, device="cpu", **options)


def write_nifti(path: Path, volume: np.ndarray, spacing_zyx: tuple[float, ...]) -> Path:
    affine = np.diag([*spacing_zyx[::-1], 1.0])
    nibabel.save(nibabel.Nifti1Image(volume.transpose(), affine), path)
    return path


def stock_labels(
    folder: Path, data: np.ndarray, spacing: tuple[float, ...], *, mirroring: bool = True, folds: tuple = (0,)
) -> np.ndarray:
    """Return what stock nnU-Net predicts with the same model."""
    stock = nnUNetPredictor(device=torch.device("cpu"), allow_tqdm=False, use_mirroring=mirroring)
    stock.initialize_from_trained_model_folder(str(folder), folds, "checkpoint_final.pth")
    return stock.predict_single_npy_array(data.astype(np.float32), {"spacing": list(spacing)})


@pytest.mark.parametrize("mirroring", [False, True])
def test_picture_equals_stock_nnunet(make_model: MakeModel, mirroring: bool) -> None:
    folder, image = make_model(), picture(70, 90)
    labels = predictor(folder, mirroring=mirroring).predict(image).labels
    stock = stock_labels(folder, image[None, None], (999, 1, 1), mirroring=mirroring)
    assert labels.shape == (70, 90)
    assert set(np.unique(labels)) <= {0, 1, 2}
    assert len(np.unique(labels)) > 1
    assert (labels == stock[0]).mean() > STOCK_AGREEMENT


def test_mirroring_matters(make_model: MakeModel) -> None:
    folder, image = make_model(), picture(70, 90)
    straight = predictor(folder, mirroring=False).predict(image, probabilities=True).probabilities
    mirrored = predictor(folder).predict(image, probabilities=True).probabilities
    assert np.abs(straight - mirrored).max() > 1e-3


def test_anisotropic_volume_equals_stock_nnunet(make_model: MakeModel, tmp_path: Path) -> None:
    folder = make_model(spacing=(1.5, 1.5))
    volume = picture(3, 40, 50)
    path = write_nifti(tmp_path / "volume.nii.gz", volume, (4.0, 1.0, 2.0))
    prediction = predictor(folder).predict(path)
    assert prediction.labels.shape == (3, 40, 50)
    assert prediction.image.spacing == (4.0, 1.0, 2.0)
    stock = stock_labels(folder, volume[None], (4.0, 1.0, 2.0))
    assert (prediction.labels == stock).mean() > STOCK_AGREEMENT
    # The spacing decides: read as 1.5 mm the result is another one.
    other = predictor(folder).predict(path, spacing=(4.0, 1.5, 1.5)).labels
    assert (other != prediction.labels).mean() > 0.01


def test_transposed_plans_equal_stock_nnunet(make_model: MakeModel) -> None:
    folder = make_model(spacing=(1.0, 1.0), file_ending=".nii.gz")
    with changed_json(folder / "plans.json") as plans:
        plans |= {"transpose_forward": [2, 0, 1], "transpose_backward": [1, 2, 0]}
    volume = picture(34, 40, 3)
    ours = predictor(folder, mirroring=False).predict(volume[None], spacing=(1.25, 1.0, 5.0))
    stock = stock_labels(folder, volume[None], (1.25, 1.0, 5.0), mirroring=False)
    assert ours.labels.shape == (34, 40, 3)
    assert (ours.labels == stock).mean() > STOCK_AGREEMENT
    # Without a spacing the image counts as lying on the model's own grid, whose median spacing is (3, 1, 1).
    assert predictor(folder).plans.own_spacing(flat=False) == [1.0, 1.0, 3.0]


def test_3d_model_equals_stock_nnunet(make_model: MakeModel) -> None:
    folder = make_model(network="plain_unet_3d", patch_size=(8, 16, 16), spacing=(2.0, 1.0, 1.0))
    volume = picture(12, 20, 30)
    prediction = predictor(folder).predict(volume[None], probabilities=True)
    stock = stock_labels(folder, volume[None], (2.0, 1.0, 1.0))
    assert (prediction.labels == stock).mean() > STOCK_AGREEMENT
    np.testing.assert_allclose(prediction.probabilities.sum(0), 1, atol=PROBABILITY_TOLERANCE)


def test_swin_umamba_from_its_plans_alone(make_model: MakeModel) -> None:
    folder = make_model(network="swin_umamba", channels=("red", "green", "blue"))
    image = picture(3, 40, 50)
    result = {
        backend: predictor(folder, backend=backend, mirroring=False).predict(image, probabilities=True)
        for backend in (None, "reference")
    }
    np.testing.assert_allclose(
        result[None].probabilities, result["reference"].probabilities, atol=PROBABILITY_TOLERANCE
    )
    assert result[None].labels.shape == (40, 50)


def test_models_of_the_published_code(make_model: MakeModel) -> None:
    """Their plans name a plain U-Net; the trainer's name says which network it was."""
    folder = make_model(trainer="nnUNetTrainerSwinUMambaD")
    path = folder / "fold_0/checkpoint_final.pth"
    network = SwinUMambaD(1, 3)
    save_checkpoint(path, load_checkpoint(path) | {"network_weights": network.state_dict()})
    image = picture(32, 32)
    ours = predictor(folder, mirroring=False).predict(image, probabilities=True)
    x = torch.from_numpy((image - image.mean()) / image.std()).float()
    with torch.no_grad():
        expected = network.eval()(x[None, None]).softmax(1)[0]
    np.testing.assert_allclose(ours.probabilities, expected, atol=PROBABILITY_TOLERANCE)


@pytest.mark.parametrize("trainer", ["nnUNetTrainerSwinUMamba", "nnUNetTrainerSwinUMambaD"])
def test_imagenet_weights_are_not_needed(
    make_model: MakeModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trainer: str
) -> None:
    """These trainers start from an ImageNet file; predicting with their models reads the model alone."""
    network = "swin_umamba_d" if trainer.endswith("D") else "swin_umamba"
    folder = make_model(network=network, trainer=trainer)
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    read: set[str] = set()

    def record(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open" and str(arguments[0]).endswith((".pth", ".pt", ".safetensors")):
            read.add(str(arguments[0]))

    sys.addaudithook(record)  # sees every file that Python opens, whoever opens it
    assert predictor(folder, mirroring=False).predict(picture(32, 32)).labels.shape == (32, 32)
    assert read == {str(folder / "fold_0/checkpoint_final.pth")}


def test_models_of_the_first_published_version(make_model: MakeModel) -> None:
    """They have the same plans and trainer as later ones, but no decoder6."""
    folder, image = make_model(network="swin_umamba"), picture(32, 32)
    path = folder / "fold_0/checkpoint_final.pth"
    later = predictor(folder, mirroring=False).predict(image, probabilities=True).probabilities
    content = load_checkpoint(path)
    weights = content["network_weights"]
    first_version = {key: value for key, value in weights.items() if not key.startswith("decoder6.")}
    save_checkpoint(path, content | {"network_weights": first_version})
    ours = predictor(folder, mirroring=False).predict(image, probabilities=True).probabilities

    plans = json.loads((folder / "plans.json").read_text())
    sizes = plans["configurations"]["2d"]["architecture"]["arch_kwargs"]
    del sizes["strides"]
    network = create_model("swin_umamba_v1", 1, 3, **sizes).eval()
    network.load_state_dict(first_version)
    x = torch.from_numpy((image - image.mean()) / image.std()).float()
    with torch.no_grad():
        expected = network(x[None, None]).softmax(1)[0]
    np.testing.assert_allclose(ours, expected, atol=PROBABILITY_TOLERANCE)
    assert np.abs(ours - later).max() > 1e-3

    del first_version["decoder5.transp_conv.conv.weight"]
    save_checkpoint(path, content | {"network_weights": first_version})
    with pytest.raises(CheckpointError, match=r"decoder5\S+ is missing"):
        predictor(folder)


def test_folds_are_averaged(make_model: MakeModel) -> None:
    folder, image = make_model(folds=(0, 1)), picture(40, 50)

    def logits(**options: Any) -> torch.Tensor:
        one = predictor(folder, **options)
        data, _ = one.plans.preprocess(as_volume(image, None, one.channel_names))
        with torch.inference_mode():
            return one.window.logits(one.networks, torch.from_numpy(data))

    both = logits()
    torch.testing.assert_close(both, (logits(folds=[0]) + logits(folds=[1])) / 2)
    assert not torch.allclose(both, logits(folds=[0]), atol=1e-3)
    again = predictor(folder)
    assert np.array_equal(again.predict(image).labels, again.predict(image).labels)


def members_alone(folder: Path, image: np.ndarray, folds: tuple[int, ...]) -> list[np.ndarray]:
    """Return the labels of each mirrored image and fold by itself, for a patch as large as the image."""
    maps = []
    for fold in folds:
        one = predictor(folder, folds=[fold], mirroring=False)
        for axes in ((), (0,), (1,), (0, 1)):
            maps.append(np.flip(one.predict(np.flip(image, axes)).labels, axes))
    return maps


@pytest.mark.parametrize("folds", [(0,), (0, 1)])
def test_confidence_changes_no_label_and_compares_the_members(
    make_model: MakeModel, folds: tuple[int, ...]
) -> None:
    folder, image = make_model(folds=folds), picture(32, 32)
    model = predictor(folder)
    plain, sure = model.predict(image, probabilities=True), model.predict(image, confidence=True)
    assert np.array_equal(plain.labels, sure.labels)
    assert sure.probabilities is None
    assert sure.confidence is not None
    assert plain.confidence is None
    assert sure.confidence.num_members == 4 * len(folds)
    expected = special.entr(plain.probabilities.astype(np.float64)).sum(axis=0) / np.log(3)
    np.testing.assert_allclose(sure.confidence.entropy, expected, atol=1e-5)
    pairs = list(itertools.combinations(members_alone(folder, image, folds), 2))
    for value, name in ((1, "small"), (2, "large")):
        common = sum(2 * int(((a == value) & (b == value)).sum()) for a, b in pairs)
        sizes = sum(int((a == value).sum()) + int((b == value).sum()) for a, b in pairs)
        assert sure.confidence.class_quality[name] == pytest.approx(common / sizes, abs=1e-3)
    assert sure.confidence.quality == pytest.approx(np.mean(list(sure.confidence.class_quality.values())))
    assert not sure.confidence.calibrated


def test_confidence_of_a_volume_lies_on_its_grid(make_model: MakeModel, tmp_path: Path) -> None:
    folder = make_model(spacing=(1.0, 1.0), file_ending=".nii.gz")
    path = write_nifti(tmp_path / "volume.nii.gz", picture(3, 50, 40).astype(np.float32), (3.0, 0.8, 0.9))
    model = predictor(folder)
    found = model.predict(path, confidence=True)
    assert found.confidence is not None
    assert found.confidence.entropy.shape == found.labels.shape == (3, 50, 40)
    assert np.array_equal(found.labels, model.predict(path).labels)


def test_confidence_of_regions(make_model: MakeModel) -> None:
    labels = {"background": 0, "whole": [1, 2], "core": 2}
    folder = make_model(labels=labels, regions_class_order=(1, 2))
    found = predictor(folder).predict(picture(40, 40), probabilities=True, confidence=True)
    assert found.confidence is not None
    assert found.probabilities is not None
    both = np.stack([found.probabilities, 1 - found.probabilities]).astype(np.float64)
    expected = special.entr(both).sum(axis=0).mean(axis=0) / np.log(2)
    np.testing.assert_allclose(found.confidence.entropy, expected, atol=1e-5)
    assert list(found.confidence.class_quality) == ["whole", "core"]


def test_one_member_has_no_quality(make_model: MakeModel) -> None:
    found = predictor(make_model(), mirroring=False).predict(picture(40, 40), confidence=True)
    assert found.confidence is not None
    assert found.confidence.quality is None
    assert found.confidence.class_quality == {"small": None, "large": None}
    assert found.confidence.entropy.max() > 0


def test_progress_runs_through_all_folds(make_model: MakeModel) -> None:
    parts: list[float] = []
    predictor(make_model(folds=(0, 1))).predict(picture(1, 32, 32), on_progress=parts.append)
    assert parts == pytest.approx([n / 8 for n in range(1, 9)])


def test_a_second_gpu_is_the_current_one_while_it_predicts(
    make_model: MakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What pins memory takes the current one."""
    model = predictor(make_model())
    entered: list[torch.device] = []

    @contextmanager
    def recorded(device: torch.device) -> Iterator[None]:
        entered.append(device)
        yield

    monkeypatch.setattr(torch.cuda, "device", recorded)
    model.device = torch.device("cuda:1")
    model.predict(picture(40, 48))
    assert entered == [torch.device("cuda:1")]


def test_probabilities_and_labels_agree(make_model: MakeModel) -> None:
    prediction = predictor(make_model(spacing=(0.7, 0.7), file_ending=".nii.gz")).predict(
        picture(40, 50), spacing=(1.0, 1.0), probabilities=True
    )
    assert prediction.probabilities.shape == (3, 40, 50)
    assert prediction.probabilities.dtype == np.float32
    np.testing.assert_allclose(prediction.probabilities.sum(0), 1, atol=PROBABILITY_TOLERANCE)
    assert np.array_equal(prediction.probabilities.argmax(0), prediction.labels)


def test_regions(make_model: MakeModel) -> None:
    labels = {"background": 0, "whole": [1, 2], "core": 2}
    folder, image = make_model(labels=labels, regions_class_order=(1, 2)), picture(64, 64)
    one = predictor(folder)
    prediction = one.predict(image, probabilities=True)
    assert one.has_regions
    whole, core = prediction.probabilities > 0.5
    assert np.array_equal(prediction.labels, np.where(core, 2, np.where(whole, 1, 0)))
    assert len(np.unique(prediction.labels)) > 1


def test_array_and_file_give_the_same(make_model: MakeModel, tmp_path: Path) -> None:
    folder = make_model(channels=("red", "green", "blue"))
    image = picture(3, 40, 50)
    PillowImage.fromarray(np.moveaxis(image, 0, -1)).save(tmp_path / "image.png")
    one = predictor(folder)
    from_file = one.predict(tmp_path / "image.png")
    assert np.array_equal(from_file.image.data, image)
    for array in (image, np.moveaxis(image, 0, -1), image[:, None]):
        assert np.array_equal(one.predict(array).labels.reshape(40, 50), from_file.labels)


def test_channels_in_several_files(make_model: MakeModel, tmp_path: Path) -> None:
    one = predictor(make_model(channels=("T1", "T2")))
    volume = picture(2, 2, 40, 50)
    paths = [write_nifti(tmp_path / f"{i}.nii", volume[i], (3.0, 1.0, 1.0)) for i in range(2)]
    together = one.predict(paths)
    assert np.array_equal(together.labels, one.predict(volume, spacing=(3.0, 1.0, 1.0)).labels)
    write_nifti(paths[1], volume[1], (3.0, 1.0, 1.1))
    with pytest.raises(GeometryError, match="spacing"):
        one.predict(paths)


def test_all_black_image(make_model: MakeModel) -> None:
    assert predictor(make_model()).predict(np.zeros((40, 50), np.uint8)).labels.shape == (40, 50)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((2, 40, 50)), "2 channels, but the model takes 3: red, green, blue"),
        (np.zeros((4, 2, 40, 50)), "4 channels"),
        (np.zeros((3, 40, 50), complex), "complex128"),
        (np.zeros((3, 0, 50)), r"\(3, 0, 50\)"),
        (np.zeros(5), r"\(5,\)"),
        (np.full((3, 40, 50), np.nan), "NaN"),
    ],
)
def test_unfit_arrays(make_model: MakeModel, array: np.ndarray, message: str) -> None:
    with pytest.raises(DataError, match=message):
        predictor(make_model(channels=("red", "green", "blue"))).predict(array)


def test_a_volume_for_a_one_channel_model_needs_its_channel(make_model: MakeModel) -> None:
    with pytest.raises(DataError, match=r"give a volume as \(1, Z, Y, X\)"):
        predictor(make_model()).predict(np.zeros((4, 40, 50)))


def test_wrong_channels_name_the_file(make_model: MakeModel, tmp_path: Path) -> None:
    PillowImage.fromarray(picture(40, 50)).save(tmp_path / "grey.png")
    with pytest.raises(DataError, match=r"2: T1, T2(.|\n)*grey.png(.|\n)*CASE_0000 to CASE_0001"):
        predictor(make_model(channels=("T1", "T2"))).predict(tmp_path / "grey.png")


@pytest.mark.parametrize("spacing", [(1.0,), (0.0, 1.0), (1.0, np.inf), (1.0, 1.0, 1.0)])
def test_impossible_spacing(make_model: MakeModel, spacing: tuple[float, ...]) -> None:
    with pytest.raises(UsageError, match="spacing"):
        predictor(make_model()).predict(np.zeros((40, 50)), spacing=spacing)


@pytest.mark.parametrize(
    ("spacing", "message"),
    [
        ((2.0, 1.5), "would have 3.07e\\+03 voxels; the limit is 3000"),
        ((1e30, 1e-30), "no voxel along an axis"),
        ((3e38, 3e38), "the limit is 3000"),
        ((0.01, 1.0), "no voxel along an axis"),
    ],
)
def test_a_spacing_that_makes_an_image_huge_or_nothing(
    make_model: MakeModel, spacing: tuple[float, ...], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        predictor(make_model(file_ending=".nii")).predict(picture(32, 32), spacing=spacing, max_voxels=3000)


def test_the_limit_counts_voxels_at_the_spacing_of_the_model(make_model: MakeModel, tmp_path: Path) -> None:
    tiny = predictor(make_model(channels=("a", "b"), file_ending=".nii"), mirroring=False)
    image = np.stack([picture(32, 40)] * 2)
    half = tiny.predict(image, spacing=(0.5, 0.5), max_voxels=2 * 16 * 20)
    assert half.labels.shape == (32, 40)
    with pytest.raises(DataError, match="would have 640 voxels; the limit is 639"):
        tiny.predict(image, spacing=(0.5, 0.5), max_voxels=639)


def test_a_damaged_spacing_names_the_file(make_model: MakeModel, tmp_path: Path) -> None:
    path = write_nifti(tmp_path / "case.nii", picture(1, 16, 16), (1.0, 1e6, 1e6))
    with pytest.raises(DataError, match="check the spacing of the image, 1 x 1e\\+06 x 1e\\+06 mm") as caught:
        predictor(make_model(file_ending=".nii.gz")).predict(path)
    assert caught.value.where == str(path)


def test_images_that_are_lines_for_the_network_are_refused(make_model: MakeModel, tmp_path: Path) -> None:
    folder = make_model(file_ending=".nii.gz")
    tiny, volume = predictor(folder), picture(3, 20, 30)
    for shape, thin in (((20, 1, 30), "y"), ((20, 30, 1), "x")):
        path = write_nifti(tmp_path / "a.nii", volume[0, :20].reshape(shape), (1.0, 1.0, 1.0))
        with pytest.raises(DataError, match=f"one voxel thick along {thin}.*slices across z") as caught:
            tiny.predict(path)
        assert caught.value.where == str(path)
    flat = write_nifti(tmp_path / "a.nii", volume[:1], (1.0, 1.0, 1.0))
    assert tiny.predict(flat).labels.shape == (1, 20, 30)
    assert tiny.predict(volume[:1, :1]).labels.shape == (1, 30)
    with changed_json(folder / "plans.json") as plans:
        plans |= {"transpose_forward": [1, 0, 2], "transpose_backward": [1, 0, 2]}
    across_y = predictor(folder).predict(volume[0, :20].reshape(1, 20, 1, 30)).labels
    np.testing.assert_array_equal(across_y[:, 0], tiny.predict(volume[0, :20]).labels)


def test_options_out_of_range(make_model: MakeModel) -> None:
    folder = make_model()
    for options in ({"step_size": 0.0}, {"step_size": 1.5}, {"backend": "nativ"}):
        with pytest.raises(UsageError):
            predictor(folder, **options)
    if not torch.cuda.is_available():
        with pytest.raises(BackendError):
            Predictor.from_folder(folder, device="cuda")


def test_weights_of_another_network(make_model: MakeModel) -> None:
    folder = make_model()
    with changed_json(folder / "plans.json") as plans:
        plans["configurations"]["2d"]["architecture"]["arch_kwargs"]["features_per_stage"] = [4, 16]
    with pytest.raises(CheckpointError, match=r"shape \(8, 4, 3, 3\) and not \(16, 4, 3, 3\)"):
        predictor(folder)


@pytest.mark.parametrize("key", ["configurations", "transpose_forward", "image_reader_writer"])
def test_incomplete_plans(make_model: MakeModel, key: str) -> None:
    folder = make_model()
    with changed_json(folder / "plans.json") as plans:
        del plans[key]
    with pytest.raises(CheckpointError, match=key):
        predictor(folder)


def test_weights_that_are_not_finite(make_model: MakeModel) -> None:
    one = predictor(make_model())
    with torch.no_grad():
        next(one.networks[0].parameters()).fill_(torch.nan)
    with pytest.raises(CheckpointError, match="not finite"):
        one.predict(picture(40, 50))


def test_an_image_that_overflows_is_not_the_fault_of_the_weights(make_model: MakeModel) -> None:
    model = predictor(make_model())
    image = np.zeros((64, 64), np.float32)
    image[3, 4:9] = 3e38
    assert model.predict(image).labels.shape == image.shape  # sums beyond float32 are no trouble
    image = np.full((64, 64), 3e38, np.float32)
    image[3, 4:9] = -3e38
    with pytest.raises(DataError, match=r"overflows: its values reach 3e\+38"):
        model.predict(image)


def test_reading_does_not_change_the_file(make_model: MakeModel, tmp_path: Path) -> None:
    path = write_nifti(tmp_path / "a.nii", picture(2, 40, 50), (2.0, 1.0, 1.0))
    before = read_image(path).data
    prediction = predictor(make_model()).predict(path)
    assert np.array_equal(prediction.image.data, before)


def test_a_lack_of_memory_names_the_image_and_its_size(
    make_model: MakeModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = "DefaultCPUAllocator: can't allocate memory: you tried to allocate 5368709120 bytes"

    def no_memory(*_: object) -> None:
        raise RuntimeError(asked)

    one = predictor(make_model())
    monkeypatch.setattr(one.plans, "label_map", no_memory)
    PillowImage.fromarray(np.zeros((20, 30), np.uint8)).save(tmp_path / "a.png")
    with pytest.raises(DataError, match=r"memory for an image of 1 x 1 x 20 x 30 .* 5.00 GiB more") as caught:
        one.predict(tmp_path / "a.png")
    assert caught.value.where == str(tmp_path / "a.png")
    asked = "another reason"
    with pytest.raises(RuntimeError, match="another reason"):
        one.predict(tmp_path / "a.png")


def test_a_gpu_that_holds_no_patch_is_told_from_a_large_image(make_model: MakeModel) -> None:
    class Full(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 3.00 GiB.")

    one = predictor(make_model())
    one.networks._networks[0] = Full()
    with pytest.raises(DataError, match=r"a single patch of 32 x 32 on cpu") as caught:
        one.predict(picture(40, 50))
    assert "--device cpu" in caught.value.hint
