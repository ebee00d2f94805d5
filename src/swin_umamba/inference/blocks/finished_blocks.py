"""Which blocks of an image are finished: by what their labels are, not by when they were written."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from swin_umamba.errors import DataError
from swin_umamba.inference.blocks.division import Block
from swin_umamba.inference.blocks.job import BlockResult, digest_of
from swin_umamba.inference.blocks.object_maps import ObjectMaps
from swin_umamba.json_files import read_contract, write_contract
from swin_umamba.regions.labels import LabelWriter

JOB_FILE = "job.json"


class FinishedBlocks:
    """The record of a prediction in blocks: a folder with a file for the image and one for each block.

    Parameters
    ----------
    folder
        The folder; made when something is recorded.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def division(self, identity: str) -> list[Block] | None:
        """Return the blocks of an earlier run; None if there is none, or it predicted anything else.

        Parameters
        ----------
        identity
            Fingerprint of the image, the model and the options.
        """
        path = self.folder / JOB_FILE
        if not path.is_file():
            return None
        try:
            stored = read_contract(path, hint="delete it; the image is then predicted from the start")
            if stored["identity"] != identity:
                return None
            return [
                Block(number, *((int(first), int(last)) for first, last in each))
                for number, each in enumerate(stored["blocks"])
            ]
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"the record of an earlier run is damaged ({type(error).__name__}: {error})",
                where=path,
                hint="delete it; the image is then predicted from the start",
            ) from error

    def begin(self, identity: str, blocks: Sequence[Block], about: Mapping[str, Any]) -> None:
        """Record a new prediction instead of any other."""
        shutil.rmtree(self.folder, ignore_errors=True)
        division = [[block.z, block.y, block.x] for block in blocks]
        content = {"identity": identity, **about, "blocks": division}
        write_contract("block-job", self.folder / JOB_FILE, content)

    def add(self, result: BlockResult) -> None:
        """Record a block that is written."""
        write_contract("block", self._path(result.number), asdict(result))

    def missing(
        self, blocks: Sequence[Block], writer: LabelWriter, maps: ObjectMaps | None = None
    ) -> list[Block]:
        """Return the blocks without a record, and those whose labels and maps are not the recorded ones."""
        return [block for block in blocks if not self._is_there(block, writer, maps)]

    def have_records(self, blocks: Sequence[Block]) -> bool:
        """Return whether all blocks have a record, whatever their labels are now."""
        return all(self._path(block.number).is_file() for block in blocks)

    def results(self, blocks: Sequence[Block]) -> list[BlockResult]:
        """Return the records of all blocks."""
        return [BlockResult(**read_contract(self._path(block.number))) for block in blocks]

    def _is_there(self, block: Block, writer: LabelWriter, maps: ObjectMaps | None) -> bool:
        path = self._path(block.number)
        if not path.is_file():
            return False
        try:
            kept = () if maps is None else maps.of_block(block)
            return bool(read_contract(path)["digest"] == digest_of(writer.read(*block.region), *kept))
        except (DataError, KeyError):  # half written, or damaged since
            return False

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:06d}.json"
