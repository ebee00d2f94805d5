"""Unpack a model folder from a zip archive that may be untrusted."""

from __future__ import annotations

import errno
import re
import shutil
import stat
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from swin_umamba.errors import CheckpointError, OutputError

# Five folds of the largest network, with everything that a training stores, take 4 GB.
LARGEST_ARCHIVE = 32 * 2**30
MOST_MEMBERS = 10_000
# Weights hardly compress, JSON and logs by a factor of about 20; small files are harmless.
LARGEST_RATIO, SMALL_FILE = 200, 2**20
DESCRIPTIONS = ("plans.json", "dataset.json", "dataset_fingerprint.json")
CHECKPOINT = re.compile(r"fold_(\d+|all)/[^/]+\.pth")


@contextmanager
def unpacked_model(path: str | Path) -> Iterator[Path]:
    """Yield a temporary folder with the descriptions and checkpoints of the one model in a zip archive.

    Nothing is unpacked unless every member of the archive is harmless, and only those files are unpacked.

    Parameters
    ----------
    path
        The archive; the model may be in folders within it, as in nnU-Net's own export.

    Raises
    ------
    CheckpointError
        If the file is not a zip archive or damaged, holds no model or several, or any member has a path that
        leads out of the folder, is a link, encrypted, there twice, or suspiciously large.
    OutputError
        If there is no room for it.
    """
    path = Path(path)
    with tempfile.TemporaryDirectory(prefix="swin-umamba-") as folder:
        try:
            with zipfile.ZipFile(path) as archive:
                members = archive.infolist()
                _check_members(members, path)
                root = _find_model(members, path)
                wanted = [member for member in members if _is_wanted(member, root)]
                _check_space(wanted, Path(folder))
                for member in wanted:
                    target = Path(folder, *PurePosixPath(member.filename).relative_to(root).parts)
                    target.parent.mkdir(exist_ok=True)
                    with archive.open(member) as source, target.open("wb") as copy:
                        shutil.copyfileobj(source, copy)
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, UnicodeDecodeError) as error:
            raise _damage(error, path) from error
        except OSError as error:
            # A damaged table of contents may point before the start of the file.
            if error.errno == errno.EINVAL:
                raise _damage(error, path) from error
            raise
        yield Path(folder)


def _check_members(members: list[zipfile.ZipInfo], path: Path) -> None:
    size = sum(member.file_size for member in members)
    if len(members) > MOST_MEMBERS or size > LARGEST_ARCHIVE:
        raise _refusal(f"it holds {len(members)} files of {size:,} bytes", path)
    seen: set[str] = set()
    for member in members:
        # orig_filename is the name as stored; zipfile cuts filename at a NUL and normalises separators.
        name = member.orig_filename
        parts = name.rstrip("/").split("/")
        if member.filename != name:  # a second one for other alphabets, which Python 3.12 unpacks by
            raise _refusal(f"{name!r} has another name, {member.filename!r}", path)
        if any(part in ("", ".", "..") for part in parts) or re.search(r"[\\:\x00-\x1f]", name):
            raise _refusal(f"the path {name!r} leads out of the folder or is not a plain path", path)
        if stat.S_IFMT(member.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise _refusal(f"{name!r} is a link or device", path)
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise _refusal(f"{name!r} is compressed in an unusual way", path)
        if member.flag_bits & 1:
            raise _refusal(f"{name!r} is encrypted", path)
        if name.casefold() in seen:
            raise _refusal(f"{name!r} is there twice", path)
        seen.add(name.casefold())
        if member.file_size > SMALL_FILE and member.file_size > LARGEST_RATIO * member.compress_size:
            raise _refusal(
                f"{name!r} would grow from {member.compress_size:,} to {member.file_size:,} bytes", path
            )


def _find_model(members: list[zipfile.ZipInfo], path: Path) -> PurePosixPath:
    files = [PurePosixPath(member.filename) for member in members]
    roots = sorted({file.parent for file in files if file.name == "plans.json"})
    if len(roots) != 1:
        found = f"{len(roots)} models: {', '.join(map(str, roots[:5]))}" if roots else "no plans.json"
        raise CheckpointError(
            f"the archive holds {found}",
            where=path,
            hint="give an archive of one model folder, or unpack it and give the folder",
        )
    return roots[0]


def _is_wanted(member: zipfile.ZipInfo, root: PurePosixPath) -> bool:
    file = PurePosixPath(member.filename)
    if member.is_dir() or not file.is_relative_to(root):
        return False
    name = str(file.relative_to(root))
    return name in DESCRIPTIONS or CHECKPOINT.fullmatch(name) is not None


def _check_space(members: list[zipfile.ZipInfo], folder: Path) -> None:
    needed, free = sum(member.file_size for member in members), shutil.disk_usage(folder).free
    if needed > free:
        raise OutputError(
            f"unpacking needs {needed:,} bytes, and {free:,} are free",
            where=folder,
            hint="free some space, or set TMPDIR to a folder on a larger disk",
        )


def _damage(error: Exception, path: Path) -> CheckpointError:
    return CheckpointError(
        f"the file is damaged, incomplete or not a zip archive: {error}",
        where=path,
        hint="copy or download it again, or unpack it yourself and give the folder",
    )


def _refusal(why: str, path: Path) -> CheckpointError:
    return CheckpointError(
        f"the archive is refused: {why}; nothing was unpacked",
        where=path,
        hint="do not trust the file; if you know its author, ask for a plain archive of the model folder",
    )
