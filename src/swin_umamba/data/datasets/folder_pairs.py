"""Matching of images and masks in folders with any naming."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath, PurePosixPath
from unicodedata import category, normalize

from swin_umamba.data.datasets.conversion import LeftOut
from swin_umamba.data.dicom import is_dicom_folder
from swin_umamba.data.image_io import image_stem, is_image_name
from swin_umamba.data.object_masks.reading import ANNOTATION_SUFFIXES
from swin_umamba.errors import DataError

_MASK_WORD = (
    "cp_masks|roiset|rois?|instances?|masks?|seg|segs|segmentations?|labels?|labelmap|gt|groundtruth|ground_truth|"
    "annotations?"
)
_IMAGE_WORD = "images?|img|imgs"
# Words at the start or end of a name that only say what a file is.
_WORDS = re.compile(rf"(?:^|[ ._-]+)(?:{_MASK_WORD}|{_IMAGE_WORD})$|^(?:{_MASK_WORD}|{_IMAGE_WORD})[ ._-]+")
_MASK_NAME = re.compile(rf"(?:^|[ ._-])(?:{_MASK_WORD})$|^(?:{_MASK_WORD})[ ._-]")
_CHANNEL = re.compile(r"(.+)_(\d{4})")
_OBJECT_FOLDERS = ("masks", "mask", "instances", "objects", "labels")
_CLUTTER = ("__macosx", "thumbs.db", "desktop.ini")


@dataclass(frozen=True)
class Pair:
    """An image, as one file (or DICOM folder) or one per channel, and its mask.

    Attributes
    ----------
    name
        Name of the case: the image's path relative to its folder, with characters safe in file names.
    images, mask
        The files; the mask may be a folder with one file for each object.
    entry
        Name of this image in a mask file with the objects of all images; None if each has its own.
    """

    name: str
    images: tuple[Path, ...]
    mask: Path
    entry: str | None = None


@dataclass(frozen=True)
class _Item:
    stem: str  # path relative to the folder, without suffix, with / between folders
    paths: tuple[Path, ...]
    parts: tuple[Path, ...] = ()  # files of single objects in a folder


def _item(stem: PurePath, path: Path, *parts: Path) -> _Item:
    return _Item(normalize("NFC", stem.as_posix()), (path,), parts)


def find_pairs(images: Path, masks: Path, *, objects: bool = False) -> tuple[list[Pair], list[LeftOut]]:
    """Return the images with a mask, and all other files with the reason why they have no partner.

    Names are compared in increasingly lenient ways: the path relative to the folder as it is; without words
    such as ``_mask``, ``label_`` or ``_img``; then the same for the bare name. Ambiguous matches are never
    guessed. Remaining images that end in ``_0000``, ``_0001`` and so on are treated as the channels of one
    image. Of nested folders around DICOM files, the one that has a mask is the image. Both folders may be the
    same: masks are then the files that are named like masks.

    With ``objects``, files from annotation programs count as masks, and so do folders ``CASE`` or
    ``CASE/masks`` whose files each contain one object.

    Raises
    ------
    DataError
        A folder is missing, or no image has a mask.
    """
    for folder in (images, masks):
        if not folder.is_dir():
            raise DataError("there is no such folder", where=folder, hint="check the path")
    image_items, left_out = _items(images)
    if images.resolve() == masks.resolve():
        mask_items = [
            item
            for item in image_items
            if _MASK_NAME.search(_bare(item.stem).lower())
            or (objects and item.paths[0].parent.name.casefold() in _OBJECT_FOLDERS)
        ]
    else:
        mask_items, other = _items(masks)
        left_out += other
    if objects:
        mask_items += _annotations(left_out)
        mask_items = _object_folders(masks, image_items, mask_items)
    mask_paths = {path.resolve() for item in mask_items for path in (*item.paths, *item.parts)}
    image_items = [item for item in image_items if item.paths[0].resolve() not in mask_paths]
    found, image_items, mask_items = _match(image_items, mask_items)
    image_items, mask_items = _unrelated(image_items, found), _unrelated(mask_items, found)
    channels, single = _channel_groups(image_items)
    more, rest, mask_items = _match(channels, mask_items)
    unpaired = [*single, *(_Item(item.stem, (path,)) for item in rest for path in item.paths)]
    left_out += [LeftOut(str(item.paths[0]), _reason(item, mask_items, "mask")) for item in unpaired]
    left_out += [LeftOut(str(item.paths[0]), _reason(item, unpaired, "image")) for item in mask_items]
    short = _without_repeats if objects else _AS_IT_IS
    pairs = [Pair(_safe(short(image.stem)), image.paths, mask.paths[0]) for image, mask in found + more]
    if not pairs:
        shown = "\n".join(f"  - {each.path}: {each.reason}" for each in left_out[:10])
        raise DataError(
            f"no image has a mask:\n{shown}" if shown else "the folders hold no images",
            where=f"{images} and {masks}",
            hint="give images and masks the same names; endings such as _mask may differ",
        )
    return sorted(pairs, key=lambda pair: pair.name), left_out


def _items(folder: Path) -> tuple[list[_Item], list[LeftOut]]:
    """Return all image files and DICOM folders below a folder, the folders around them, and other files."""
    items: list[_Item] = []
    left_out: list[LeftOut] = []
    series: set[Path] = set()
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder)
        if any(part.startswith(".") or part.casefold() in _CLUTTER for part in relative.parts):
            continue
        if path.is_dir():
            if not series.intersection(path.parents) and is_dicom_folder(path):
                series.add(path)
                items.append(_item(relative, path))
        elif series.intersection(path.parents):
            continue
        elif is_image_name(path):
            items.append(_item(relative.parent / image_stem(path), path))
        else:
            left_out.append(LeftOut(str(path), "not an image of a known format"))
    around = {parent for path in series for parent in path.parents if folder in parent.parents}
    items += [_item(path.relative_to(folder), path) for path in sorted(around)]
    return items, left_out


def pairs_of_entries(images: Path, source: Path, entries: Sequence[str]) -> tuple[list[Pair], list[LeftOut]]:
    """Return the images listed in a file with the objects of all images, and whatever has no partner.

    Raises
    ------
    DataError
        The folder is missing, or contains none of the images.
    """
    if not images.is_dir():
        raise DataError("there is no such folder", where=images, hint="check the path")
    items, left_out = _items(images)
    named = [_item(PurePosixPath(entry.replace("\\", "/")).with_suffix(""), Path(entry)) for entry in entries]
    found, items, named = _match(items, named)
    left_out += [LeftOut(str(item.paths[0]), f"{source.name} does not name it") for item in items]
    left_out += [LeftOut(f"{source}: {item.paths[0]}", "there is no image of this name") for item in named]
    pairs = [Pair(_safe(item.stem), item.paths, source, str(entry.paths[0])) for item, entry in found]
    if not pairs:
        raise DataError(
            f"none of the {len(entries)} images that the file names is in the folder, such as {entries[:1]}",
            where=f"{images} and {source}",
            hint="give the folder of the images that were annotated",
        )
    return sorted(pairs, key=lambda pair: pair.name), left_out


def _annotations(left_out: list[LeftOut]) -> list[_Item]:
    """Remove the files of annotation programs from those that are not images, and return them."""
    found = [each for each in left_out if each.path.lower().endswith(ANNOTATION_SUFFIXES)]
    for each in found:
        left_out.remove(each)
    paths = [Path(each.path) for each in found]
    return [_item(Path(path.stem), path) for path in paths]


def _object_folders(root: Path, images: Sequence[_Item], masks: Sequence[_Item]) -> list[_Item]:
    """Return masks, with folders named like an image replacing their files, which have one object each."""
    names = {_bare(item.stem).casefold() for item in images}
    groups: dict[Path, list[_Item]] = {}
    for item in masks:
        groups.setdefault(item.paths[0].parent, []).append(item)
    kept: list[_Item] = []
    for folder, items in groups.items():
        own = folder.parent if folder.name.casefold() in _OBJECT_FOLDERS else folder
        alone = (
            folder != root
            and own.name.casefold() in names
            and own.name.casefold() not in {_bare(item.stem).casefold() for item in items}
        )
        if alone:
            kept.append(_item(Path(own.name), folder, *(item.paths[0] for item in items)))
        else:
            kept += items
    return kept


def _unrelated(items: Sequence[_Item], pairs: Sequence[tuple[_Item, _Item]]) -> list[_Item]:
    """Drop folders in and around those that have a partner; keep only the innermost of the others."""
    taken = {path for pair in pairs for item in pair for path in item.paths}
    around = {parent for path in taken for parent in path.parents}
    kept = [
        item
        for item in items
        if not taken.intersection(item.paths[0].parents) and item.paths[0] not in around
    ]
    around = {parent for item in kept for path in item.paths for parent in path.parents}
    return [item for item in kept if item.paths[0] not in around]


def _match(
    images: Sequence[_Item], masks: Sequence[_Item]
) -> tuple[list[tuple[_Item, _Item]], list[_Item], list[_Item]]:
    """Return the pairs, and the images and masks without a partner."""
    pairs: list[tuple[_Item, _Item]] = []
    for key in _KEYS:
        image_of, mask_of = _unique(images, key), _unique(masks, key)
        pairs += [(image_of[name], mask_of[name]) for name in image_of if name in mask_of]
        done = {item.paths for pair in pairs for item in pair}
        images = [item for item in images if item.paths not in done]
        masks = [item for item in masks if item.paths not in done]
    return pairs, list(images), list(masks)


def _unique(items: Sequence[_Item], key: Callable[[str], str]) -> dict[str, _Item]:
    names = [key(item.stem) for item in items]
    counts = Counter(names)
    return {name: item for name, item in zip(names, items, strict=True) if name and counts[name] == 1}


def _bare(stem: str) -> str:
    return stem.rsplit("/", 1)[-1]


def _plain(stem: str) -> str:
    """Return a stem without the words that say what a file is, in each part of its path."""
    parts = []
    for part in stem.split("/"):
        before = None
        while part != before:
            before, part = part, _WORDS.sub("", part)
        parts.append(part)
    return "/".join(part for part in parts if part)


def _plain_bare(stem: str) -> str:
    return _plain(_bare(stem))


def _in_any_case(key: Callable[[str], str]) -> Callable[[str], str]:
    return lambda stem: key(stem.casefold())


_AS_IT_IS: Callable[[str], str] = str
_KEYS = (_AS_IT_IS, *map(_in_any_case, (_AS_IT_IS, _plain, _bare, _plain_bare)))


def _channel_groups(items: Sequence[_Item]) -> tuple[list[_Item], list[_Item]]:
    """Return images that consist of one file per channel, and the files that do not belong to any."""
    groups: dict[str, list[_Item]] = {}
    single = []
    for item in items:
        match = _CHANNEL.fullmatch(item.stem)
        if match is None:
            single.append(item)
        else:
            groups.setdefault(match.group(1), []).append(item)
    complete = []
    for stem, members in groups.items():
        members.sort(key=lambda item: item.stem)
        numbers = [int(item.stem[-4:]) for item in members]
        if numbers == list(range(len(members))):
            complete.append(_Item(stem, tuple(item.paths[0] for item in members)))
        else:
            single += members
    return complete, single


def _reason(item: _Item, others: Sequence[_Item], kind: str) -> str:
    name = _plain_bare(item.stem.casefold())
    if any(_plain_bare(other.stem.casefold()) == name for other in others):
        return f"its name fits more than one {kind}, or more than one file like it"
    return f"there is no {kind} of this name"


def _without_repeats(stem: str) -> str:
    """Return ``ID`` for ``ID/images/ID``."""
    parts = [part for part in stem.split("/")[:-1] if part.casefold() not in ("images", "image")]
    last = _bare(stem)
    return "/".join([*(part for part in parts if part != last), last])


def _safe(stem: str) -> str:
    """Return a name for files on any system; letters, marks and digits of all scripts are kept."""
    kept = (letter if letter in "_.-" or category(letter)[0] in "LMN" else "\0" for letter in stem)
    return re.sub("\0+", "_", "".join(kept))
