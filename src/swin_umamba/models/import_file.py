"""Import into the cache of files that a user has fetched by hand, as if they had been downloaded."""

from __future__ import annotations

import secrets
from pathlib import Path

from swin_umamba.errors import CheckpointError, UsageError
from swin_umamba.files import copy_file, file_sha256, put_in_place
from swin_umamba.models.backbones import encoder_on_meta
from swin_umamba.weights.backbone import ENCODER, WeightsRecord
from swin_umamba.weights.catalog import CATALOG, backbone_of_weights, find_record
from swin_umamba.weights.checkpoint import load_checkpoint
from swin_umamba.weights.convert import convert_imagenet_weights, find_state_dict
from swin_umamba.weights.download import fetch_weights, known_sha256, weights_path


def import_weights(source: str | Path, name: str | None = None) -> tuple[WeightsRecord, Path]:
    """Copy a file of the catalogue into the cache, where it is then found by name.

    Parameters
    ----------
    source
        File to copy; it is left untouched.
    name
        Name of these weights; by default the one with this file name or SHA-256.

    Returns
    -------
    WeightsRecord
        Record of the weights that it was recognised as.
    Path
        Path of the copy.

    Raises
    ------
    CheckpointError
        If the file is missing, damaged, unsafe to load, or not an ImageNet checkpoint, or its hash, names or
        shapes are not those of these weights. Nothing is written.
    UsageError
        If these weights cannot be identified.
    OutputError
        If the cache cannot be written.
    """
    source = Path(source)
    try:
        found = file_sha256(source)
    except OSError as error:
        raise CheckpointError(
            f"the file cannot be read: {error.strerror or error}",
            where=source,
            hint="check its path and rights",
        ) from error
    record = _recognised(source, found) if name is None else find_record(name)
    expected = known_sha256(record)
    if expected is not None and found != expected:
        raise CheckpointError(
            f"this is not the file of {record.name}: its SHA-256 is {found}, expected {expected}",
            where=source,
            hint="fetch it again; a file of your own can be used by giving its path to --pretrained",
        )
    path = weights_path(record)
    if path.exists():
        if file_sha256(path) != found:
            raise CheckpointError(
                f"another file is kept as {record.name} already",
                where=path,
                hint=f"remove it if {source} is the right one",
            )
        return record, fetch_weights(record)
    # Others may be able to change the source at any moment, so the copy that is kept is what is checked.
    copy = path.with_name(f".import-{secrets.token_hex(8)}-{path.name}")
    try:
        copy_file(source, copy, error=CheckpointError)
        _check_copy(copy, source, record)
        put_in_place(copy, path)
    finally:
        copy.unlink(missing_ok=True)
    return record, fetch_weights(record)


def _check_copy(copy: Path, source: Path, record: WeightsRecord) -> None:
    expected = known_sha256(record)
    if expected is not None and file_sha256(copy) != expected:
        raise CheckpointError(
            "the file has changed while it was read", where=source, hint="import it when nothing writes to it"
        )
    try:
        tensors = find_state_dict(load_checkpoint(copy), source)
    except CheckpointError as error:
        raise CheckpointError(error.what, where=source, hint=error.hint) from error
    backbone = backbone_of_weights(record.name)
    encoder = encoder_on_meta(backbone, record.in_channels).state_dict()
    target = {ENCODER + name: tensor for name, tensor in encoder.items()}
    convert_imagenet_weights(tensors, target, source, backbone=backbone)


def _recognised(source: Path, sha256: str) -> WeightsRecord:
    for record in CATALOG.values():
        if sha256 == record.sha256 or source.name == record.file_name:
            return record
    raise UsageError(
        "the file has neither the name nor the hash of any weights of the catalogue",
        where=source,
        hint=f"say with --name which these are: {', '.join(CATALOG)}; or give its path to --pretrained, "
        "which takes any file that fits",
    )
