"""The classes that an evaluation scores: names and the label values that belong to each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swin_umamba.data.instance_labels import IGNORE_NAME
from swin_umamba.errors import DataError, UsageError
from swin_umamba.json_files import read_json
from swin_umamba.schema import shown

# Largest value that a label map can hold.
LARGEST_LABEL = 2**31 - 1


def in_output_order(values: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """Return classes in the order of nnU-Net's outputs: by value; regions as they are described."""
    if any(len(group) > 1 for group in values.values()):
        return dict(values)
    return dict(sorted(values.items(), key=lambda item: item[1]))


@dataclass(frozen=True)
class LabelClasses:
    """The foreground classes of a data set.

    Attributes
    ----------
    values
        Label values of each class by its name: one, or several for a region such as a whole tumour.
    ignore
        Value of voxels that are excluded from the evaluation, if there is one.
    """

    values: Mapping[str, tuple[int, ...]]
    ignore: int | None = None

    @property
    def declared(self) -> frozenset[int]:
        """All label values that may occur."""
        values = {0} | {value for group in self.values.values() for value in group}
        return frozenset(values if self.ignore is None else values | {self.ignore})

    @classmethod
    def from_mapping(cls, labels: Mapping[str, Any], *, where: str | Path | None = None) -> LabelClasses:
        """Build from the ``labels`` of an nnU-Net ``dataset.json``: name to value, or values of a region.

        Raises
        ------
        DataError
            If a value is not a whole number from 0 to ``LARGEST_LABEL``, or there is no foreground class.
        """
        groups: dict[str, tuple[int, ...]] = {}
        for name, value in labels.items():
            group = tuple(value) if isinstance(value, (list, tuple)) else (value,)
            if not group or not all(type(each) is int and 0 <= each <= LARGEST_LABEL for each in group):
                raise DataError(
                    f"class {name[:80]!r} needs a whole number or a list of them, not {shown(value)}",
                    where=where,
                    hint="correct the entry labels",
                )
            groups[name] = group
        ignore = groups.pop(IGNORE_NAME, None)
        if ignore is not None and (len(ignore) > 1 or ignore[0] in {0}.union(*groups.values())):
            raise DataError(
                f"the label {IGNORE_NAME} needs one number that neither a class nor the background has",
                where=where,
                hint=f"it is {', '.join(map(str, ignore))}",
            )
        foreground = {name: group for name, group in groups.items() if group != (0,)}
        if not foreground:
            raise DataError(
                "there is no class except the background", where=where, hint="name the classes in labels"
            )
        return cls(foreground, None if ignore is None else ignore[0])

    @classmethod
    def from_values(cls, values: Sequence[int]) -> LabelClasses:
        """Build from bare label values; each one is a class with its number as its name."""
        return cls({str(value): (int(value),) for value in sorted(set(values)) if value != 0})

    @classmethod
    def from_dataset_json(cls, path: str | Path) -> LabelClasses:
        """Build from the ``labels`` of an nnU-Net ``dataset.json``.

        Raises
        ------
        DataError
            If the file is missing, not JSON, or has no valid ``labels``.
        """
        path = Path(path)
        hint = 'it needs an entry such as "labels": {"background": 0, "nucleus": 1}'
        another = f"if it is not the dataset.json of an nnU-Net data set, give that one; {hint}"
        labels = read_json(path, dict, hint=another, nan=True).get("labels")
        if not isinstance(labels, dict):
            raise DataError("the file is not the dataset.json of an nnU-Net data set", where=path, hint=hint)
        return cls.from_mapping(labels, where=path)

    @classmethod
    def from_arguments(cls, arguments: Sequence[str]) -> LabelClasses:
        """Build from words of the command line: ``1 2`` or ``liver=1 kidneys=2,3``.

        Raises
        ------
        UsageError
            If a word has another form.
        """
        labels: dict[str, list[int]] = {}
        for word in arguments:
            name, _, numbers = word.rpartition("=")
            values = numbers.split(",")
            if not all(value.isdecimal() for value in values):
                raise UsageError(f"cannot read the label {word!r}", where="--labels", hint="use 1 or liver=1")
            labels[name or numbers] = [int(value) for value in values]
        return cls.from_mapping(labels, where="--labels")
