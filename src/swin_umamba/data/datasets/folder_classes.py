"""Assignment of the values or colours of masks to classes."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from swin_umamba.data.datasets.folder_pairs import Pair
from swin_umamba.data.formats import format_of
from swin_umamba.data.image_io import Image, on_grid_of, read_image, write_labels
from swin_umamba.data.instance_labels import IGNORE_NAME, MAPS_LOOKED_AT, number_objects, number_of_objects
from swin_umamba.data.object_masks.reading import check_size
from swin_umamba.data.segments import SegmentNames
from swin_umamba.errors import DataError, UsageError

# A larger number of values indicates instances or blurred edges rather than classes.
MAX_CLASSES = 64
_GREY = 0x010101
_VALUES_SHOWN = 12
_BY_COLOUR, _BY_VALUE = "colour_", "value_"


@dataclass(frozen=True)
class Mask:
    """A mask as codes: grey values, or colours as 0xRRGGBB.

    Attributes
    ----------
    image
        Image that provides the grid.
    codes
        ``(y, x)`` or ``(z, y, x)``.
    coloured
        Whether the codes are colours; colours that are all grey still count as colours here.
    """

    image: Image
    codes: np.ndarray
    coloured: bool


@dataclass(frozen=True)
class ClassTable:
    """The classes of a set of masks.

    Attributes
    ----------
    labels
        Numbers by class name, including the background, as in ``dataset.json``.
    classes
        Class numbers by code.
    coloured
        Whether the codes are colours.
    """

    labels: Mapping[str, int]
    classes: Mapping[int, int]
    coloured: bool

    def apply(self, mask: Mask) -> np.ndarray:
        """Return the class numbers of a mask, uint8.

        Raises
        ------
        DataError
            The mask contains a code without a class.
        """
        codes = mask.codes
        if mask.coloured and not self.coloured:
            codes = codes & 0xFF
        elif self.coloured and not mask.coloured:
            codes = codes * _GREY
        found, places = np.unique(codes, return_inverse=True)
        unknown = [code for code in found.tolist() if code not in self.classes]
        if unknown:
            raise DataError(f"values without a class: {shown(unknown, self.coloured)}", where=mask.image.path)
        numbers = np.array([self.classes[code] for code in found.tolist()], np.uint8)
        return numbers[places].reshape(codes.shape)


def read_mask(
    path: Path, threshold: int | None, *, like: Image | None = None, fraction: float | None = None
) -> Mask:
    """Read a mask: grey values, palette indices, colours, or the segments of DICOM.

    With a threshold, the codes are 1 from it upwards and 0 below. ``like`` is the image of the mask, whose
    grid those segments are put on, and ``fraction`` that of ``read_labels``.

    Raises
    ------
    DataError
        The mask cannot be read, or contains values that are not classes.
    """
    if threshold is None and not path.is_dir() and not (known := format_of(path)).holds_labels:
        raise DataError(
            f"{known.name} changes pixel values, so that they are not classes",
            where=path,
            hint="give the masks as PNG, or a --threshold if there is one class",
        )
    image = read_image(path, indexed=True, fraction=fraction)
    if image.is_partial and like is not None:
        image = on_grid_of(like, image)
    data = image.data
    if threshold is not None:
        return Mask(image, (data.max(axis=0) >= threshold).astype(np.int64), coloured=False)
    if len(data) == 1:
        codes = data[0].astype(np.int64)
        if (codes != data[0]).any() or codes.min() < 0 or codes.max() > 0xFFFFFF:
            raise DataError("classes must be whole numbers from 0", where=path, hint="or give a --threshold")
        return Mask(image, codes, coloured=False)
    if len(data) == 3 and data.dtype == np.uint8:
        red, green, blue = data.astype(np.int64)
        return Mask(image, (red << 16) | (green << 8) | blue, coloured=True)
    raise DataError(f"a mask has one channel or three colours, not {data.shape}", where=path)


class ClassMasks:
    """Reads the classes of all images, and writes the resulting label maps.

    Parameters
    ----------
    classes, background
        See :meth:`ClassSurvey.table`.
    threshold
        Foreground threshold for masks of one class: this value and above are foreground.
    fraction
        Threshold for DICOM segmentations of fractions.
    """

    def __init__(
        self,
        classes: Sequence[str],
        background: Sequence[str],
        threshold: int | None,
        fraction: float | None = None,
    ) -> None:
        self._classes: Sequence[str] = classes
        if threshold is not None and not classes:
            self._classes = ("foreground=1",)
        self._background, self._threshold, self._fraction = background, threshold, fraction
        self._survey = ClassSurvey()
        self._objects: list[int | None] = []
        self._table: ClassTable | None = None

    def read(self, pair: Pair, image: Image) -> Mask:
        """Return the mask of an image.

        Raises
        ------
        DataError
            The mask cannot be read, or does not belong to the image.
        """
        mask = read_mask(pair.mask, self._threshold, like=image, fraction=self._fraction)
        check_size(mask.image.with_data(mask.codes[None]), image)
        return mask

    def add(self, pair: Pair, mask: Mask) -> None:
        """Record the values of a mask."""
        self._survey.add(mask)
        if not self._classes and not mask.coloured and len(self._objects) < MAPS_LOOKED_AT:
            self._objects.append(number_of_objects(mask.codes))

    def labels(self) -> Mapping[str, int]:
        """Return the classes and their numbers, as in ``dataset.json``.

        Raises
        ------
        DataError
            See :meth:`ClassSurvey.table`; also if the values seem to number objects.
        """
        if number_objects(self._objects):
            raise DataError(
                "the values of the masks seem to number objects: they count connected ones from 1 on, of "
                "another number in each mask",
                hint="keep the objects apart with --instances; if the values are classes, name them with "
                "--classes",
            )
        self._table = self._survey.table(self._classes, self._background)
        return self._table.labels

    def remarks(self) -> list[str]:
        """Return remarks for the user."""
        assert self._table is not None
        found = self._survey.masks_with(self._table)
        each = (f"{name}={number} in {found[name]}" for name, number in self._table.labels.items())
        remarks = ["classes: " + ", ".join(each)]
        if not self._classes and any(name.startswith((_BY_COLOUR, _BY_VALUE)) for name in self._table.labels):
            remarks.append("--classes names classes; --instances keeps objects apart if they are numbered")
        return remarks

    def write(self, path: Path, mask: Mask, like: Image, labels: Mapping[str, int]) -> None:
        """Write the label map of an image."""
        assert self._table is not None
        write_labels(path, self._table.apply(mask), like=like)


class ClassSurvey:
    """Collects the codes of all masks and decides what they mean."""

    def __init__(self) -> None:
        self._grey: Counter[int] = Counter()
        self._colour: Counter[int] = Counter()
        self._names = SegmentNames()

    def add(self, mask: Mask) -> None:
        """Count each code of a mask once."""
        counts = self._colour if mask.coloured else self._grey
        if len(counts) <= MAX_CLASSES:
            counts.update(np.unique(mask.codes).tolist())
        self._names.add(mask.image)

    def masks_with(self, table: ClassTable) -> dict[str, int]:
        """Return how many masks contain each class (counting only the commonest code of each)."""
        counts = self._counts()[0]
        return {
            name: max((counts[code] for code, each in table.classes.items() if each == number), default=0)
            for name, number in table.labels.items()
        }

    def table(self, classes: Sequence[str] = (), background: Sequence[str] = ()) -> ClassTable:
        """Return the classes.

        Parameters
        ----------
        classes
            ``NAME=CODE`` or ``NAME=CODE,CODE``, where a code is a grey value or a colour ``#RRGGBB``. If
            empty, each code is a class with a name derived from it.
        background
            Codes of the background; by default 0 or black.

        Raises
        ------
        DataError
            There are too many values, none is the background, or some have no class.
        UsageError
            ``classes`` or ``background`` cannot be parsed.
        """
        counts, coloured = self._counts()
        outside = {_code(text, coloured) for text in background} or {0}
        if classes:
            groups = _given(classes, coloured, outside)
            self._names.check(groups)
        else:
            if len(counts) > MAX_CLASSES:
                raise DataError(
                    f"the masks hold {len(counts)} and perhaps more different values: "
                    f"{shown(sorted(counts), coloured)}",
                    hint="for soft or blurred masks of one class give a --threshold; maps with a number for "
                    "each object are converted with --instances",
                )
            groups = _automatic(sorted(counts.keys() - outside), coloured, self._names.agreed())
        known = outside | {code for group in groups.values() for code in group}
        unknown = sorted(counts.keys() - known)
        if unknown:
            raise DataError(
                f"the masks hold values without a class: {shown(unknown, coloured)}",
                hint="name them with --classes or --background",
            )
        if not outside & counts.keys():
            raise DataError(
                f"no mask holds the background {shown(sorted(outside), coloured)}; "
                f"there is {shown(sorted(counts), coloured)}",
                hint="say which value is the background with --background",
            )
        if not groups:
            raise DataError("the masks hold nothing but background", hint="check the folder of the masks")
        names = sorted(groups, key=lambda name: name == IGNORE_NAME)  # nnU-Net requires it to be last
        labels = {"background": 0, **{name: number for number, name in enumerate(names, start=1)}}
        table = {code: labels[name] for name in names for code in groups[name]}
        return ClassTable(labels, {**dict.fromkeys(outside, 0), **table}, coloured)

    def _counts(self) -> tuple[Counter[int], bool]:
        """Return all codes in one form, and whether they are colours: greys saved as colours are greys."""
        if all(code % _GREY == 0 for code in self._colour):
            return self._grey + Counter({code & 0xFF: count for code, count in self._colour.items()}), False
        if self._grey and max(self._grey) > 0xFF:
            raise DataError("some masks are coloured, others hold numbers above 255", hint="use one kind")
        return self._colour + Counter({code * _GREY: count for code, count in self._grey.items()}), True


def shown(codes: Sequence[int], coloured: bool) -> str:
    """Return the codes as abbreviated text."""
    texts = [f"#{code:06x}" if coloured else str(code) for code in codes[:_VALUES_SHOWN]]
    return ", ".join(texts) + (", ..." if len(codes) > _VALUES_SHOWN else "")


def _automatic(codes: Sequence[int], coloured: bool, names: Mapping[int, str]) -> dict[str, list[int]]:
    if len(codes) == 1 and codes[0] not in names:
        return {"foreground": list(codes)}
    by_code = {code: f"{_BY_COLOUR}{code:06x}" if coloured else f"{_BY_VALUE}{code}" for code in codes}
    return {names.get(code, by_code[code]): [code] for code in codes}


def _given(classes: Sequence[str], coloured: bool, outside: set[int]) -> dict[str, list[int]]:
    groups: dict[str, list[int]] = {}
    for word in classes:
        name, equals, codes = word.partition("=")
        if not equals or not name or name == "background" or name in groups:
            raise UsageError(f"cannot read the class {word!r}", where="--classes", hint="give NAME=VALUE")
        groups[name] = [_code(text, coloured) for text in codes.split(",")]
    codes_given = [*outside, *(code for group in groups.values() for code in group)]
    if len(codes_given) != len(set(codes_given)):
        raise UsageError("a value belongs to two classes, or a class and the background", where="--classes")
    return groups


def _code(text: str, coloured: bool) -> int:
    if re.fullmatch(r"#[0-9a-fA-F]{6}", text):
        code = int(text[1:], 16)
        if coloured:
            return code
        if code % _GREY == 0:
            return code & 0xFF
        raise UsageError(f"the masks have grey values and no colour {text}", hint="give a number")
    if text.isdecimal():
        value = int(text)
        if not coloured:
            return value
        if value <= 0xFF:
            return value * _GREY
    raise UsageError(f"cannot read the value {text!r}", hint="give a grey value such as 2, or #RRGGBB")
