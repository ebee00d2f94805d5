"""Pseudonyms of cases: the same for a name and a key; without the key, nobody can find the name by trial.

While pseudonyms are in use, ``shown`` is called wherever a list of cases is made, and ``hidden`` wherever
text is made that may name a file: error and log messages.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
import re
import secrets
import tempfile
import unicodedata
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import UUID

from swin_umamba.opening import open_to_read, others_can_read, own_number

KEY_VARIABLE = "SWIN_UMAMBA_PSEUDONYM_KEY"
SHORTEST_KEY, LONGEST_KEY = 32, 4096

_PSEUDONYM = re.compile(r"case_([0-9a-f]{12})([0-9a-f]{4})")
_CHANNEL = re.compile(r"(.+)(_\d{4})", re.DOTALL)

# Libraries whose messages quote values of headers, and what is said instead.
_QUOTING = ("pydicom", "highdicom")
_LEFT_OUT = "a remark on a DICOM header is left out, since it may quote it"

logger = logging.getLogger(__name__)


class Pseudonyms:
    """The pseudonyms from a key, and the names replaced so far.

    A pseudonym ends with a check value from the key, by which it is recognised and left unchanged: results
    that already have pseudonyms can be read again.

    Parameters
    ----------
    key
        A secret.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._name_of: dict[str, str] = {}
        self._pseudonym_of: dict[str, str] = {}
        self._pattern: re.Pattern[str] | None = None
        self._folders: re.Pattern[str] | None = None
        self._folder_forms: set[str] = set()

    def of(self, name: str) -> str:
        """Return the pseudonym of a case, and remember the name.

        Raises
        ------
        ValueError
            If another name has the same pseudonym.
        """
        name = unicodedata.normalize("NFC", name)
        if name in self._pseudonym_of:
            return self._pseudonym_of[name]
        own = _PSEUDONYM.fullmatch(name)
        if not name or (own and hmac.compare_digest(own[2], self._digest("check", own[1], 4))):
            return name
        number = self._digest("name", name, 12)
        pseudonym = f"case_{number}{self._digest('check', number, 4)}"
        if self._name_of.setdefault(pseudonym, name) != name:
            raise ValueError(f"two cases have the pseudonym {pseudonym}")
        self._pseudonym_of[name], self._pattern = pseudonym, None
        return pseudonym

    def alias(self, kind: str, text: str) -> str:
        """Return a pseudonym of something that is no case, such as ``file_3f9a2c71b04d``."""
        return f"{kind}_{self._digest(kind, unicodedata.normalize('NFC', text), 12)}"

    def uid(self, uid: str) -> str:
        """Return a DICOM UID for another one: derived from a UUID (PS3.5 B.2), always the same."""
        digest = bytes.fromhex(self._digest("uid", uid, 32))
        return f"2.25.{UUID(bytes=digest, version=4).int}"

    def hide_below(self, folder: Path) -> None:
        """From now on, replace the path of a folder or file, and of everything in it, as a whole."""
        forms = {str(folder), str(folder.absolute()), str(folder.resolve())}
        if forms <= self._folder_forms:
            return
        self._folder_forms |= forms
        absolute = "|".join(
            re.escape(form)
            for form in sorted(self._folder_forms, key=len, reverse=True)
            if os.path.isabs(form)
        )
        # Relative ones may be common words, so that only a path that goes on is taken for one. A path with
        # blanks does not say where it ends; line breaks and quotes do.
        relative = "|".join(
            re.escape(form)
            for form in sorted(self._folder_forms, key=len, reverse=True)
            if form not in (".", "")
        )
        rest = r"[/\\][^\n'\"]*"
        self._folders = re.compile(
            rf"(?<![\w./\\-])(?:(?:{absolute})(?:{rest}|(?![\w.-]))|(?:{relative}){rest})"
        )

    def hide(self, text: str) -> str:
        """Replace the names used so far in a text, unless a letter or digit touches them.

        Paths of folders that are hidden go first, as a whole. A relative one by itself is a path only where
        it is the whole text, as in ``where`` of an error.
        """
        if text in self._folder_forms and text not in (".", ""):
            return self.alias("input", text)
        if self._folders is not None:
            text = self._folders.sub(lambda match: self.alias("input", match[0].rstrip("/\\")), text)
        if not self._pseudonym_of:
            return text
        if self._pattern is None:
            forms = {
                form for name in self._pseudonym_of for form in (name, unicodedata.normalize("NFD", name))
            }
            names = "|".join(map(re.escape, sorted(forms, key=len, reverse=True)))
            # Pseudonyms come first: a case may be called "case".
            self._pattern = re.compile(rf"(?<![^\W_])(?:{_PSEUDONYM.pattern}|{names})(?![^\W_])")
        return self._pattern.sub(self._replacement, text)

    def _replacement(self, match: re.Match[str]) -> str:
        name = unicodedata.normalize("NFC", match[0])
        channel = _CHANNEL.fullmatch(name)
        if channel and channel[1] in self._pseudonym_of:
            return self._pseudonym_of[channel[1]] + channel[2]
        return self._pseudonym_of.get(name, match[0])

    def _digest(self, purpose: str, text: str, length: int) -> str:
        content = f"{purpose}:{text}".encode(errors="surrogatepass")
        return hmac.new(self._key, content, hashlib.sha256).hexdigest()[:length]


_current: Pseudonyms | None = None


def current() -> Pseudonyms | None:
    """Return the pseudonyms in use; None if cases go by their names."""
    return _current


def shown(name: str) -> str:
    """Return the shown name of a case: its own, or its pseudonym while those are in use."""
    return name if _current is None else _current.of(name)


def hidden(text: str) -> str:
    """Replace case names in a text with pseudonyms while those are in use."""
    return text if _current is None else _current.hide(text)


def alias(kind: str, text: str) -> str:
    """Return the shown form of a name that is no case's: its own, or a pseudonym while those are in use."""
    return text if _current is None else _current.alias(kind, text)


def shown_uid(uid: str) -> str:
    """Return the shown form of a DICOM UID: its own, or one derived from it while pseudonyms are in use."""
    return uid if _current is None else _current.uid(uid)


def hide_below(path: Path) -> None:
    """Replace the path of a folder or file, and of everything in it, while pseudonyms are in use."""
    if _current is not None:
        _current.hide_below(path)


def use(pseudonyms: Pseudonyms | None) -> None:
    """Use pseudonyms from now on, in log messages, too; for processes working for another one."""
    global _current
    _current = pseudonyms
    if pseudonyms is None:
        logging.setLogRecordFactory(logging.LogRecord)
    else:
        logging.setLogRecordFactory(_record)


@contextmanager
def in_use(pseudonyms: Pseudonyms | None) -> Iterator[None]:
    """Use pseudonyms within a block; None changes nothing."""
    global _current
    before, factory = _current, logging.getLogRecordFactory()
    with warnings.catch_warnings():
        if pseudonyms is not None:
            use(pseudonyms)
            # Those of libraries quote values of the headers that they read.
            warnings.simplefilter("ignore", UserWarning)
        try:
            yield
        finally:
            _current = before
            logging.setLogRecordFactory(factory)


def key_file() -> Path:
    """Return the path in ``SWIN_UMAMBA_PSEUDONYM_KEY``, else one in the user's configuration folder."""
    if own := os.environ.get(KEY_VARIABLE):
        return Path(own).expanduser().absolute()
    xdg = os.environ.get("XDG_CONFIG_HOME", "")
    folder = Path(xdg) if os.path.isabs(xdg) else Path.home() / ".config"
    return folder / "swin-umamba" / "pseudonym.key"


def read_key(path: Path) -> bytes:
    """Return the key in a file; if there is no such file, make one that only this user can read.

    Raises
    ------
    OSError
        If the file cannot be read or created.
    ValueError
        If others can read it or own it, or it holds no key; the message says what to do.
    """
    if not path.exists():
        _make_key(path)
    with open_to_read(path) as file:
        if others_can_read(file.fileno()):
            raise ValueError(f"other users can read it: chmod 600 {path}")
        if os.fstat(file.fileno()).st_uid not in (0, own_number()):
            raise ValueError("it belongs to another user")
        key = file.read(LONGEST_KEY + 1).strip()
    if not SHORTEST_KEY <= len(key) <= LONGEST_KEY:
        raise ValueError(f"a key has {SHORTEST_KEY} to {LONGEST_KEY} bytes, and this one {len(key)}")
    return key


def _make_key(path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent)  # only for its owner
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_hex(32).encode())
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):  # another run was faster, and its key counts
            os.link(temporary, path)
            logger.warning("made a new key for pseudonyms, keep it: %s", path)
    finally:
        os.unlink(temporary)


def _record(*args: Any, **kwargs: Any) -> logging.LogRecord:
    record = logging.LogRecord(*args, **kwargs)
    is_quoting = record.name.partition(".")[0] in _QUOTING
    record.msg = _LEFT_OUT if is_quoting else hidden(record.getMessage())
    record.args = None
    return record
