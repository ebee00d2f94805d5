"""The one image reader in the place of nnU-Net's own, which read damaged files without a word.

nnU-Net looks for the reader that plans name only among its own modules, so plans keep naming one of those.
Wherever this package calls nnU-Net's computations, it hands them the reader of this module instead.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal

import numpy as np
from nnunetv2.imageio.base_reader_writer import BaseReaderWriter
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from swin_umamba.data.image_io import read_case, read_labels
from swin_umamba.errors import DataError

NonFinite = Literal["refuse", "zero"]


class CheckedReader(BaseReaderWriter):
    """Voxels through ``data/image_io.py``; the properties that nnU-Net writes results with by its own reader.

    Parameters
    ----------
    stock
        nnU-Net's reader of the format.
    nonfinite
        What to do about NaN and infinite voxels of images: refuse them or set them to zero.
    """

    def __init__(self, stock: type[BaseReaderWriter], nonfinite: NonFinite = "refuse") -> None:
        self.stock = stock()
        self.nonfinite = nonfinite
        # These readers turn images to standard axes, which ours does not: there it only checks.
        self.reorients = stock.__name__.endswith("WithReorient")

    def read_images(self, image_fnames: Sequence[str]) -> tuple[np.ndarray, dict[str, Any]]:
        """Return an image as float32 ``(channels, z, y, x)`` and nnU-Net's properties of it.

        Raises
        ------
        DataError
            A file is damaged, holds NaN or infinity, or nnU-Net's reader sees another shape.
        """
        image = read_case(list(image_fnames), nonfinite=self.nonfinite)
        data, properties = self.stock.read_images(image_fnames)
        return self._checked(image.data, data, image_fnames[0]), properties

    def read_seg(self, seg_fname: str) -> tuple[np.ndarray, dict[str, Any]]:
        """Return a label map as float32 ``(1, z, y, x)`` and nnU-Net's properties of it.

        Raises
        ------
        DataError
            As for images, and for values that are no class numbers.
        """
        labels = read_labels(seg_fname)
        data, properties = self.stock.read_seg(seg_fname)
        return self._checked(labels.data, data, seg_fname), properties

    def write_seg(self, seg: np.ndarray, output_fname: str, properties: dict[str, Any]) -> None:
        """Write a label map as nnU-Net does."""
        self.stock.write_seg(seg, output_fname, properties)

    def _checked(self, ours: np.ndarray, theirs: np.ndarray, path: str) -> np.ndarray:
        if self.reorients:
            finite = np.isfinite(theirs)
            return np.where(finite, theirs, np.float32(0)).astype(np.float32, copy=False)
        if ours.ndim == 3:  # nnU-Net gives flat images one slice
            ours = ours[:, None]
        if ours.shape[1:] != theirs.shape[1:]:
            raise DataError(
                f"the file holds an image of shape {ours.shape[1:]}, but nnU-Net's reader "
                f"{type(self.stock).__name__} sees {theirs.shape[1:]}",
                where=path,
                cure="convert it to .nii.gz or .png",
            )
        return ours.astype(np.float32)


def checked(stock: type[BaseReaderWriter], nonfinite: NonFinite = "refuse") -> Callable[[], CheckedReader]:
    """Return what nnU-Net calls to make a reader, for worker processes too."""
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

    def __init__(self, plans: str | dict[str, Any], nonfinite: NonFinite = "refuse") -> None:
        super().__init__(plans)
        self.nonfinite = nonfinite

    @property
    def image_reader_writer_class(self) -> Callable[[], CheckedReader]:
        """What makes the reader."""
        return checked(super().image_reader_writer_class, self.nonfinite)
