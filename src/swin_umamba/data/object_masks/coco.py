"""Objects of COCO's ``annotations.json``: polygons, and run lengths, compressed or not.

Source: https://cocodataset.org/#format-data. Run lengths follow the columns and begin with the background;
the compressed form writes differences to the length before the last in six-bit characters, in which one bit
says that more follow.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from swin_umamba.data.object_masks.object_map import OneObject, check_annotated_size, union
from swin_umamba.data.object_masks.polygons import polygon_object
from swin_umamba.errors import DataError
from swin_umamba.json_files import LARGEST_RESULTS, read_json
from swin_umamba.schema import Provenance, listed, table, text, whole

HINT = "export the annotations again, as COCO's instances with polygons or RLE"
_MANY = range(10**7)
_FILE = table(
    {
        "images": listed(table({"id": whole(0), "file_name": text()}), _MANY),
        "annotations": listed(table({"id": whole(0), "image_id": whole(0)}), _MANY),
    },
    {"categories": listed(table({"id": whole(0), "name": text()}))},
)


class CocoFile:
    """The images and objects of a file.

    Parameters
    ----------
    path
        The file.

    Raises
    ------
    DataError
        The file does not have this format.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        stored = read_json(path, dict, hint=HINT, largest=LARGEST_RESULTS)
        Provenance(path, HINT, beginning="these are not COCO's annotations: ").check(stored, _FILE)
        self._image_of = {image["file_name"]: image for image in stored["images"]}
        if len(self._image_of) < len(stored["images"]):
            raise DataError("an image is named twice", where=path, hint=HINT)
        self._classes = {each["id"]: each["name"] for each in stored.get("categories", [])}
        self._objects: dict[int, list[Mapping[str, Any]]] = {}
        for each in stored["annotations"]:
            self._objects.setdefault(each["image_id"], []).append(each)

    @property
    def file_names(self) -> list[str]:
        """Names of the images in the file."""
        return list(self._image_of)

    def objects(self, file_name: str, shape: tuple[int, int]) -> Iterator[OneObject]:
        """Yield the objects of an image.

        Raises
        ------
        DataError
            The image does not have the stated size, or an object cannot be read.
        """
        image = self._image_of[file_name]
        said = (image.get("height", shape[0]), image.get("width", shape[1]))
        check_annotated_size(said, shape, file_name, self.path)
        for each in self._objects.get(image["id"], []):
            what = f"annotation {each['id']}"
            category = each.get("category_id")
            name = self._classes.get(category) if isinstance(category, int) else None
            try:
                yield _object(each.get("segmentation"), shape, name, what)
            except (ValueError, TypeError, KeyError, OverflowError) as error:
                raise DataError(f"{what} of {file_name}: {error}", where=self.path, hint=HINT) from error


def _object(segmentation: Any, shape: tuple[int, int], class_name: str | None, what: str) -> OneObject:
    if isinstance(segmentation, Mapping):
        counts = segmentation["counts"]
        if tuple(segmentation["size"]) != shape:
            raise ValueError(f"run lengths of {segmentation['size']} do not fit the image of {list(shape)}")
        lengths = _decompressed(counts) if isinstance(counts, str) else counts
        return OneObject(_mask_of_runs(lengths, shape), (0, 0), class_name, what)
    if not isinstance(segmentation, Sequence) or isinstance(segmentation, str) or not segmentation:
        raise ValueError("it has no outline")
    # An object that is partly hidden has several parts: anything in any of them belongs to it.
    return union([_polygon(ring, shape, class_name, what) for ring in segmentation], shape)


def _polygon(ring: Any, shape: tuple[int, int], class_name: str | None, what: str) -> OneObject:
    numbers = np.asarray(ring, dtype=np.float64)
    if numbers.ndim != 1 or len(numbers) % 2:
        raise ValueError("its outline is not a list of x and y in turn")
    return polygon_object([numbers.reshape(-1, 2)], shape, class_name, what)


def _mask_of_runs(lengths: Any, shape: tuple[int, int]) -> np.ndarray:
    runs = np.asarray(lengths)
    if runs.dtype.kind not in "iu" or runs.ndim != 1 or (runs < 0).any():
        raise ValueError("its run lengths are not whole numbers from 0")
    if runs.max(initial=0) > shape[0] * shape[1] or int(runs.sum()) != shape[0] * shape[1]:
        raise ValueError(f"its run lengths do not add up to the image of {shape[0]} x {shape[1]} pixels")
    pixels = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    mask: np.ndarray = pixels.reshape(shape[1], shape[0]).T
    return mask


def _decompressed(text: str) -> list[int]:
    lengths: list[int] = []
    value, shift = 0, 0
    for letter in text:
        bits = ord(letter) - 48
        if not 0 <= bits < 64 or shift > 60:
            raise ValueError("its compressed run lengths are damaged")
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        lengths.append(value + lengths[-2] if len(lengths) > 2 else value)
        value, shift = 0, 0
    if shift:
        raise ValueError("its compressed run lengths end too early")
    return lengths
