"""Training on objects: instance maps through preprocessing and augmentation, one more head, and its use."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image as PillowImage

from nnunet.planned_data import DATASET_NAME, OBJECT_LABELS, make_objects
from nnunet.tiny_training import SHORT, make_trainer
from swin_umamba.data.image_io import read_labels
from swin_umamba.data.instance_labels import instances_to_classes
from swin_umamba.errors import DataError, TrainingError, UsageError
from swin_umamba.inference.predictor import Predictor
from swin_umamba.instances.decoding import Decoding, ObjectClasses
from swin_umamba.instances.targets import DEPTH_SCALE, depths_of, targets_of
from swin_umamba.models.swin_umamba_d import SwinUMambaD
from swin_umamba.nnunet.environment import Dataset, Folders
from swin_umamba.nnunet.training import object_trainer
from swin_umamba.nnunet.training.object_trainer import (
    DEPTH_WEIGHT,
    LossOfObjects,
    joined_numbers,
    split_numbers,
)
from swin_umamba.nnunet.training.train import train
from swin_umamba.trainer_names import SWIN_UMAMBA_D_OBJECTS


@pytest.fixture
def cells(planned_dataset: Dataset, tmp_path: Path) -> Dataset:
    """The planned data set with a map of objects for each case, whose numbers need more than 16 bits."""
    folders = planned_dataset.folders
    raw = tmp_path / "raw_with_objects"
    shutil.copytree(folders.raw / DATASET_NAME, raw / DATASET_NAME)
    own = Dataset(DATASET_NAME, Folders(raw, folders.preprocessed, folders.results))
    make_objects(own)
    return own


def trainer_of(dataset: Dataset, **options: Any) -> Any:
    return make_trainer(dataset, SWIN_UMAMBA_D_OBJECTS, labels=OBJECT_LABELS, workers=0, seed=3, **options)


@pytest.mark.parametrize("largest", [0, 5, 32767, 32768, 2**30 - 1])
def test_numbers_survive_sixteen_bits(largest: int) -> None:
    numbers = np.array([[[0, largest, largest // 2]]])
    parts = split_numbers(numbers)
    assert parts.dtype == np.int16
    np.testing.assert_array_equal(joined_numbers(parts), numbers)
    np.testing.assert_array_equal(joined_numbers(np.full((2, 1, 1), -1)), 0)
    with pytest.raises(DataError, match="1073741823 at most"):
        split_numbers(np.array([2**30]))


def test_targets_are_made_after_augmentation(
    cells: Dataset, tiny_trainers: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Numbers above 16 bits come through rotation and scaling as they are, and the targets are made then."""
    seen: set[int] = set()
    made: list[np.ndarray] = []

    def recorded(numbers: np.ndarray, *rest: Any) -> np.ndarray:
        seen.update(np.unique(numbers).tolist())
        made.append(targets_of(numbers, *rest))
        return made[-1]

    monkeypatch.setattr(object_trainer, "targets_of", recorded)
    trainer = trainer_of(cells)
    trainer.initialize()
    training, validation = trainer.get_dataloaders()
    for _ in range(3):
        made.clear()
        targets = next(training)["target"]
        np.testing.assert_array_equal(targets[0], np.stack(made))
        assert [tuple(each.shape[1:]) for each in targets] == [(2, 64, 64), (2, 16, 16), (2, 8, 8), (2, 4, 4)]
    assert seen == {0, 100_000, 200_000}
    assert [each.shape[1] for each in next(validation)["target"]] == [1, 1, 1, 1]


def test_targets_without_augmentation_are_those_of_the_map(cells: Dataset, tiny_trainers: None) -> None:
    trainer = trainer_of(cells)
    trainer.initialize()
    training, _ = trainer.get_tr_and_val_datasets()
    trainer.get_dataloaders()
    transforms = trainer.training_transforms(trainer.get_validation_transforms([[1.0, 1.0], [0.5, 0.5]]))
    for name in training.identifiers:
        _, segmentation, _, _ = training.load_case(name)
        target = transforms(image=torch.zeros(3, 64, 64), segmentation=torch.from_numpy(segmentation[:, 0]))
        raw = read_labels(cells.raw_folder / "instancesTr" / f"{name}.tif").data[0]
        finest, coarser = target["segmentation"]
        np.testing.assert_array_equal(finest[0], instances_to_classes(raw))
        np.testing.assert_array_equal(finest[1], np.rint(depths_of(raw) * DEPTH_SCALE))
        assert coarser.shape == (2, 32, 32)


def test_maps_are_made_again_only_if_they_change(cells: Dataset, tiny_trainers: None) -> None:
    trainer = trainer_of(cells)
    trainer.initialize()
    trainer.get_dataloaders()
    folder = Path(trainer.preprocessed_dataset_folder)
    folder = folder.with_name(f"{folder.name}_instances")
    before = {path.name: path.stat().st_mtime_ns for path in folder.glob("*.npy")}
    assert len(before) == 4
    trainer.get_dataloaders()
    assert before == {path.name: path.stat().st_mtime_ns for path in folder.glob("*.npy")}
    name = sorted(before)[0].removesuffix(".npy")
    tifffile.imwrite(cells.raw_folder / "instancesTr" / f"{name}.tif", np.ones((64, 64), np.uint8))
    trainer.get_dataloaders()
    np.testing.assert_array_equal(np.load(folder / f"{name}.npy")[0], 1)


@pytest.mark.parametrize("what", ["no folder", "no map", "another size", "no boundary"])
def test_data_that_do_not_fit(cells: Dataset, tiny_trainers: None, what: str) -> None:
    place = cells.raw_folder / "instancesTr"
    labels = OBJECT_LABELS
    if what == "no folder":
        shutil.rmtree(place)
    elif what == "no map":
        for path in sorted(place.iterdir())[:3]:
            path.unlink()
    elif what == "another size":
        for path in place.iterdir():
            tifffile.imwrite(path, np.ones((64, 65), np.uint8))
    else:
        labels = ("background", "bright", "dark")
    with pytest.raises((DataError, TrainingError), match=r"objects|boundary|shape"):  # noqa: PT012
        trainer = make_trainer(cells, SWIN_UMAMBA_D_OBJECTS, labels=labels, workers=0)
        trainer.initialize()
        trainer.get_dataloaders()


def test_the_loss() -> None:
    classes = torch.nn.CrossEntropyLoss()
    loss = LossOfObjects(lambda output, target: classes(output, target[:, 0].long()), ignore=3)  # type: ignore[arg-type]
    generator = torch.Generator().manual_seed(0)
    output = torch.randn(2, 4, 6, 7, generator=generator, requires_grad=True)
    labels = torch.randint(0, 3, (2, 1, 6, 7), generator=generator)
    depth = torch.randint(0, 1001, (2, 1, 6, 7), generator=generator)
    expected = classes(output[:, :3], labels[:, 0])
    error = (output[:, 3] - depth[:, 0] / 1000) ** 2
    found = loss(output, torch.cat([labels, depth], 1))
    torch.testing.assert_close(found, expected + DEPTH_WEIGHT * error.mean())
    found.backward()
    assert output.grad is not None
    assert (output.grad != 0).all()
    torch.testing.assert_close(loss(output[:, :3], labels), expected)


def test_the_head_is_of_no_concern_to_others() -> None:
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"depths": (1, 1, 1, 1), "features_per_stage": (8, 16, 24, 32), "d_state": 2}
    plain = SwinUMambaD(1, 3, deep_supervision=True, **sizes).eval()
    network = SwinUMambaD(1, 3, deep_supervision=True, depth_head=True, **sizes).eval()
    assert not plain.has_depth_head
    more = network.state_dict().keys() - plain.state_dict().keys()
    assert more == {"decoder.depth_head.weight", "decoder.depth_head.bias"}
    network.load_state_dict(plain.state_dict(), strict=False)
    image = torch.randn(2, 1, 48, 40)
    with torch.no_grad():
        for ours, theirs in zip(network(image), plain(image), strict=True):
            assert torch.equal(ours, theirs)
        with network.returning_depth():
            finest, *coarser = network(image)
        assert finest.shape == (2, 4, 48, 40)
        torch.testing.assert_close(finest[:, :3], plain(image)[0])
        assert [each.shape[1] for each in coarser] == [3, 3, 3]
    with pytest.raises(UsageError, match="no head"), plain.returning_depth():
        pass


def test_a_model_of_objects_is_one_for_everybody(cells: Dataset, tiny_trainers: None) -> None:
    """Trained, loaded strictly, predicted by our code with depths and by stock nnU-Net with classes."""
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    result = train(cells, trainer=SWIN_UMAMBA_D_OBJECTS, pretrained="none", **SHORT)
    model = result.fold_folder.parent
    predictor = Predictor.from_folder(model, device="cpu", mirroring=False)
    image = sorted((cells.raw_folder / "imagesTr").iterdir())[0]
    asked: list[np.ndarray | None] = []
    decode = ObjectClasses.decode

    def recorded(self: ObjectClasses, labels: np.ndarray, decoding: Decoding, **more: Any) -> Any:
        asked.append(more["depth"])
        return decode(self, labels, decoding, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ObjectClasses, "decode", recorded)
        found = predictor.predict(image, instances=True, confidence=True)
    (depth,) = asked
    assert depth is not None
    assert depth.shape == found.labels.shape == (64, 64)
    plain = predictor.predict(image)
    np.testing.assert_array_equal(plain.labels, found.labels)
    checkpoint = torch.load(model / "fold_0" / "checkpoint_final.pth", weights_only=False)
    checkpoint["trainer_name"] = "nnUNetTrainer"  # nnU-Net's own, which knows nothing of this package
    torch.save(checkpoint, model / "fold_0" / "checkpoint_final.pth")
    stock = nnUNetPredictor(device=torch.device("cpu"), allow_tqdm=False, use_mirroring=False)
    stock.initialize_from_trained_model_folder(str(model), (0,))
    patch = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(stock.network.eval()(patch), predictor.networks[0](patch))
    pixels = np.asarray(PillowImage.open(image)).astype(np.float32).transpose(2, 0, 1)[:, None]
    labels = stock.predict_single_npy_array(pixels, {"spacing": (999, 1, 1)})
    assert labels.shape == (1, 64, 64)
    assert set(np.unique(labels)) <= {0, 1, 2}
