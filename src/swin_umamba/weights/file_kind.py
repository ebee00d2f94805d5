"""Identification of files that should have been checkpoints, by their first bytes."""

from __future__ import annotations

import pickletools
import zipfile
from pathlib import Path

HEAD = 512
"""Number of bytes that tell a file's kind."""

_MOST_PICKLE_BYTES = 2**20
"""Bytes of a pickle that are searched; the weights themselves are stored elsewhere."""
_ARCHIVES = {b"\x1f\x8b": "gzip", b"7z\xbc\xaf": "7z", b"Rar!": "RAR", b"BZh": "bzip2", b"\xfd7zXZ": "xz"}
_ZIP = b"PK\x03\x04"
_PICKLE = b"\x80"
_FETCH_THE_FILE = (
    "open the address in a browser, download the file itself and compare its size with the source's"
)
_UNPACK = "unpack it and give the checkpoint inside"


def describe_other_kind(head: bytes) -> tuple[str, str] | None:
    """Identify a file that begins with none of a checkpoint's signatures.

    Parameters
    ----------
    head
        First ``HEAD`` bytes of the file, or all of a shorter one.

    Returns
    -------
    tuple of str
        Description that follows "the file is", and advice; None if it may be a checkpoint.
    """
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype", b"<html", b"<?xml", b"<head", b"<body", b"<!--")):
        return "a web page, not a checkpoint: the download led to a page instead of the file", _FETCH_THE_FILE
    if text.startswith(b"version https://git-lfs"):
        return (
            "a Git LFS pointer, not the checkpoint it stands for",
            "run git lfs pull in the clone it came from, or download the file from the site",
        )
    for signature, name in _ARCHIVES.items():
        if head.startswith(signature):
            return f"a {name} archive, not a checkpoint", _UNPACK
    if head[257:262] == b"ustar":
        return "a tar archive, not a checkpoint", _UNPACK
    if text.startswith((b"{", b"[")):
        return "a JSON text, not a checkpoint", "give the .pth or .safetensors file"
    if head and not head.startswith((_ZIP, _PICKLE)) and not _is_safetensors(head):
        kind = "a text" if _is_text(head) else "neither a zip archive nor a pickle nor safetensors"
        return f"{kind}, not a checkpoint (it begins with {head[:16]!r})", _FETCH_THE_FILE
    return None


def describe_damage(path: Path) -> tuple[str, str] | None:
    """Say what is wrong with a file that could not be read as a checkpoint; None if that is not apparent."""
    with path.open("rb") as file:
        head = file.read(HEAD)
    if other := describe_other_kind(head):
        return other
    if head.startswith(_ZIP):
        if not zipfile.is_zipfile(path):
            return (
                f"damaged: it is cut off after {path.stat().st_size:,} bytes, its end is missing",
                "copy or download it again, and compare its size and checksum with the source's",
            )
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
        if not any(name.endswith("data.pkl") for name in names):
            return f"a zip archive, not a checkpoint (it holds {', '.join(names[:3]) or 'nothing'})", _UNPACK
    if _is_safetensors(head) and path.suffix != ".safetensors":
        return "of the format safetensors, but is not called so", "rename it to NAME.safetensors"
    return None


def globals_in_pickle(path: Path) -> list[str]:
    """Return the names that a pickle of protocol 4 or 5 asks to load, in order, without loading any."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            member = next(name for name in archive.namelist() if name.endswith("data.pkl"))
            with archive.open(member) as file:
                data = file.read(_MOST_PICKLE_BYTES)
    else:
        with path.open("rb") as file:
            data = file.read(_MOST_PICKLE_BYTES)
    texts: list[str] = []
    found: dict[str, None] = {}
    try:
        for opcode, argument, _ in pickletools.genops(data):
            if opcode.name == "STACK_GLOBAL":
                found[".".join(texts[-2:])] = None
            elif isinstance(argument, str):
                texts.append(argument)
    except ValueError:
        pass  # cut off: what it has asked for so far is known
    return list(found)


def _is_safetensors(head: bytes) -> bool:
    # An eight-byte length, then a JSON object.
    return len(head) > 8 and head[8:9] == b"{" and head[5:8] == b"\0\0\0"


def _is_text(head: bytes) -> bool:
    return all(byte >= 0x20 or byte in b"\t\r\n\f\x1b" for byte in head)
