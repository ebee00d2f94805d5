"""Conversion of a user's own images and masks, in any naming and format, to an nnU-Net data set."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from swin_umamba.data.datasets.conversion import (
    Conversion,
    LeftOut,
    Split,
    refuse_damaged,
    store_picture,
    write_dataset,
)
from swin_umamba.data.datasets.folder_classes import ClassMasks
from swin_umamba.data.datasets.folder_objects import ObjectMasks
from swin_umamba.data.datasets.folder_pairs import Pair, find_pairs, pairs_of_entries
from swin_umamba.data.image_io import Image, is_image_name, read_case, write_image
from swin_umamba.data.object_masks.coco import CocoFile
from swin_umamba.errors import DataError, UsageError
from swin_umamba.progress import progress

MAX_LEFT_OUT = 0.5
_RGB = ("R", "G", "B")
_HELD_OUT = {"test", "tests", "testing", "val", "valid", "validation"}
"""Names of folders whose images are usually kept from the training."""


@dataclass(frozen=True)
class _Case:
    """A pair, which becomes a training case."""

    pair: Pair
    split: Split = "Tr"

    @property
    def name(self) -> str:
        return self.pair.name


@dataclass(frozen=True)
class _Format:
    """How the images of a data set are stored."""

    ending: str
    num_channels: int
    coloured: bool  # red, green and blue
    remarks: tuple[str, ...] = ()

    @property
    def as_rgb(self) -> bool:
        """Whether the three colours are in one file."""
        return self.coloured and self.ending != ".nii.gz"


@dataclass(frozen=True)
class _Look:
    """The properties of an image that determine the format."""

    path: Path
    ndim: int
    num_channels: int
    files: int
    dtype: np.dtype
    has_spacing: bool
    has_orientation: bool


def convert_folder(
    images: str | Path,
    masks: str | Path,
    folder: str | Path,
    *,
    classes: Sequence[str] = (),
    background: Sequence[str] = (),
    threshold: int | None = None,
    channels: Sequence[str] = (),
    skip_damaged: bool = False,
    max_left_out: float = MAX_LEFT_OUT,
    series: str | None = None,
    instances: bool = False,
    fraction: float | None = None,
) -> Conversion:
    """Convert a folder of images and a folder of masks to a data set.

    Pictures (grey or RGB) become PNG, or TIFF if nnU-Net's reader would not see their values in PNG
    (fractions, negative numbers, 16-bit colours); they are stored as displayed. Volumes become NIfTI, and so
    do pictures if all of them give their pixel size, as those from scanners and microscopes do.

    Parameters
    ----------
    images, masks
        The folders; see :func:`find_pairs` for how names are matched.
    folder
        The new data set.
    classes, background
        See :meth:`ClassSurvey.table`.
    threshold
        Foreground threshold for masks of one class that are soft or JPEG: this value and above are
        foreground.
    channels
        Channel names. nnU-Net normalizes a channel ``CT`` in its own way.
    skip_damaged
        See :func:`write_dataset`.
    max_left_out
        Largest fraction of the images that may be left out because they are damaged or have no mask.
    series
        UID or number of the series to use from DICOM folders with several.
    instances
        Whether the masks distinguish objects, by numbers, separate files or outlines; ``masks`` may then be a
        COCO file. See ``data.object_masks`` and :class:`ObjectMasks`.
    fraction
        Threshold for DICOM segmentations of fractions; see ``read_labels``.

    Raises
    ------
    DataError, OutputError
        See :func:`write_dataset`; also if the images are of different kinds or too many would be left out.
    UsageError
        Classes or channels do not fit the data.
    """
    truth: ClassMasks | ObjectMasks
    if instances:
        if background or threshold is not None:
            raise UsageError("objects have no --background and no --threshold", where="--instances")
        coco = CocoFile(Path(masks)) if Path(masks).is_file() else None
        truth = ObjectMasks(coco, classes)
    else:
        coco, truth = None, ClassMasks(classes, background, threshold, fraction)
    if coco is not None:
        pairs, left_out = pairs_of_entries(Path(images), Path(masks), coco.file_names)
    else:
        pairs, left_out = find_pairs(Path(images), Path(masks), objects=instances)
    looks: list[_Look] = []
    usable: list[_Case] = []
    problems: list[LeftOut] = []
    for pair in progress(pairs, "looking at the images", total=len(pairs)):
        try:
            image = read_case(pair.images, series=series)
            mask: Any = truth.read(pair, image)
        except DataError as error:
            problems.append(LeftOut(error.where or pair.name, error.what))
        else:
            truth.add(pair, mask)
            looks.append(_look(pair, image))
            usable.append(_Case(pair))
    if problems and not (usable and skip_damaged):
        refuse_damaged(problems)
    _check_share(Path(images), left_out, problems, len(usable), max_left_out)
    labels = truth.labels()
    stored = _choose_format(looks)
    names = _channel_names(channels, stored)
    remarks = truth.remarks()
    remarks += [*stored.remarks, *_held_out(Path(images), usable)]
    if stored.coloured and any(look.num_channels == 1 for look in looks):
        count = sum(look.num_channels == 1 for look in looks)
        remarks.append(f"{count} grey images among coloured ones: stored as RGB")
    return write_dataset(
        folder,
        usable,
        partial(_write_case, truth=truth, labels=labels, stored=stored, series=series),
        {
            "channel_names": {str(number): name for number, name in enumerate(names)},
            "labels": dict(labels),
            "file_ending": stored.ending,
        },
        left_out=left_out,
        problems=problems,
        remarks=remarks,
        skip_damaged=skip_damaged,
    )


def _held_out(images: Path, cases: Sequence[_Case]) -> list[str]:
    """Return a remark if some of the images lie in folders that are named like those for a test."""
    found: Counter[str] = Counter()
    for case in cases:
        path = case.pair.images[0]
        folders = path.relative_to(images).parts[:-1] if path.is_relative_to(images) else ()
        found.update({folder for folder in folders if folder.casefold() in _HELD_OUT})
    if not found or found.total() >= len(cases):
        return []
    counts = ", ".join(f"{folder} ({count})" for folder, count in sorted(found.items()))
    return [
        f"images in folders called {counts} become training cases like the others; to keep them apart, give "
        "--images and --masks the folders of the training images alone"
    ]


def _check_share(
    images: Path, left_out: Sequence[LeftOut], problems: Sequence[LeftOut], usable: int, largest: float
) -> None:
    """Refuse to use only the smaller part of the images: the names were probably not understood."""
    alone = [each for each in left_out if _is_image_in(images, Path(each.path))]
    lost, total = len(alone) + len(problems), len(alone) + len(problems) + usable
    if lost > largest * total:
        reasons = Counter(each.reason for each in (*alone, *problems)).most_common(3)
        raise DataError(
            f"{lost} of {total} images would be left out: "
            + "; ".join(f"{count} x {reason}" for reason, count in reasons),
            where=(*alone, *problems)[0].path,
            hint="give images and masks the same names, or allow a larger share with --max-left-out "
            f"(now {largest:g}); nothing was written",
        )


def _is_image_in(folder: Path, path: Path) -> bool:
    return path.is_relative_to(folder) and (path.is_dir() or is_image_name(path))


def _look(pair: Pair, image: Image) -> _Look:
    return _Look(
        pair.images[0],
        len(image.spatial_shape),
        image.num_channels,
        len(pair.images),
        image.data.dtype,
        image.has_spacing,
        image.has_orientation,
    )


def _choose_format(looks: Sequence[_Look]) -> _Format:
    """Return the format that holds all images, or refuse images that do not belong together."""
    by_ndim = {look.ndim: look for look in looks}
    if len(by_ndim) > 1:
        raise DataError(
            "some images are pictures, others volumes",
            where=f"{by_ndim[2].path} and {by_ndim[3].path}",
            hint="convert them as two data sets",
        )
    counts = Counter(look.num_channels for look in looks)
    colours = counts.keys() <= {1, 3} and all(
        look.files == 1 and look.dtype in (np.uint8, np.uint16) for look in looks if look.num_channels == 3
    )
    if len(counts) > 1 and not (colours and 2 in by_ndim):
        rarest = min(counts, key=lambda channels: counts[channels])
        kinds = ", ".join(f"{number} have {channels}" for channels, number in counts.items())
        raise DataError(
            f"the images have different numbers of channels: {kinds}",
            where=next(look.path for look in looks if look.num_channels == rarest),
            hint="convert them to the same number of channels, or as two data sets",
        )
    num_channels = max(counts)
    coloured = colours and num_channels == 3
    sized, remarks = _are_sized(looks)
    if 3 in by_ndim or sized:
        return _Format(".nii.gz", num_channels, coloured and 2 in by_ndim, remarks)
    # nnU-Net's reader sees 8 of the 16 bits of colours in PNG.
    small = (np.uint8,) if coloured else (np.uint8, np.uint16)
    ending = ".png" if all(look.dtype in small for look in looks) else ".tif"
    return _Format(ending, num_channels, coloured, remarks)


def _are_sized(looks: Sequence[_Look]) -> tuple[bool, tuple[str, ...]]:
    """Return whether the images give their pixel size, and what a user should know about that.

    Only TIFF pictures may differ in this, since some programs write a size and others do not: all of them are
    then counted in pixels, as pictures are.
    """
    with_size = next((look for look in looks if look.has_spacing), None)
    without = next((look for look in looks if not look.has_spacing), None)
    if without is None:
        kept = () if any(look.has_orientation for look in looks) else ("sizes of pixels are kept, in NIfTI",)
        return True, kept
    if with_size is None:
        volumes = looks[0].ndim == 3
        return False, ("the size of a voxel is not known: it counts as 1 mm",) if volumes else ()
    if looks[0].ndim == 3 or any(look.has_orientation for look in looks):
        raise DataError(
            "some images say how large a voxel is, others do not",
            where=f"{with_size.path} and {without.path}",
            hint="add the size (beside a TIFF volume CASE.json with its spacing), or make two data sets",
        )
    count = sum(look.has_spacing for look in looks)
    return False, (f"{count} of {len(looks)} pictures say how large a pixel is: not kept, pixels count",)


def _channel_names(given: Sequence[str], stored: _Format) -> Sequence[str]:
    if given and len(given) != stored.num_channels:
        raise UsageError(
            f"{len(given)} channel names are given, the images have {stored.num_channels} channels",
            where="--channels",
        )
    if given:
        return given
    if stored.coloured:
        return _RGB
    numbers = range(stored.num_channels)
    return ("image",) if stored.num_channels == 1 else [f"channel_{number}" for number in numbers]


def _write_case(
    case: _Case,
    folder: Path,
    *,
    truth: ClassMasks | ObjectMasks,
    labels: Mapping[str, int],
    stored: _Format,
    series: str | None,
) -> list[str]:
    image = read_case(case.pair.images, series=series)
    mask: Any = truth.read(case.pair, image)
    place = folder / f"images{case.split}"
    paths = [place / f"{case.name}_{number:04d}{stored.ending}" for number in range(stored.num_channels)]
    if stored.as_rgb:
        if image.num_channels == 3 and stored.ending == ".png":
            store_picture(image, paths[0])
        else:
            write_image(paths[0], image.with_data(np.repeat(image.data, 3 // image.num_channels, axis=0)))
    else:
        data = np.repeat(image.data, stored.num_channels // image.num_channels, axis=0)
        for path, channel in zip(paths, data, strict=True):
            write_image(path, image.with_data(channel[None]))
    truth.write(folder / f"labels{case.split}" / f"{case.name}{stored.ending}", mask, image, labels)
    return []
