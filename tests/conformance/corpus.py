"""One small volume and one picture in every format, written by libraries that are not the reader's."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import SimpleITK as sitk
import tifffile
from PIL import Image as PillowImage

from conformance.dicom_files import Slice, write_series

SPACING = (2.5, 0.75, 0.5)
"""Of the volume, along z, y and x in mm."""
ORIGIN = (-7.25, 11.5, 3.0)
"""Of the volume, in ITK's world (to the left, posterior, superior)."""
AXES = np.array(((0.8, 0.6, 0.0), (-0.36, 0.48, 0.8), (0.48, -0.64, 0.6)))
"""Directions of x, y and z in ITK's world."""
TO_RAS = np.array((-1.0, -1.0, 1.0))


def _blocks(shape: tuple[int, ...], size: tuple[int, ...], seed: int) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(
        0, 250, [n // step for n, step in zip(shape, size, strict=True)]
    )
    return np.kron(coarse, np.ones(size, np.int64))


VOLUME = (_blocks((4, 40, 36), (1, 5, 6), 0) + np.random.default_rng(1).integers(0, 40, (4, 40, 36))).astype(
    np.int16
)
PICTURE = _blocks((40, 48), (8, 8), 2).astype(np.uint8)
"""Of squares that JPEG keeps as they are."""
VOLUME_LABELS = (VOLUME > 140).astype(np.uint8) + (VOLUME > 220)
PICTURE_LABELS = (PICTURE > 140).astype(np.uint8) + (PICTURE > 220)


def affine() -> np.ndarray:
    """Return the matrix that leads from the indices (x, y, z) to NIfTI's world."""
    matrix = np.eye(4)
    matrix[:3, :3] = (AXES * np.array(SPACING)[::-1, None] * TO_RAS).T
    matrix[:3, 3] = np.array(ORIGIN) * TO_RAS
    return matrix


def _by_nibabel(path: Path, voxels: np.ndarray) -> None:
    nibabel.save(nibabel.Nifti1Image(voxels.transpose(), affine()), path)


def _by_itk(path: Path, voxels: np.ndarray) -> None:
    image = sitk.GetImageFromArray(voxels)
    image.SetSpacing(SPACING[::-1])
    image.SetOrigin(ORIGIN)
    image.SetDirection(AXES.T.ravel().tolist())
    sitk.WriteImage(image, str(path), useCompression=path.suffix in (".mha", ".nrrd"))


def _by_tifffile(path: Path, voxels: np.ndarray) -> None:
    tifffile.imwrite(path, voxels, photometric="minisblack")
    path.with_suffix(".json").write_text(json.dumps({"spacing": list(SPACING)}))


def _as_dicom(path: Path, voxels: np.ndarray) -> None:
    step = np.array(AXES[2]) * SPACING[0]
    orientation = tuple(AXES[:2].ravel())
    slices = [
        Slice(plane, tuple(ORIGIN + step * number), orientation, SPACING[1:])
        for number, plane in enumerate(voxels.astype(np.uint16))
    ]
    write_series(path, slices)


def _by_pillow(path: Path, voxels: np.ndarray) -> None:
    PillowImage.fromarray(voxels).save(path, quality=100)


def _flat_tiff(path: Path, voxels: np.ndarray) -> None:
    tifffile.imwrite(path, voxels, photometric="minisblack")


def _flat_by_itk(path: Path, voxels: np.ndarray) -> None:
    sitk.WriteImage(sitk.GetImageFromArray(voxels), str(path))


Writer = Callable[[Path, np.ndarray], None]
VOLUMES: dict[str, Writer] = {
    ".nii.gz": _by_nibabel,
    ".nii": _by_nibabel,
    ".mha": _by_itk,
    ".mhd": _by_itk,
    ".nrrd": _by_itk,
    ".seg.nrrd": _by_itk,
    ".nhdr": _by_itk,
    ".tif": _by_tifffile,
    "": _as_dicom,
}
"""Suffix to what writes a volume; a DICOM series is a folder."""
PICTURES: dict[str, Writer] = {
    ".png": _by_pillow,
    ".bmp": _by_pillow,
    ".jpg": _by_pillow,
    ".tif": _flat_tiff,
    ".mha": _flat_by_itk,
    ".nrrd": _flat_by_itk,
}


def write(folder: Path, voxels: np.ndarray, *, suffixes: object = None) -> dict[str, Path]:
    """Write a volume or picture in every format, as ``case_FORMAT``; return the files by their suffixes."""
    writers = VOLUMES if voxels.ndim == 3 else PICTURES
    folder.mkdir(parents=True, exist_ok=True)
    found = {}
    for suffix in writers if suffixes is None else suffixes:  # type: ignore[union-attr]
        found[suffix] = folder / f"case_{suffix.replace('.', '') or 'dicom'}{suffix}"
        writers[suffix](found[suffix], voxels)
    return found
