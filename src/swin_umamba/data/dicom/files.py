"""Which files of a folder are DICOM, and opening them: regular files in that folder, no links out of it."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Literal

from swin_umamba.errors import DataError

MAX_FILES = 100_000

# A DICOM file has this word after an unused preamble of 128 bytes.
_MAGIC, _MAGIC_OFFSET = b"DICM", 128
# Files from old exports lack both and begin with an element of group 2 or 8, in either byte order.
_FIRST_GROUPS: dict[bytes, Literal["little", "big"]] = {
    b"\x02\x00": "little",
    b"\x08\x00": "little",
    b"\x00\x08": "big",
}
# Elements that occur there in practice: lengths and character sets, kind, date and time, class and UID.
_FIRST_ELEMENTS = {0x00, 0x01, 0x02, 0x05, 0x08, 0x10, 0x12, 0x13, 0x16, 0x18, 0x20}
_LONGEST_FIRST_VALUE = 1024
# A file with one of these suffixes must be DICOM; any other may be a viewer, a picture or a note.
_DICOM_SUFFIXES = (".dcm", ".dicom", ".ima")
# Parts of UIDs are not suffixes.
_ENDING = re.compile(r"\.[A-Za-z]\w*$")
_NOT_LOOKED_AT = ("__MACOSX",)


def open_regular(path: Path) -> BinaryIO:
    """Open a file for reading unless it is a link, a device, a pipe or a socket.

    Raises
    ------
    DataError
        It is one of these.
    OSError
        It cannot be opened.
    """
    flags = os.O_RDONLY
    for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_BINARY"):  # which of them exist depends on the system
        flags |= getattr(os, name, 0)
    file = os.fdopen(os.open(path, flags), "rb")
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise DataError("this is not a regular file", where=path, hint="remove it from the folder")
    return file


def unreadable(path: str | Path, error: OSError, what: str = "file") -> DataError:
    """Return the error for a file or folder that the system refuses to read."""
    reason = f"the {what} cannot be read: {error.strerror or error}"
    return DataError(reason, where=path, hint="check its permissions and the disk")


def damaged_file(path: Path, what: str) -> DataError:
    """Return the error for a file that breaks the standard."""
    return DataError(what, where=path, hint="copy or export the file again; it is damaged")


def is_dicom(path: Path) -> bool:
    """Return whether a regular file begins like a DICOM file."""
    with open_regular(path) as file:
        head = file.read(_MAGIC_OFFSET + len(_MAGIC))
    return head[_MAGIC_OFFSET:] == _MAGIC or _begins_with_element(head)


def is_dicom_folder(folder: Path) -> bool:
    """Return whether a folder itself contains DICOM files."""
    return folder.is_dir() and any(map(_looks_like_dicom, folder.iterdir()))


def may_be_dicom(name: str) -> bool:
    """Return whether a file with this name may be DICOM: it has a DICOM suffix, or none, as on discs."""
    return name.lower().endswith(_DICOM_SUFFIXES) or _ENDING.search(name) is None


def holds_dicom(folder: Path) -> bool:
    """Return whether there are DICOM files in a folder or its subfolders."""
    for each, subfolders, names in os.walk(folder):
        subfolders[:] = [name for name in subfolders if not _is_hidden(name)]
        if any(_looks_like_dicom(Path(each, name)) for name in names):
            return True
    return False


def _looks_like_dicom(path: Path) -> bool:
    try:
        return not _is_hidden(path.name) and stat.S_ISREG(path.lstat().st_mode) and is_dicom(path)
    except OSError:  # an unreadable file is reported when it is needed
        return False


def dicom_files(folder: Path) -> list[Path]:
    """Return the DICOM files in a folder and its subfolders, sorted by path.

    Hidden files, devices, pipes and sockets are skipped. A DICOMDIR is also a DICOM file; its references are
    not followed.

    Raises
    ------
    DataError
        A link leads out of the folder, a file with a DICOM name is not DICOM, or there are too many files.
    """
    found = look_through(folder)
    if found.problems:
        raise found.problems[0]
    return found.dicom


@dataclass
class FilesFound:
    """The files in a folder and its subfolders.

    Attributes
    ----------
    dicom
        Those that begin like DICOM, sorted by path.
    others
        All other regular files.
    problems
        Errors of links and files that are not what they should be.
    """

    dicom: list[Path] = field(default_factory=list)
    others: list[Path] = field(default_factory=list)
    problems: list[DataError] = field(default_factory=list)


def look_through(folder: Path) -> FilesFound:
    """Return the files in a folder and its subfolders, with what is wrong with some of them.

    Raises
    ------
    DataError
        There are too many files.
    """
    found, files = FilesFound(), set()
    for path in _regular_files(folder.resolve(), found.problems):
        files.add(path)
        if len(files) > MAX_FILES:
            raise DataError(
                f"there are more than {MAX_FILES} files in this folder",
                where=folder,
                hint="give a smaller one",
            )
    for path in sorted(files):
        try:
            begins_like_it = is_dicom(path)
        except OSError as error:
            found.problems.append(unreadable(path, error))
            continue
        (found.dicom if begins_like_it else found.others).append(path)
        if not begins_like_it and path.name.lower().endswith(_DICOM_SUFFIXES):
            found.problems.append(
                DataError(
                    "the file is named like a DICOM file and does not begin like one",
                    where=path,
                    hint="copy it again, decrypt it, or remove it",
                )
            )
    return found


def _regular_files(root: Path, problems: list[DataError]) -> Iterator[Path]:
    def note(error: OSError) -> None:
        problems.append(unreadable(error.filename, error, "folder"))

    for folder, subfolders, names in os.walk(root, onerror=note):
        subfolders[:] = [name for name in subfolders if not _is_hidden(name)]
        for name in [*subfolders, *names]:
            path = Path(folder, name)
            if _is_hidden(name):
                continue
            try:
                if path.is_symlink():
                    path = _target(root, path)
                if stat.S_ISREG(path.lstat().st_mode):
                    yield path
            except DataError as error:
                problems.append(error)


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name in _NOT_LOOKED_AT


def _target(root: Path, link: Path) -> Path:
    """Return the target of a link if it is also in the folder."""
    try:
        target = link.resolve()
    except (OSError, RuntimeError) as error:  # of a circle of links
        raise DataError("this link leads nowhere", where=link, hint="remove it") from error
    if not target.is_relative_to(root):
        raise DataError(
            "this link leads out of the folder", where=link, hint="put the files themselves there"
        )
    if not target.exists():
        raise DataError("this link leads nowhere", where=link, hint="remove it, or copy the file again")
    return target


def _begins_with_element(head: bytes) -> bool:
    order = _FIRST_GROUPS.get(head[:2])
    if order is None or len(head) < 8:
        return False
    if int.from_bytes(head[2:4], order) not in _FIRST_ELEMENTS:
        return False
    explicit = head[4:6].isalpha() and head[4:6].isupper()
    length = int.from_bytes(head[4:8], "little")
    return explicit or (order == "little" and length % 2 == 0 and 0 < length <= _LONGEST_FIRST_VALUE)
