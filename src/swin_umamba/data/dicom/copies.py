"""Files that are there more than once, as on a disc that was copied twice."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from swin_umamba.data.dicom.elements import opened
from swin_umamba.data.dicom.planes import Plane
from swin_umamba.errors import DataError
from swin_umamba.pseudonyms import alias

logger = logging.getLogger(__name__)

_PART = 2**20


def distinct(paths: Iterable[Path]) -> list[Path]:
    """Return the first of all files with the same data set; who wrote a file does not count."""
    found: dict[bytes, Path] = {}
    for path in paths:
        with opened(path) as (source, syntax):
            digest = hashlib.sha256(syntax.encode())
            while part := source.read(_PART):
                digest.update(part)
        found.setdefault(digest.digest(), path)
    return list(found.values())


def without_copies(planes: Sequence[Plane], where: Path) -> list[Plane]:
    """Return the images of one series without those of files that are copies of others.

    Only files that claim to be one instance, and are alike in what headers say of images, are read for this.

    Raises
    ------
    DataError
        Two of them differ.
    """
    files: dict[Path, list[Plane]] = {}
    for plane in planes:
        files.setdefault(plane.path, []).append(plane)
    alike: dict[tuple[Plane, ...], list[Path]] = {}
    for path, own in files.items():
        if own[0].instance:
            alike.setdefault(tuple(replace(plane, path=where) for plane in own), []).append(path)
    copies: set[Path] = set()
    for paths in alike.values():
        if len(paths) > 1 and len(different := distinct(paths)) > 1:
            one, other = (alias("file", os.path.relpath(each, where.resolve())) for each in different[:2])
            raise DataError(
                f"two different files have the same SOPInstanceUID: {one} and {other}",
                where=where,
                hint="remove the one that is wrong, or export the series again",
            )
        copies.update(paths[1:])
    return [plane for plane in planes if plane.path not in copies]


def tell_copies(number: int, where: Path) -> None:
    """Say in the log how many files were left out, if any were."""
    if number:
        logger.warning("%s: left out %d file(s) that are copies of others", where, number)
