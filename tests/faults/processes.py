"""What the processes do that tests of this folder start to kill them, or to have several at once."""

from __future__ import annotations

import itertools
import logging
import sys
from pathlib import Path

import torch

from swin_umamba.errors import OutputError
from swin_umamba.weights import transfer
from swin_umamba.weights.backbone import WeightsRecord
from swin_umamba.weights.checkpoint import save_checkpoint
from swin_umamba.weights.download import fetch_weights
from swin_umamba.weights.safetensors_file import save_safetensors

NUMBERS = 1_000_000  # 4 MB


def fetch(record: WeightsRecord) -> None:
    """Download, and say what happens."""
    logging.basicConfig(level=logging.INFO)
    transfer.TIMEOUT_SECONDS = 600  # the server of the test may be halted
    fetch_weights(record)


def save_on_and_on(path: Path, first: int) -> None:
    """Save checkpoint after checkpoint, and say which ones are complete."""
    for number in itertools.count(first):
        save_checkpoint(path, {"epoch": number, "weights": torch.full((NUMBERS,), float(number))})
        sys.stdout.write(f"{number}\n")
        sys.stdout.flush()


def save_on_a_full_disk(path: Path, limit: int) -> int:
    """Save where no byte beyond a limit can be written; print the error."""
    import resource

    weights = {"weights": torch.ones(NUMBERS)}
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        if path.suffix == ".safetensors":
            save_safetensors(path, weights, {})
        else:
            save_checkpoint(path, weights)
    except OutputError as error:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        sys.stdout.write(str(error))
        return 1
    return 0
