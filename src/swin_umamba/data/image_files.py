"""Which files of a folder are images, judged by their names."""

from __future__ import annotations

import unicodedata
from pathlib import Path

from swin_umamba.data.dicom import holds_dicom, is_dicom_folder, is_segmentation_folder
from swin_umamba.data.formats import image_suffix, image_suffixes, is_image_name
from swin_umamba.errors import DataError
from swin_umamba.pseudonyms import current, hide_below


def list_images(path: str | Path) -> list[Path]:
    """Return the image files of a folder sorted by name, or ``path`` itself if it is an image.

    A folder with DICOM files is one image, unless all of them are segmentations, and so is a subfolder with
    DICOM files in it or below it. Hidden files, other subfolders and files of other formats are skipped.

    Raises
    ------
    DataError
        The file or folder does not exist, or there is no image in it.
    """
    images = _list_images(Path(path))
    if (pseudonyms := current()) is not None:
        for image in images:  # so that a message about any of them hides its name
            pseudonyms.of(image_stem(image))
            if image.is_dir():
                hide_below(image)
    return images


def _list_images(path: Path) -> list[Path]:
    if path.is_file():
        image_suffix(path)
        return [path]
    if not path.is_dir():
        raise DataError("there is no such file or folder", where=path, hint="check the path")
    if is_dicom_folder(path) and not is_segmentation_folder(path):
        return [path]
    images = sorted(
        file
        for file in path.iterdir()
        if not file.name.startswith(".") and ((file.is_file() and is_image_name(file)) or holds_dicom(file))
    )
    if not images:
        raise DataError(
            "the folder holds no images",
            where=path,
            hint=f"put images there: {', '.join(sorted(image_suffixes()))}",
        )
    return images


def image_stem(path: str | Path) -> str:
    """Return the name of an image file without folder and suffix; for a folder of DICOM files, its name.

    Accented letters are composed (Unicode's NFC): file systems and programs store them in two ways that look
    alike, and names are compared.
    """
    path = Path(path)
    is_folder = not is_image_name(path) and path.is_dir()
    return unicodedata.normalize(
        "NFC", path.resolve().name if is_folder else path.name[: -len(image_suffix(path))]
    )
