"""Tell whether an existing result is the one that would be made now: complete, and of the same origin."""

from __future__ import annotations

import hashlib
import logging
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from swin_umamba.data.dicom import ChosenSeries, SeriesFiles, find_segmentation
from swin_umamba.data.formats import FORMATS, number_suffix
from swin_umamba.data.image_io import image_stem, read_image, read_labels
from swin_umamba.data.tiff_pixel_size import own_spacing_file, spacing_file
from swin_umamba.errors import DataError, OutputError, SwinUMambaError
from swin_umamba.exchange.codes import KEY
from swin_umamba.files import file_sha256
from swin_umamba.fingerprint import fingerprint_of, fingerprint_of_files
from swin_umamba.inference.blocks.inputs import ZARR
from swin_umamba.inference.objects import chosen_decoding, instances_path, object_files
from swin_umamba.inference.segmentation_files import SUFFIX, record_path

if TYPE_CHECKING:
    from swin_umamba.inference.cases import Case
    from swin_umamba.inference.options import FolderOptions
    from swin_umamba.inference.predictor import Predictor

logger = logging.getLogger(__name__)

# Separate folders: pictures among the label maps would be taken for label maps.
PREVIEWS = "previews"
ENTROPY = "entropy"

_HEADERS = (".mhd", ".nhdr")
"""Endings of files that name another one with the voxels."""


def entropy_path(labels: Path) -> Path:
    """Return the entropy file of the prediction with the label map ``labels``."""
    return labels.parent / ENTROPY / f"{image_stem(labels)}{number_suffix(labels)}"


def probabilities_path(labels: Path) -> Path:
    """Return the file of probabilities of the prediction with the label map ``labels``."""
    return labels.parent / f"{image_stem(labels)}.npz"


def preview_path(labels: Path) -> Path:
    """Return the preview of the prediction with the label map ``labels``."""
    return labels.parent / PREVIEWS / f"{image_stem(labels)}.png"


def wanted_files(labels: Path, options: FolderOptions) -> list[Path]:
    """Return the label map and all other files of a prediction, except previews, which can be redrawn."""
    more = (
        (record_path, options.format is not None),
        (probabilities_path, options.probabilities),
        (entropy_path, options.confidence),
    )
    return [labels, *(path(labels) for path, wanted in more if wanted), *object_files(labels, options)]


def made_from(predictor: Predictor, case: Case, options: FolderOptions) -> dict[str, str] | None:
    """Return fingerprints of everything a result depends on: input, model, options.

    Returns
    -------
    dict or None
        None if an input cannot be read, which its prediction will report.
    """
    try:
        content = [_input_fingerprint(path, case.series or options.series) for path in case.files]
    except (OSError, SwinUMambaError):
        return None
    settings = predictor.settings | {"nonfinite": options.nonfinite, "series": options.series}
    if options.in_blocks:
        settings |= {name: getattr(options, name) for name in ("level", "roi", "statistics", "tissue")}
        settings |= {"rescale": True} if options.rescale else {}  # results of before have no such entry
    origin = {
        "input": fingerprint_of(content),
        "model": predictor.fingerprint,
        "options": fingerprint_of(settings),
    }
    if options.format is not None:
        codes = predictor.model.dataset_json.get(KEY)
        origin["format"] = fingerprint_of([options.format, options.seg_type, options.derived_uids, codes])
    if options.confidence:  # labels and probabilities do not depend on it
        model = predictor.model
        origin["calibration"] = fingerprint_of([model.temperature, model.quality_exponent])
    if options.with_objects:
        decoding = chosen_decoding(predictor.model.decoding, options)
        origin["objects"] = fingerprint_of([asdict(decoding), options.min_size, options.solidity])
    return origin


def hashes_of(files: Sequence[Path]) -> dict[str, str]:
    """Return the SHA-256 of each file by its path relative to the folder of the first, the label map."""
    return {path.relative_to(files[0].parent).as_posix(): _content(path) for path in files}


def is_finished(record: Mapping[str, Any], origin: Mapping[str, str] | None, files: Sequence[Path]) -> bool:
    """Return whether the files of a case are complete and what would be written now.

    Files untouched since they were written are replaced if they come from another input, model or options, or
    are incomplete. So is an unreadable label map, left by a full disk or a crash. A label map corrected by
    hand counts as finished if its origin is right.

    Parameters
    ----------
    record
        Line for the case in ``predictions.jsonl``; empty if there is none.
    origin
        See ``made_from``.
    files
        Files that must exist, the label map first.

    Raises
    ------
    DataError
        If there is a readable label map not known to be of this origin that this program did not write, or
        that has been changed since: it is neither used nor replaced.
    """
    labels = files[0]
    if not labels.exists():
        return False
    hashes = record.get("files")
    hashes = hashes if isinstance(hashes, dict) else {}
    other = _what_differs(record, origin)
    own = _is_whole(labels, labels, hashes)
    complete = all(_is_whole(path, labels, hashes) for path in files[1:])
    if own and complete and not other:
        return True
    if not _can_be_read(labels):
        if record.get("status") != "started":  # else it is what a large image has so far
            logger.warning("%s is damaged and is made again", labels)
        return False
    if own:
        if other:
            logger.warning("%s is of %s and is made again", labels, other)
        return False
    if record.get("status") == "started":
        return False
    if hashes and complete and not other:
        return True
    if origin is None:  # the prediction will fail and say why
        return False
    what = "nobody recorded what it was made from"
    if hashes:
        what = f"it was changed since it was written, and {'is of ' + other if other else 'is incomplete'}"
    raise DataError(
        f"there is a result already, and it is not known to be of this input, model and options: {what}",
        where=labels,
        hint="replace it with --overwrite, give another output folder, or move it away",
    )


def to_be_replaced(
    labels: Path, case: str, record: Mapping[str, Any], options: FolderOptions, *, overwrite: bool
) -> list[Path]:
    """Return the files of an earlier result of a case in another format, to be removed after the new one.

    Parameters
    ----------
    labels
        The label map to write.
    case
        Name of its files.
    record
        As for ``is_finished``.
    options
        Options of the prediction.
    overwrite
        Whether results are replaced.

    Raises
    ------
    DataError
        There is one, and it is not to be replaced, or not known to be a result.
    """
    kept, hashes = _with_spacing_files(wanted_files(labels, options)), record.get("files")
    known = hashes if isinstance(hashes, dict) else {}
    endings = (ending for each in FORMATS if each.holds_labels for ending in each.suffixes)
    older: list[Path] = []
    for each in (labels.with_name(case + ending) for ending in (*endings, ZARR)):
        if each == labels or not each.exists():
            continue

        def is_known(path: Path) -> bool:
            return record.get("status") == "started" or path.relative_to(labels.parent).as_posix() in known

        is_result = is_known(each) or (each.suffix == SUFFIX and record_path(each).exists())
        if not is_result or not overwrite:
            raise DataError(
                "there is a result of this case in another format"
                + ("" if is_result else ", and nobody recorded that it is one"),
                where=each,
                hint=("replace it with --overwrite, " if is_result else "")
                + "give another output folder, or move it away",
            )
        beside = (record_path(each), entropy_path(each), instances_path(each))
        result = [each, *(path for path in beside if path != each and is_known(path))]
        older += [path for path in _with_spacing_files(result) if path not in kept]
    return older


def _with_spacing_files(paths: Sequence[Path]) -> list[Path]:
    """Return files with the spacing files that TIFF volumes among them have beside them."""
    return [*paths, *(beside for path in paths if (beside := own_spacing_file(path)) is not None)]


def remove_replaced(files: Sequence[Path]) -> None:
    """Remove the files of an earlier result.

    Raises
    ------
    OutputError
        One cannot be removed.
    """
    for path in files:
        try:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        except OSError as error:
            raise OutputError(
                f"the result is written, but the earlier one cannot be removed: {error.strerror or error}",
                where=path,
                hint="remove it, and do the rest with the same command",
            ) from error


def _is_whole(path: Path, labels: Path, hashes: Mapping[str, Any]) -> bool:
    known = hashes.get(path.relative_to(labels.parent).as_posix())
    return known is not None and path.exists() and _content(path) == known


def _content(path: Path) -> str:
    """Return the SHA-256 of a file, or the fingerprint of all files in a folder (OME-Zarr)."""
    return fingerprint_of_files([path]) if path.is_dir() else file_sha256(path)


def _can_be_read(labels: Path) -> bool:
    try:
        if find_segmentation(labels) is None:  # those may overlap, and are no label map then
            read_labels(labels)
    except SwinUMambaError:
        return False
    return True


def _what_differs(record: Mapping[str, Any], origin: Mapping[str, str] | None) -> str:
    """Return which parts of the origin differ from the record; empty if none does."""
    before = record.get("made_from")
    if not isinstance(before, dict) or origin is None:
        return "an unknown origin"
    other = [name for name in origin if before.get(name) != origin[name]]
    return f"another {' and '.join(other)}" if other else ""


def _input_fingerprint(path: Path, series: ChosenSeries | None) -> str:
    if isinstance(series, SeriesFiles):
        return fingerprint_of_files(series.files)
    if path.suffix.lower() in _HEADERS:
        image = read_image(path, series=series)
        voxels = hashlib.sha256(np.ascontiguousarray(image.data).data).hexdigest()
        return fingerprint_of([file_sha256(path), voxels])
    beside = spacing_file(path, of_labels=False)
    return fingerprint_of_files([path, beside] if not path.is_dir() and beside.is_file() else [path])
