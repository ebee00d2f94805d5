"""The origin of preprocessed data: plans and raw files, which are compared before a training."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from swin_umamba.errors import TrainingError, in_short
from swin_umamba.files import file_sha256
from swin_umamba.fingerprint import fingerprint_of
from swin_umamba.json_files import LARGEST_RESULTS, read_contract, write_contract
from swin_umamba.schema import Provenance, either, listed, named, table, text, whole

logger = logging.getLogger(__name__)

NAMES_SHOWN = 10

OF_PLANS = ("transpose_forward", "image_reader_writer", "foreground_intensity_properties_per_channel")
"""Entries besides the configuration that preprocessed data, and therefore a training, depend on."""
_OF_CONFIGURATION = (
    "data_identifier",
    "preprocessor_name",
    "spacing",
    "normalization_schemes",
    "use_mask_for_norm",
    "resampling_fn_data",
    "resampling_fn_data_kwargs",
    "resampling_fn_seg",
    "resampling_fn_seg_kwargs",
)

ORIGIN_PARTS = {"plans": text(), "cases": named(named(listed(either(whole(), text()), (3,))))}
"""Size, time and SHA-256 of each raw file of each case, and the fingerprint of the plans."""


def preprocessed_name(case: str) -> str:
    """Return the name of a case in the preprocessed data, the splits and the validation.

    nnU-Net stores the label of ``CASE`` as ``CASE_seg``, and would treat a case of such a name as a label.
    """
    return f"{case}_" if case.endswith("_seg") else case


def origin_file(folder: Path) -> Path:
    """Return the file with the origin of preprocessed data, beside the folder that nnU-Net lists."""
    return folder.with_name(f"{folder.name}.made_from.json")


def write_origin(
    folder: Path,
    plans: Mapping[str, Any],
    configuration: str,
    cases: Mapping[str, Sequence[Path]],
    raw_folder: Path,
) -> None:
    """Write the origin of preprocessed data.

    Parameters
    ----------
    folder
        The preprocessed data.
    plans, configuration
        Content of the plans, and the name of the configuration.
    cases, raw_folder
        Image and label files of each case, and the folder of the data set.
    """
    files = {
        name: {_place(path, raw_folder): _state(path) for path in paths} for name, paths in cases.items()
    }
    origin = {"plans": _of_preprocessing(plans, configuration), "cases": files}
    write_contract("preprocessed-origin", origin_file(folder), origin)


def check_origin(folder: Path, plans: Mapping[str, Any], configuration: str, raw_folder: Path | None) -> None:
    """Refuse preprocessed data that were made with other plans or from other raw files.

    Data preprocessed by nnU-Net's own command have no recorded origin and are accepted. Raw files are only
    compared if they still exist: first size and time, then the content if these differ.

    Raises
    ------
    TrainingError
        If the data do not belong to the plans, or raw files were changed or removed since.
    """
    origin = _read(folder)
    if not origin:
        return
    hint = "preprocess them again: swin-umamba plan"
    if origin.get("plans") != _of_preprocessing(plans, configuration):
        raise TrainingError(
            "the preprocessed data were made with other plans than those that are there now",
            where=folder,
            hint=hint,
        )
    if raw_folder is None or not raw_folder.is_dir():
        return
    changed, removed = [], []
    for name, files in origin["cases"].items():
        paths = [raw_folder / path for path in files]
        if not all(path.is_file() for path in paths):
            removed.append(name)
        elif any(_differs(path, state) for path, state in zip(paths, files.values(), strict=True)):
            changed.append(name)
    if len(removed) == len(origin["cases"]):  # the raw data have moved away
        return
    for what, names in (("changed", changed), ("removed", removed)):
        if names:
            shown = in_short(names, NAMES_SHOWN)
            raise TrainingError(
                f"raw files of {len(names)} case(s) were {what} since the data were preprocessed: {shown}",
                where=raw_folder,
                hint=hint,
            )


def content_fingerprint(folder: Path, cases: Iterable[str]) -> str | None:
    """Return the fingerprint of the raw content of cases; None if it is unknown."""
    files = _read(folder).get("cases", {})
    wanted = sorted(cases)
    if not all(name in files for name in wanted):
        return None
    return fingerprint_of([[state[2] for state in files[name].values()] for name in wanted])


def _place(path: Path, folder: Path) -> str:
    return str(path.relative_to(folder) if path.is_relative_to(folder) else path)


def _state(path: Path) -> list[Any]:
    status = path.stat()
    return [status.st_size, status.st_mtime_ns, file_sha256(path)]


def _differs(path: Path, state: Sequence[Any]) -> bool:
    size, time, content = state
    status = path.stat()
    if (status.st_size, status.st_mtime_ns) == (size, time):
        return False
    differs: bool = status.st_size != size or file_sha256(path) != content
    return differs


def _of_preprocessing(plans: Mapping[str, Any], configuration: str) -> str:
    own = plans["configurations"][configuration]
    return fingerprint_of(
        [[part.get(key) for key in keys] for part, keys in ((plans, OF_PLANS), (own, _OF_CONFIGURATION))]
    )


def _read(folder: Path) -> dict[str, Any]:
    path = origin_file(folder)
    if not path.exists():
        return {}
    hint = "preprocess again what it belongs to: swin-umamba plan"
    content = read_contract(path, error=TrainingError, hint=hint, largest=LARGEST_RESULTS)
    Provenance(path, hint, TrainingError).check(content, table({}, ORIGIN_PARTS))
    return content if "cases" in content else {}
