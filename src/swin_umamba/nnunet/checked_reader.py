"""Replaces nnU-Net's image readers, which read damaged files without an error, by the reader of this package.

nnU-Net only searches its own modules for the reader that plans name, so plans still name one of those.
Wherever this package calls nnU-Net's computations, it passes them the reader in this module instead.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from nnunetv2.imageio.base_reader_writer import BaseReaderWriter
from nnunetv2.imageio.reader_writer_registry import determine_reader_writer_from_dataset_json
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from swin_umamba.data.formats import format_of
from swin_umamba.data.image import SPACING_RELATIVE_TOLERANCE
from swin_umamba.data.image_io import Image, read_case, read_labels
from swin_umamba.errors import DataError
from swin_umamba.nnunet.stdout import stdout_to_log
from swin_umamba.options import Nonfinite

# Spacing that nnU-Net's reader returns for every picture: models trained on pictures count pixels.
PICTURE_SPACING = (999, 1, 1)


def stock_reader(description: Mapping[str, Any], example: str | Path) -> type[BaseReaderWriter]:
    """Return nnU-Net's reader for a data set: the one that it names, or the first that can read ``example``.

    Raises
    ------
    DataError
        If nnU-Net has none.
    """
    try:
        # nnU-Net prints the whole traceback of each reader that fails.
        with contextlib.redirect_stderr(io.StringIO()):
            reader: type[Any] = determine_reader_writer_from_dataset_json(
                dict(description), str(example), verbose=False
            )
            return reader
    except RuntimeError as error:
        raise DataError(
            f"nnU-Net has no reader for this file, of a data set of {description['file_ending']!r} files",
            where=example,
            hint="convert the data set, for example to .nii.gz, .png or .tif: see swin-umamba convert --help",
        ) from error


class CheckedReader(BaseReaderWriter):
    """Reads voxels through ``data/image_io.py``, and properties for writing results with nnU-Net's reader.

    Parameters
    ----------
    stock
        nnU-Net's reader of the format.
    nonfinite
        Treatment of NaN and infinite voxels of images: refuse them or set them to zero.
    """

    def __init__(self, stock: type[BaseReaderWriter], nonfinite: Nonfinite = "refuse") -> None:
        self.stock = stock()
        self.nonfinite = nonfinite
        # These readers reorient images to standard axes, which ours does not: for them, it only checks the
        # files.
        self.reorients = stock.__name__.endswith("WithReorient")

    def read_images(self, image_fnames: Sequence[str]) -> tuple[np.ndarray, dict[str, Any]]:
        """Return an image as float32 ``(channels, z, y, x)`` and nnU-Net's properties of it.

        Raises
        ------
        DataError
            If a file is damaged or holds NaN or infinity, or nnU-Net's reader finds another shape or spacing,
            or other pixels in a picture.
        """
        return self.compared(read_case(list(image_fnames), nonfinite=self.nonfinite), image_fnames)

    def compared(self, image: Image, files: Sequence[str | Path]) -> tuple[np.ndarray, dict[str, Any]]:
        """Return what ``read_images`` does for an image that has been read from ``files``.

        Raises
        ------
        DataError
            If nnU-Net's reader cannot read the files, or finds another shape or spacing.
        """
        try:
            with stdout_to_log():
                data, properties = self.stock.read_images([str(path) for path in files])
        except (RuntimeError, AssertionError, ValueError, KeyError, IndexError, TypeError) as error:
            raise DataError(
                f"nnU-Net's reader {self._name} cannot read it: {error}",
                where=files[0],
                hint="convert it to .nii.gz or .png",
            ) from error
        voxels = self._checked(image.data, data, files[0])
        self._check_spacing(image, properties["spacing"], files[0])
        return voxels, properties

    def read_seg(self, seg_fname: str) -> tuple[np.ndarray, dict[str, Any]]:
        """Return a label map as float32 ``(1, z, y, x)`` and nnU-Net's properties of it.

        Raises
        ------
        DataError
            As for images, and if values are not class numbers.
        """
        labels = read_labels(seg_fname)
        data, properties = self.stock.read_seg(seg_fname)
        return self._checked(labels.data, data, seg_fname), properties

    def write_seg(self, seg: np.ndarray, output_fname: str, properties: dict[str, Any]) -> None:
        """Write a label map as nnU-Net does."""
        self.stock.write_seg(seg, output_fname, properties)

    def _checked(self, ours: np.ndarray, theirs: np.ndarray, path: str | Path) -> np.ndarray:
        if self.reorients:
            finite = np.isfinite(theirs)
            return np.where(finite, theirs, np.float32(0)).astype(np.float32, copy=False)
        if ours.ndim == 3:  # nnU-Net treats flat images as one slice
            ours = ours[:, None]
        if ours.shape[1:] != theirs.shape[1:]:
            raise DataError(
                f"the file holds an image of shape {ours.shape[1:]}, but nnU-Net's reader "
                f"{self._name} sees {theirs.shape[1:]}",
                where=path,
                hint="convert it to .nii.gz or .png",
            )
        ours = ours.astype(np.float32)
        more = len(theirs) - len(ours)  # 1: an opaque alpha channel
        if not format_of(path).has_geometry and more in (0, 1):
            self._check_pixels(ours, theirs[: len(ours)], path)
        return ours

    def _check_pixels(self, ours: np.ndarray, theirs: np.ndarray, path: str | Path) -> None:
        """Refuse a picture that stock nnU-Net reads differently: rotated by a tag, 16 bits, or white as 0."""
        differ = np.isfinite(theirs) & (ours != theirs)
        if differ.any():
            raise DataError(
                f"{np.count_nonzero(differ)} of {differ.size} pixels are not what nnU-Net's reader "
                f"{self._name} reads: it ignores the orientation, 16-bit colours, and white stored as 0",
                where=path,
                hint="make the data set with swin-umamba convert, whose pictures both read equally",
            )

    def _check_spacing(self, image: Image, theirs: Sequence[float], path: str | Path) -> None:
        """Refuse a file for which planning would use another spacing than prediction."""
        if tuple(theirs) == PICTURE_SPACING:
            return
        ours = image.spacing
        seen = [float(value) for value in theirs][-len(ours) :]
        if self.reorients:
            ours, seen = tuple(sorted(ours)), sorted(seen)
        if not np.allclose(ours, seen, rtol=SPACING_RELATIVE_TOLERANCE, atol=0):
            known = "mm" if image.has_spacing else "(not known)"
            raise DataError(
                f"the file's spacing is {_listed(ours)} {known}, but nnU-Net's reader {self._name} takes "
                f"{_listed(seen)}",
                where=path,
                hint="save it as .nii.gz with lengths in mm; for TIFF, put nnU-Net's spacing file beside it",
            )

    @property
    def _name(self) -> str:
        return type(self.stock).__name__


def _listed(spacing: Sequence[float]) -> str:
    return " x ".join(f"{value:.6g}" for value in spacing)


def checked(stock: type[BaseReaderWriter], nonfinite: Nonfinite = "refuse") -> Callable[[], CheckedReader]:
    """Return a factory of readers for nnU-Net, which also works in worker processes."""
    return partial(CheckedReader, stock, nonfinite)


class CheckedPlans(PlansManager):
    """Plans whose images are read through ``CheckedReader``, for nnU-Net's preprocessing.

    Parameters
    ----------
    plans
        The plans file or its content.
    nonfinite
        As for ``CheckedReader``.
    """

    def __init__(self, plans: str | dict[str, Any], nonfinite: Nonfinite = "refuse") -> None:
        super().__init__(plans)
        self.nonfinite = nonfinite

    @property
    def image_reader_writer_class(self) -> Callable[[], CheckedReader]:
        """Factory of the reader."""
        return checked(super().image_reader_writer_class, self.nonfinite)
