"""``debug.json``: what nnU-Net writes of a trainer, without the machine and where its folders lie."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from swin_umamba.json_files import read_json, write_json

DEBUG_FILE = "debug.json"


def forget_the_machine(path: Path, folders: Mapping[str, Path]) -> None:
    """Take the host's name out of the file, and replace the paths of folders by their names.

    Model folders are handed on as they are, and host, user and project names are in these.

    Parameters
    ----------
    path
        The file.
    folders
        What each is called, such as ``nnUNet_results``.

    Raises
    ------
    DataError
        If the file is damaged.
    OutputError
        If it cannot be written.
    """
    content = read_json(path, dict, nan=True)
    content.pop("hostname", None)
    write_json(path, {key: named_places(value, folders) for key, value in content.items()})


def named_places(value: object, folders: Mapping[str, Path]) -> str:
    """Return a value as text with the names of folders in place of their paths."""
    text = str(value)
    places = {
        str(place): name
        for name, folder in folders.items()
        for place in (folder, folder.absolute(), folder.resolve())
        if place.is_absolute() and place.name
    }
    for place in sorted(places, key=len, reverse=True):
        # nnU-Net joins paths as texts, which may double a slash.
        pattern = re.escape(place).replace("/", "/+")
        text = re.sub(rf"{pattern}(?![\w.-])", places[place].replace("\\", r"\\"), text)
    return text
