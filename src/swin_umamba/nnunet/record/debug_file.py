"""``debug.json``: nnU-Net's description of a trainer, without the host and the paths of folders."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from swin_umamba.json_files import read_json, write_json

DEBUG_FILE = "debug.json"


def forget_the_machine(path: Path, folders: Mapping[str, Path]) -> None:
    """Remove the name of the host from the file, and replace the paths of folders by their names.

    Model folders are shared as they are, and these entries contain names of hosts, users and projects.

    Parameters
    ----------
    path
        The file.
    folders
        Name of each folder, such as ``nnUNet_results``.

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
    """Return a value as text, with the names of folders instead of their paths."""
    text = str(value)
    places = {
        str(place): name
        for name, folder in folders.items()
        for place in (folder, folder.absolute(), folder.resolve())
        if place.is_absolute() and place.name
    }
    for place in sorted(places, key=len, reverse=True):
        # nnU-Net joins paths as strings, which may produce double slashes.
        pattern = re.escape(place).replace("/", "/+")
        text = re.sub(rf"{pattern}(?![\w.-])", places[place].replace("\\", r"\\"), text)
    return text
