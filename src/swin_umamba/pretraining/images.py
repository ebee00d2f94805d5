"""Labelled pictures in folders: finding them, splitting them, and making batches of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import KW_ONLY, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from swin_umamba.data.image_io import image_suffixes, is_image_name, read_image
from swin_umamba.errors import DataError, SwinUMambaError
from swin_umamba.pretraining.augmentation import to_input, training_crop, validation_crop

Sample = tuple[Path, int]
Batch = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class LabelledImages:
    """The images of a folder.

    Attributes
    ----------
    classes
        Names of the classes; a label is an index into it.
    training, validation
        Files and labels.
    """

    classes: tuple[str, ...]
    training: tuple[Sample, ...]
    validation: tuple[Sample, ...]


def find_images(folder: str | Path, *, validation_fraction: float, seed: int) -> LabelledImages:
    """Find the images of a folder with one subfolder per class.

    Parameters
    ----------
    folder
        Either ``train/CLASS/...`` and ``val/CLASS/...``, or ``CLASS/...`` alone. Class folders are searched
        to any depth.
    validation_fraction
        Fraction of each class held out for validation if there is no folder ``val``; at least one image.
    seed
        Seed of that choice.

    Raises
    ------
    DataError
        If a folder is missing, has fewer than two classes, or has a class without images or, if some are held
        out, with only one; or if ``val`` has a class that ``train`` lacks.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError("there is no such folder", where=folder, hint="check the path")
    if not (folder / "train").is_dir():
        return _split(folder, _by_class(folder), validation_fraction, seed)
    training = _by_class(folder / "train")
    if not (folder / "val").is_dir():
        return _split(folder, training, validation_fraction, seed)
    validation = _by_class(folder / "val")
    if unknown := sorted(validation.keys() - training.keys()):
        raise DataError(
            f"classes of the validation images that no training image has: {', '.join(unknown)}",
            where=folder / "val",
            hint="give train and val folders of the same names",
        )
    classes = tuple(training)
    return LabelledImages(classes, _labelled(training, classes), _labelled(validation, classes))


@dataclass(eq=False)
class ImageDataset(Dataset[tuple[Tensor, int] | SwinUMambaError]):
    """Cropped, normalised images, whose random numbers depend on seed, epoch and index alone.

    So they are the same with any number of loader processes, on any number of devices, and after resuming.

    Attributes
    ----------
    samples
        Files and labels.
    in_channels, image_size
        Shape of the images.
    augmented
        Whether to return random training crops instead of the centre.
    smallest_crop, colour_jitter
        See ``training_crop``.
    seed
        Seed of the augmentation.
    epoch
        Current epoch, to be set before each pass over the data.
    """

    samples: tuple[Sample, ...]
    _: KW_ONLY
    in_channels: int
    image_size: int
    augmented: bool
    smallest_crop: float
    colour_jitter: float
    seed: int
    epoch: int = 0

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[Tensor, int] | SwinUMambaError:
        """Return (in_channels, size, size) float32 and the label; for an unreadable image, the error.

        The error is returned because, if raised, a loader process would turn it into a page of text.
        """
        path, label = self.samples[index]
        try:
            image = to_input(read_image(path).data, self.in_channels, path)
        except SwinUMambaError as error:
            return error
        if not self.augmented:
            return validation_crop(image, self.image_size), label
        rng = np.random.default_rng([self.seed, self.epoch, index])
        crop = training_crop(
            image, self.image_size, rng, smallest_crop=self.smallest_crop, colour_jitter=self.colour_jitter
        )
        return crop, label


def collate(items: list[tuple[Tensor, int] | SwinUMambaError]) -> Batch | SwinUMambaError:
    """Stack images and labels, or return the first error among them."""
    samples = []
    for item in items:
        if isinstance(item, SwinUMambaError):
            return item
        samples.append(item)
    return torch.stack([image for image, _ in samples]), torch.tensor([label for _, label in samples])


def batches(loader: DataLoader[Batch]) -> Iterator[Batch]:
    """Yield the batches of a loader; raise the error of an unreadable image."""
    for batch in loader:
        if isinstance(batch, SwinUMambaError):
            raise batch
        yield batch


def _by_class(folder: Path) -> dict[str, list[Path]]:
    """Return the image files of each class, all sorted by name."""
    names = sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and entry.name[0] != ".")
    if len(names) < 2:
        raise DataError(
            f"the folder has {len(names)} class folders, a classifier needs at least 2",
            where=folder,
            hint="put the images of each class into a folder of its own: FOLDER/train/CLASS/image.png",
        )
    files = {
        name: sorted(
            path
            for path in (folder / name).rglob("*")
            if is_image_name(path) and path.name[0] != "." and path.is_file()
        )
        for name in names
    }
    if empty := [name for name, paths in files.items() if not paths]:
        raise DataError(
            f"these class folders hold no images: {', '.join(empty)}",
            where=folder,
            hint=f"put images there ({', '.join(sorted(image_suffixes()))}), or remove the folders",
        )
    return files


def _split(folder: Path, files: dict[str, list[Path]], fraction: float, seed: int) -> LabelledImages:
    """Hold out a random part of each class."""
    classes = tuple(files)
    if single := [name for name, paths in files.items() if len(paths) < 2]:
        raise DataError(
            f"these classes have a single image, and none is left to validate: {', '.join(single)}",
            where=folder,
            hint="add images, or give a folder val",
        )
    held_out: dict[str, list[Path]] = {}
    kept: dict[str, list[Path]] = {}
    for label, (name, paths) in enumerate(files.items()):
        order = np.random.default_rng([seed, label]).permutation(len(paths))
        count = min(max(round(fraction * len(paths)), 1), len(paths) - 1)
        held_out[name] = [paths[index] for index in sorted(order[:count])]
        kept[name] = [paths[index] for index in sorted(order[count:])]
    return LabelledImages(classes, _labelled(kept, classes), _labelled(held_out, classes))


def _labelled(files: dict[str, list[Path]], classes: tuple[str, ...]) -> tuple[Sample, ...]:
    return tuple((path, classes.index(name)) for name, paths in files.items() for path in paths)
