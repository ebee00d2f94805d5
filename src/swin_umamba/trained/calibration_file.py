"""``calibration.json`` beside a checkpoint: the calibration of its confidence, and of which weights."""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from swin_umamba.errors import CheckpointError, UsageError
from swin_umamba.instances.decoding import Decoding
from swin_umamba.json_files import read_contract, write_contract
from swin_umamba.weights.checkpoint import CALIBRATION_FILE

logger = logging.getLogger(__name__)

FORMAT = "swin-umamba-calibration-1"
LARGEST_FILE = 16 * 2**20


@dataclass(frozen=True)
class FoldCalibration:
    """The calibration of the weights of one fold.

    Attributes
    ----------
    temperature
        Divisor of the logits.
    quality_exponent
        Exponent of the agreement of the ensemble members that estimates the Dice; None if there were too few
        cases.
    decoding
        How objects are best made of the classes; None if that was not looked for.

    Raises
    ------
    ValueError
        If temperature or exponent is not a positive number.
    """

    temperature: float
    quality_exponent: float | None = None
    decoding: Decoding | None = None

    def __post_init__(self) -> None:
        for name, value in (("temperature", self.temperature), ("quality_exponent", self.quality_exponent)):
            optional = name == "quality_exponent" and value is None
            if not optional and (type(value) is not float or not math.isfinite(value) or value <= 0):
                raise ValueError(f"its {name} is {value!r:.40}")

    @classmethod
    def from_stored(cls, stored: Mapping[str, Any]) -> FoldCalibration:
        """Return the calibration that a file holds as these three keys; the last may be missing.

        Raises
        ------
        ValueError
            If a value is not what it should be.
        """
        decoding = stored.get("decoding")
        if decoding is not None:
            if not isinstance(decoding, Mapping) or decoding.keys() != {"split_distance", "outer_rim"}:
                raise ValueError(f"its decoding is {decoding!r:.40}")
            for name, value in decoding.items():
                if type(value) is not int and not (name == "split_distance" and value is None):
                    raise ValueError(f"its {name} is {value!r:.40}")
            try:
                decoding = Decoding(**decoding)
            except UsageError as error:
                raise ValueError(str(error)) from error
        return cls(stored["temperature"], stored["quality_exponent"], decoding)


def write_calibration(
    checkpoint: Path,
    parameters: Mapping[str, Tensor],
    calibration: FoldCalibration,
    details: Mapping[str, Any],
) -> Path:
    """Write the calibration of a checkpoint's weights into its folder, atomically, and return the file.

    Parameters
    ----------
    checkpoint
        The checkpoint file.
    parameters
        Its state dict. Its hash is stored, since a calibration of other weights would be worse than none.
    calibration
        The calibration.
    details
        Further entries, as values for JSON.
    """
    path = checkpoint.parent / CALIBRATION_FILE
    head = {"format": FORMAT, "weights_sha256": weights_hash(parameters), "checkpoint": checkpoint.name}
    write_contract("calibration", path, {**head, **asdict(calibration), **details})
    return path


def calibration_of_weights(checkpoint: Path, parameters: Mapping[str, Tensor]) -> FoldCalibration | None:
    """Return the calibration of a checkpoint's weights, None if they were not calibrated.

    A calibration that is damaged or for other weights is ignored with a warning, as labels do not depend on
    it.
    """
    path = checkpoint.parent / CALIBRATION_FILE
    if not path.is_file():
        return None
    try:
        calibration, content = read_calibration(path)
    except CheckpointError as error:
        logger.warning("%s", error)
        return None
    if content["weights_sha256"] != weights_hash(parameters):
        logger.warning(
            "%s was made for other weights than those of %s and is not used; run swin-umamba calibrate again",
            path,
            checkpoint.name,
        )
        return None
    return calibration


def read_calibration(path: Path) -> tuple[FoldCalibration, dict[str, Any]]:
    """Return the calibration that a file holds, and all of its content.

    Raises
    ------
    CheckpointError
        If the file cannot be read or is not a calibration.
    """
    hint = "delete the file, or write it again with swin-umamba calibrate"
    content = read_contract(path, error=CheckpointError, hint=hint, largest=LARGEST_FILE, nan=True)
    try:
        if content.get("format") != FORMAT:
            raise ValueError(f"it is not of the format {FORMAT}")
        calibration = FoldCalibration.from_stored(content)
        if not isinstance(content.get("weights_sha256"), str):
            raise ValueError("it does not say which weights it is for")
    except (ValueError, KeyError) as error:
        raise CheckpointError(f"the calibration cannot be read: {error}", where=path, hint=hint) from error
    return calibration, content


def weights_hash(parameters: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 over names, dtypes, shapes and bytes of a state dict, as hexadecimal."""
    digest = hashlib.sha256()
    for key in sorted(parameters):
        tensor = parameters[key].detach().cpu()
        digest.update(f"{len(key)} {key} {tensor.dtype} {tuple(tensor.shape)} ".encode())
        if tensor.nbytes > tensor.untyped_storage().nbytes():
            continue  # a stride of 0 claims what no file holds; it fits no network, and would fill memory
        tensor = tensor.contiguous()
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
