"""Which files are images, and of which format, told by their names."""

from __future__ import annotations

from pathlib import Path

from swin_umamba.data.pictures import FORMAT_OF_SUFFIX
from swin_umamba.errors import DataError

NIFTI_SUFFIXES = (".nii.gz", ".nii")
TIFF_SUFFIXES = (".tiff", ".tif")
LOSSY_SUFFIXES = (".jpeg", ".jpg")
IMAGE_SUFFIXES = (*NIFTI_SUFFIXES, *TIFF_SUFFIXES, *FORMAT_OF_SUFFIX)


def list_images(path: str | Path) -> list[Path]:
    """Return the image files of a folder sorted by name, or the one file that ``path`` is.

    Hidden files, subfolders and files of other formats are skipped.

    Raises
    ------
    DataError
        There is no such file or folder, or no image in it.
    """
    path = Path(path)
    if path.is_file():
        image_suffix(path)
        return [path]
    if not path.is_dir():
        raise DataError("there is no such file or folder", where=path, cure="check the path")
    images = sorted(
        file
        for file in path.iterdir()
        if not file.name.startswith(".") and file.name.lower().endswith(IMAGE_SUFFIXES) and file.is_file()
    )
    if not images:
        raise DataError(
            "the folder holds no images",
            where=path,
            cure=f"put images there: {', '.join(sorted(IMAGE_SUFFIXES))}",
        )
    return images


def image_suffix(path: str | Path) -> str:
    """Return the suffix of an image file in lower case (``.nii.gz`` counts as one).

    Raises
    ------
    DataError
        It is not the suffix of a format that can be read.
    """
    name = Path(path).name.lower()
    for suffix in IMAGE_SUFFIXES:
        if name.endswith(suffix):
            return suffix
    raise DataError(
        "the format of this file is not known",
        where=path,
        cure=f"convert it to one of {', '.join(IMAGE_SUFFIXES)}",
    )


def image_stem(path: str | Path) -> str:
    """Return the name of an image file without folder and suffix."""
    return Path(path).name[: -len(image_suffix(path))]
