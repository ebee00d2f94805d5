"""The names of classes that label maps themselves give, as segmentations of DICOM and Slicer do."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from swin_umamba.data.image_io import Image
from swin_umamba.pseudonyms import current

logger = logging.getLogger(__name__)


def given_names(labels: Image) -> tuple[tuple[int, str], ...]:
    """Return each value of a label map that the file names, and the name; placeholders are no names."""
    given = (labels.label_names or {}).items()
    return tuple((value, name) for value, name in given if name not in (f"segment {value}", f"label {value}"))


def names_of_values(values: Iterable[str], given: Iterable[tuple[int, str]]) -> dict[str, str]:
    """Return the name that all files give each value, or the value; of all, if names are unclear.

    Parameters
    ----------
    values
        Label values as text.
    given
        Values and names in all files; see :func:`given_names`.
    """
    known: dict[str, dict[str, str]] = {}
    for value, name in given:
        known.setdefault(str(value), {}).setdefault(name.casefold(), name)
    ordered = sorted(values, key=int)
    found = [list(known.get(value, {value: value}).values()) for value in ordered]
    is_clear = len({name.casefold() for names in found for name in names[:1]}) == len(found)
    if is_clear and all(len(names) == 1 for names in found) and current() is None:  # names are free text
        return {value: name for value, (name,) in zip(ordered, found, strict=True)}
    if known and current() is None:
        called = (f"{value} is {' and '.join(names)}" for value, names in zip(ordered, found, strict=True))
        logger.warning(
            "classes are shown by their values, as the files do not give each a name of its own (%s); give "
            "names with --labels or --dataset-json",
            "; ".join(called),
        )
    return {value: value for value in ordered}
