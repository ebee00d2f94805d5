"""Files of the catalogue, found in the user's cache or downloaded into it.

A file appears under its name only when it is complete, has the right hash and holds nothing but weights.
Until then it is a hidden ``.partial-NAME`` in the same folder, which the next call resumes.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from swin_umamba.errors import CheckpointError, OutputError, similar_names, unknown_name
from swin_umamba.files import cache_folder, file_sha256, put_in_place, write_text
from swin_umamba.weights.backbone import WeightsRecord
from swin_umamba.weights.catalog import CATALOG
from swin_umamba.weights.checkpoint import load_checkpoint

logger = logging.getLogger(__name__)

OFFLINE = "SWIN_UMAMBA_OFFLINE"


def locate_weights(given: str | Path) -> Path:
    """Return the file that a user means by a path or a name in the catalogue.

    An existing file takes precedence. What is neither is returned as a path, for the reader to refuse.

    Raises
    ------
    UsageError
        If it looks like a misspelt name.
    CheckpointError, OutputError
        As for ``fetch_weights``, given a name.
    """
    path = Path(given).expanduser()
    if not path.exists() and str(given) in CATALOG:
        return fetch_weights(CATALOG[str(given)])
    if not path.exists() and not path.suffix and similar_names(str(given), CATALOG):
        raise unknown_name("file or set of weights", str(given), CATALOG)
    return path


def weights_path(record: WeightsRecord) -> Path:
    """Return where the file of a record is, or would be, in the cache."""
    return cache_folder() / "weights" / record.file_name


def fetch_weights(record: WeightsRecord) -> Path:
    """Return the file of a record, downloaded unless it is cached, and checked in either case.

    Any number of processes may call this at once; only one downloads.

    Raises
    ------
    CheckpointError
        If the file cannot be downloaded or is the wrong one. A wrong download is removed; a wrong file in the
        cache is left for the user to inspect.
    OutputError
        If the cache cannot be written.
    """
    path = weights_path(record)
    if not path.exists():
        _refuse_without_download(record, path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with _locked(path):
                if not path.exists():  # another process may have been faster
                    _download(record, path)
        except OSError as error:
            raise OutputError(
                f"the cache cannot be written: {error.strerror or error}",
                where=error.filename or path.parent,
                hint="check its permissions, or choose another folder with SWIN_UMAMBA_CACHE",
            ) from error
    _check_hash(record, path)
    return path


def known_sha256(record: WeightsRecord) -> str | None:
    """Return the hash that the file must have: the catalogue's, or the one it had when first seen."""
    if record.sha256 is not None:
        return record.sha256
    pin = _pin(weights_path(record))
    return pin.read_text(encoding="utf-8").partition(" ")[0] if pin.is_file() else None


def by_hand(record: WeightsRecord) -> str:
    """Explain how to get the file without this program."""
    place = f"save it as {weights_path(record)}, or give its path instead of the name"
    return (
        f"download {record.url} in a browser and {place}"
        if record.url
        else f"{record.note} To use it, {place}"
    )


def _refuse_without_download(record: WeightsRecord, path: Path) -> None:
    if record.url is None:
        raise CheckpointError(
            f"the weights {record.name} have no address to download them from",
            where=path,
            hint=by_hand(record),
        )
    if os.environ.get(OFFLINE, "0") not in ("", "0"):
        raise CheckpointError(
            f"the weights {record.name} are not in the cache, and {OFFLINE} forbids to download them",
            where=path,
            hint=by_hand(record),
        )


def _download(record: WeightsRecord, path: Path) -> None:
    # Imported here, so that it costs no time if the file is in the cache.
    from swin_umamba.weights.transfer import transfer

    assert record.url is not None
    partial = _beside(path, ".partial-")
    expected = known_sha256(record)
    if expected is None:
        # Without a hash nobody would notice if the rest came from another version of the file.
        partial.unlink(missing_ok=True)
    logger.info("Downloading %s to %s", record.url, path)
    transfer(record.url, partial, size=record.size, hint=by_hand(record))
    try:
        found = file_sha256(partial)
        if expected is not None and found != expected:
            raise CheckpointError(
                f"the download is not the file it should be: its SHA-256 is {found}, expected {expected}; "
                "it was removed",
                where=record.url,
                hint=f"try again; if it stays so, do not use the file. Or {by_hand(record)}",
            )
        try:
            load_checkpoint(partial)
        except CheckpointError as error:
            what = f"{error.what}; the download was removed"
            raise CheckpointError(what, where=record.url, hint=error.hint) from error
    except CheckpointError:
        partial.unlink()
        raise
    put_in_place(partial, path)


def _check_hash(record: WeightsRecord, path: Path) -> None:
    found, expected = file_sha256(path), known_sha256(record)
    if expected is None:
        load_checkpoint(path)  # only a checkpoint may become the file to compare with
        try:
            # In the format of the command sha256sum.
            write_text(_pin(path), f"{found}  {path.name}\n")
        except OutputError as error:
            logger.warning("The hash of %s could not be kept: %s", path, error)
    elif found != expected:
        origin = "in the catalogue" if record.sha256 else f"when it was first used ({_pin(path)})"
        raise CheckpointError(
            f"the file is not the one it should be: its SHA-256 is {found}; {origin} it is {expected}",
            where=path,
            hint="remove it and fetch it again; a file of your own can be used by giving its path",
        )


def _pin(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")


def _beside(path: Path, prefix: str) -> Path:
    # The suffix stays: it decides how a checkpoint is read.
    return path.with_name(prefix + path.name)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    # The system releases the lock of a process that dies.
    lock = FileLock(_beside(path, ".lock-"))
    try:
        lock.acquire(blocking=False)
    except Timeout:
        logger.info("Waiting for another process that is downloading %s", path.name)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
