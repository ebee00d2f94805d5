"""The recipe for touching objects: besides classes, the network learns the depth within each object.

Instance maps go with the labels through augmentation, and are then turned into targets. nnU-Net's loader
keeps segmentations as 16-bit integers. Object numbers are therefore passed on as two channels, the low and
the high part, which are looked up together (nearest neighbour), never interpolated.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from batchgeneratorsv2.transforms.base.basic_transform import SegOnlyTransform
from batchgeneratorsv2.transforms.spatial.spatial import SpatialTransform
from batchgeneratorsv2.transforms.utils.compose import ComposeTransforms
from batchgeneratorsv2.transforms.utils.deep_supervision_downsampling import DownsampleSegForDSTransform
from torch import Tensor, nn
from torch.nn import functional as F

from swin_umamba.data.image_io import image_stem, list_images, read_labels
from swin_umamba.errors import DataError, TrainingError, UsageError
from swin_umamba.files import atomic_open, file_sha256, write_text
from swin_umamba.fingerprint import fingerprint_of
from swin_umamba.instances.decoding import ObjectClasses
from swin_umamba.instances.targets import DEPTH_SCALE, targets_of
from swin_umamba.nnunet.environment import raw_folder
from swin_umamba.nnunet.preprocessed import preprocessed_name
from swin_umamba.nnunet.training.swin_umamba_trainer import SwinUMambaTrainer
from swin_umamba.progress import progress

DEPTH_WEIGHT = 5.0
"""Weight of the mean squared error of the depth, which is small compared with Dice and cross-entropy."""
PART = 2**15
"""Number of objects per value of the high part."""
HINT = "make the data set with swin-umamba convert folder --instances, and plan it again"


class ObjectTrainer(SwinUMambaTrainer):
    """Trains a network with a head for the depth within objects, whose data set has ``instancesTr``.

    Classes and depths are computed from the instance maps after augmentation. Validation and prediction by
    stock nnU-Net use the classes only.
    """

    def initialize(self) -> None:
        """Build network, optimizer and loss for a data set of objects.

        Raises
        ------
        TrainingError
            If its labels have no boundary between objects.
        """
        try:
            self.object_classes = ObjectClasses.of(self.dataset_json["labels"])
        except UsageError as error:
            raise TrainingError(error.what, where="dataset.json", hint=HINT) from error
        if self.object_classes.boundary is None:
            raise TrainingError("the data set has no class boundary", where="dataset.json", hint=HINT)
        super().initialize()

    def get_tr_and_val_datasets(self) -> tuple[CasesWithInstances, Any]:
        """Return the training cases with their objects, and the validation cases."""
        training, validation = super().get_tr_and_val_datasets()
        folder = Path(self.preprocessed_dataset_folder)
        with self.processes.first_alone():
            with_instances = prepare_instances(
                training,
                raw_folder(self.plans_manager.dataset_name),
                folder.with_name(f"{folder.name}_instances"),
                self.plans_manager.transpose_forward,
            )
        return with_instances, validation

    def training_transforms(self, transforms: ComposeTransforms) -> ComposeTransforms:
        """Return augmentations that end in classes and depths."""
        return with_object_targets(transforms, self.object_classes, self.label_manager.ignore_label)

    def build_loss(self) -> nn.Module:
        """Return nnU-Net's loss of the classes, plus the error of the depth if there is one."""
        return LossOfObjects(super().build_loss(), self.label_manager.ignore_label)

    def training_outputs(self) -> AbstractContextManager[None]:
        """Let the network return depths, too."""
        context: AbstractContextManager[None] = self.bare_network().returning_depth()
        return context


class LossOfObjects(nn.Module):
    """The loss of the classes, and the mean squared error of the depth if output and target have it.

    Parameters
    ----------
    of_classes
        Loss that takes logits and labels, or lists of both.
    ignore
        Value of pixels to ignore; None if there is none.
    """

    def __init__(self, of_classes: nn.Module, ignore: int | None) -> None:
        super().__init__()
        self.of_classes, self.ignore = of_classes, ignore

    def forward(self, output: Tensor | Sequence[Tensor], target: Tensor | Sequence[Tensor]) -> Tensor:
        """Return the loss.

        Parameters
        ----------
        output
            Logits (batch, classes, height, width), with the depth as an additional channel during training;
            or a list, finest first, whose first entry has the depth.
        target
            Labels (batch, 1, height, width), with the depth in thousandths as a second channel during
            training; or a list of these.
        """
        finest = target if isinstance(target, Tensor) else target[0]
        if finest.shape[1] == 1:
            loss: Tensor = self.of_classes(output, target)
            return loss
        first = output if isinstance(output, Tensor) else output[0]
        logits, depth = first[:, :-1], first[:, -1]
        rest = logits if isinstance(output, Tensor) else [logits, *output[1:]]
        known = torch.ones_like(depth) if self.ignore is None else (finest[:, 0] != self.ignore).float()
        error = F.mse_loss(depth.float(), finest[:, 1] / DEPTH_SCALE, reduction="none") * known
        mean = error.sum() / known.sum().clamp(min=1)
        total: Tensor = self.of_classes(rest, classes_of_targets(target)) + DEPTH_WEIGHT * mean
        return total


def split_numbers(instances: np.ndarray) -> np.ndarray:
    """Return object numbers as two 16-bit channels before the axes of the map, the low part first."""
    if int(instances.max(initial=0)) >= PART**2:
        raise DataError(f"an object has the number {instances.max()}, of {PART**2 - 1} at most")
    numbers = instances.astype(np.int64)
    return np.stack([numbers % PART, numbers // PART]).astype(np.int16)


def joined_numbers(parts: np.ndarray) -> np.ndarray:
    """Return the object numbers of two channels; nnU-Net's padding of -1 becomes background."""
    low, high = np.maximum(parts, 0).astype(np.int64)
    numbers: np.ndarray = low + PART * high
    return numbers


class CasesWithInstances:
    """An nnU-Net data set whose segmentations hold the object numbers as two more channels.

    Parameters
    ----------
    cases
        The data set.
    folder
        Folder in which :func:`prepare_instances` has put the objects of each case.
    """

    def __init__(self, cases: Any, folder: Path) -> None:
        self._cases, self._folder = cases, folder
        self.identifiers = cases.identifiers

    def load_case(self, identifier: str) -> tuple[Any, np.ndarray, None, Any]:
        """Return the image, segmentation (3, 1, y, x) int16, None, and properties of a case."""
        image, segmentation, _, properties = self._cases.load_case(identifier)
        parts = np.load(self._folder / f"{identifier}.npy", mmap_mode="r")
        return image, np.concatenate([np.asarray(segmentation[:], np.int16), parts]), None, properties


def prepare_instances(
    cases: Any, raw: Path | None, folder: Path, transpose: Sequence[int] = (0, 1, 2)
) -> CasesWithInstances:
    """Return the cases with their objects, first resampled to the grid of the preprocessed images.

    Parameters
    ----------
    cases
        nnU-Net data set.
    raw
        Raw data set, with the objects as ``instancesTr``; None if its location is unknown.
    folder
        Folder for the results; existing ones of the same map are reused.
    transpose
        Order in which nnU-Net reads the axes of an image.

    Raises
    ------
    TrainingError
        If a case has no instance map.
    DataError
        If a map cannot be read or has another size than its image.
    """
    place = None if raw is None else raw / "instancesTr"
    if place is None or not place.is_dir():
        raise TrainingError(
            "there are no maps of objects to train on", where=place or "nnUNet_raw", hint=HINT
        )
    maps = {preprocessed_name(image_stem(path)): path for path in list_images(place)}
    absent = [name for name in cases.identifiers if name not in maps]
    if absent:
        raise TrainingError(
            f"{len(absent)} cases have no map of their objects, such as {absent[0]}", where=place, hint=HINT
        )
    folder.mkdir(parents=True, exist_ok=True)
    for name in progress(cases.identifiers, "preparing objects", total=len(cases.identifiers)):
        _prepare(cases, name, maps[name], folder / f"{name}.npy", transpose)
    return CasesWithInstances(cases, folder)


def _prepare(cases: Any, name: str, source: Path, target: Path, transpose: Sequence[int]) -> None:
    image, _, _, properties = cases.load_case(name)
    shape, box = image.shape[1:], properties["bbox_used_for_cropping"]
    origin = fingerprint_of([file_sha256(source), shape, np.asarray(box).tolist(), list(transpose)])
    record = target.with_suffix(".made_from")
    if target.is_file() and record.is_file() and record.read_text(encoding="utf-8") == origin:
        return
    numbers = read_labels(source).data[0]
    numbers = (numbers[None] if numbers.ndim == 2 else numbers).transpose(transpose)
    expected = tuple(properties["shape_before_cropping"])
    if numbers.shape != expected:
        raise DataError(
            f"the map has the shape {numbers.shape}, its image {expected}", where=source, hint=HINT
        )
    numbers = numbers[tuple(slice(first, last) for first, last in box)]
    # Nearest neighbour of each pixel's centre.
    for axis, (size, own) in enumerate(zip(shape, numbers.shape, strict=True)):
        if size != own:
            places = np.floor((np.arange(size) + 0.5) * own / size).astype(int)
            numbers = numbers.take(places, axis)
    with atomic_open(target) as file:
        np.save(file, split_numbers(numbers))
    write_text(record, origin)


class ObjectTargets(SegOnlyTransform):
    """Turns augmented labels and object numbers into the targets of the loss.

    Parameters
    ----------
    classes
        Meaning of the label values.
    ignore
        Value of pixels whose truth is unknown; None if there is none.
    """

    def __init__(self, classes: ObjectClasses, ignore: int | None) -> None:
        super().__init__()
        self.classes, self.ignore = classes, ignore

    def _apply_to_segmentation(self, segmentation: Tensor, **_: Any) -> Tensor:
        labels, *parts = segmentation.numpy()
        numbers = joined_numbers(np.stack(parts))
        return torch.from_numpy(targets_of(numbers, labels, self.classes, self.ignore))


def with_object_targets(
    transforms: ComposeTransforms, classes: ObjectClasses, ignore: int | None
) -> ComposeTransforms:
    """Make augmentations look object numbers up instead of interpolating them, and end in object targets."""
    steps: list[Any] = transforms.transforms
    for step in steps:
        inner = getattr(step, "transform", step)
        if isinstance(inner, SpatialTransform):
            inner.mode_seg = "nearest"
    last = [isinstance(step, DownsampleSegForDSTransform) for step in steps]
    place = last.index(True) if True in last else len(steps)
    steps.insert(place, ObjectTargets(classes, ignore))
    return transforms


def classes_of_targets(target: Tensor | Sequence[Tensor]) -> Any:
    """Return the classes of targets, ``(batch, 1, height, width)`` or a list of these."""
    if isinstance(target, Tensor):
        return target[:, :1]
    return [each[:, :1] for each in target]
