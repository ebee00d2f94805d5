"""Group files into cases, and name their results."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from swin_umamba.data.dicom import SeriesFiles
from swin_umamba.data.formats import format_of, label_suffix
from swin_umamba.data.image_io import image_stem, image_suffix, is_image_name, list_images, num_channels_of
from swin_umamba.errors import DataError, UsageError
from swin_umamba.inference.blocks.inputs import is_label_name, label_name, stem_of
from swin_umamba.inference.blocks.options import BlockOptions
from swin_umamba.pseudonyms import current, shown
from swin_umamba.regions.opening import is_by_region

CHANNEL_NUMBER = re.compile(r"(?P<case>.+)_(?P<channel>\d{4})")


@dataclass(frozen=True)
class Case:
    """The images of one case: files, or folders of DICOM files.

    Attributes
    ----------
    name
        Name by which the case is found.
    files
        One file, or one per channel in the model's order.
    in_blocks
        Whether it is predicted in blocks; see ``inference.blocks.inputs.goes_in_blocks``.
    series
        Files of a series of a tree of studies, whose folder may hold others.
    """

    name: str
    files: tuple[Path, ...]
    in_blocks: bool = False
    series: SeriesFiles | None = None

    @property
    def shown(self) -> str:
        """Name of its results: its own name, or its pseudonym."""
        return shown(self.name)


def find_cases(inputs: str | Path | Sequence[str | Path], num_channels: int) -> list[Case]:
    """Group image files into cases.

    ``CASE_0000``, ``CASE_0001`` ... are the channels of one case, as nnU-Net names them, if they count from 0
    and the model takes that many. If the first file has all channels by itself, as colour pictures do, the
    numbers are part of the names (frames of a video). A file without such a number is a case. A folder of
    DICOM files counts as one file.

    Parameters
    ----------
    inputs
        A folder, an image file, or several image files.
    num_channels
        Number of channels the model takes.

    Raises
    ------
    DataError
        If there is no such file or folder, or it holds no image.
    """
    given = [inputs] if isinstance(inputs, (str, Path)) else inputs
    files = [file for path in given for file in _list(Path(path))]
    groups: dict[tuple[Path, str, str], dict[int, Path]] = defaultdict(dict)
    cases = []
    for file in files:
        match = None if is_by_region(file) else CHANNEL_NUMBER.fullmatch(image_stem(file))
        if match is None:
            cases.append(Case(stem_of(file), (file,)))
        else:
            suffix = "" if file.is_dir() else image_suffix(file)
            other = groups[file.parent, match["case"], suffix].setdefault(int(match["channel"]), file)
            if other != file:
                raise DataError(
                    "two files have one name in two spellings of Unicode",
                    where=f"{other} and {file}",
                    hint="remove or rename one of them",
                )
    for (_, name, _), channels in groups.items():
        if _are_channels(channels, num_channels):
            cases.append(Case(name, tuple(channels[number] for number in sorted(channels))))
        else:
            cases.extend(Case(image_stem(file), (file,)) for file in channels.values())
    return sorted(cases, key=lambda case: case.name)


def _list(path: Path) -> list[Path]:
    """Return the images of a folder, those among them that are read by region, or the path of an image."""
    if is_by_region(path):
        by_region = [path]
    else:
        children = sorted(path.iterdir()) if path.is_dir() else []
        by_region = [each for each in children if is_by_region(each) and not each.name.startswith(".")]
    if (pseudonyms := current()) is not None:
        for image in by_region:
            pseudonyms.of(stem_of(image))
    if by_region == [path]:
        return by_region
    try:
        return sorted([*by_region, *list_images(path)])
    except DataError:
        if by_region:
            return by_region
        raise


def output_paths(
    cases: Sequence[Case],
    output: str | Path,
    file_ending: str,
    options: BlockOptions | None = None,
    suffix: str | None = None,
) -> list[Path]:
    """Return the path of each case's labels.

    The ending is the model's own if it suits the input, otherwise that of the input's format; see
    ``data.formats.label_suffix``. Images in blocks have endings of their own.

    Parameters
    ----------
    cases
        The cases.
    output
        A folder; or, for a single case, a file name with the ending of an image format.
    file_ending
        The ending of the model's training images (``file_ending`` in dataset.json).
    options
        How images are predicted in blocks.
    suffix
        The ending of all results, instead.

    Raises
    ------
    UsageError
        If two cases would share a file, results would lie among the inputs or replace one, or a file of that
        name cannot hold labels.
    """
    output, options = Path(output), options or BlockOptions()
    if is_label_name(output) and (not output.is_dir() or is_by_region(output)):
        if len(cases) > 1:
            raise UsageError(
                f"{len(cases)} cases cannot go into one file", where=output, hint="give a folder"
            )
        _check_holds_labels(output, suffix)
        paths = [output]
    elif any(output.resolve() in (file.resolve(), file.resolve().parent) for file in _files(cases)):
        raise UsageError(
            "the results would lie among the inputs, and be inputs the next time",
            where=output,
            hint="give another output folder",
        )
    else:
        endings = [suffix or _suffix(case, file_ending, options) for case in cases]
        paths = [output / f"{case.shown}{ending}" for case, ending in zip(cases, endings, strict=True)]
    sources = {file.resolve() for file in _files(cases)}
    taken: dict[str, Case] = {}
    for case, path in zip(cases, paths, strict=True):
        # Compare without regard to case, as the file systems of Windows and macOS do; and without endings, as
        # a case has one result.
        other = taken.setdefault(case.shown.casefold(), case)
        if other is not case:
            raise UsageError(
                f"{other.files[0]} and {case.files[0]} would both be written as {case.shown}",
                where=path.parent,
                hint="rename one of them, or predict them into different folders; nothing was written",
            )
        if path.resolve() in sources:
            raise UsageError(
                "the result would replace an input", where=path, hint="give another output folder"
            )
    return paths


def _check_holds_labels(output: Path, suffix: str | None) -> None:
    """Refuse the name of a file that cannot be what is to be written, before anything is predicted."""
    if suffix is not None and not output.name.lower().endswith(suffix):
        raise UsageError(f"the name of such a file ends in {suffix}", where=output, hint="give another name")
    if suffix is None and is_image_name(output) and format_of(output).encode is None:
        raise UsageError(
            f"a label map is not written as {image_suffix(output)}",
            where=output,
            hint="give another name, or --format dicom-seg for a DICOM segmentation (.dcm)",
        )


def _suffix(case: Case, file_ending: str, options: BlockOptions) -> str:
    if case.in_blocks:
        return label_name(case.files[0], options)
    return label_suffix(case.files[0], file_ending)


def _files(cases: Sequence[Case]) -> list[Path]:
    return [file for case in cases if case.series is None for file in case.files]


def _are_channels(files: dict[int, Path], num_channels: int) -> bool:
    """Return whether the numbers in these file names are channels rather than part of the names."""
    if 0 not in files or max(files) >= num_channels:
        return False
    if len(files) == 1:
        return True
    for number in sorted(files):
        try:
            return num_channels_of(files[number]) != num_channels
        except DataError:
            continue  # a damaged file is reported when its turn comes
    return True
