"""Download of one file over HTTP, resuming where an earlier attempt stopped."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import requests

from swin_umamba.errors import CheckpointError, OutputError
from swin_umamba.opening import open_regular
from swin_umamba.progress import byte_progress
from swin_umamba.weights.file_kind import describe_other_kind

MAX_BYTES = 4 * 2**30
"""No file of weights is larger; a server that sends more is cut off."""
MAX_REDIRECTS = 5
TIMEOUT_SECONDS = 30
BLOCK = 2**16
_WHAT_TO_TRY = "check the network, and HTTPS_PROXY if you are behind a proxy, and run the command again"


def transfer(url: str, partial: Path, *, size: int | None, hint: str) -> None:
    """Download ``url`` to ``partial``, appending to what is there.

    Proxies are taken from the environment. The connection is encrypted and the server's certificate checked;
    only this machine itself may be asked without encryption.

    Parameters
    ----------
    url
        An ``https`` address, or ``http`` to this machine.
    partial
        File to write. After a failure of the network or the disk it keeps what has arrived.
    size
        Size of the whole file in bytes, if known.
    hint
        Advice on getting the file by hand, for messages.

    Raises
    ------
    CheckpointError
        If the file does not arrive, is incomplete, or is plainly another one.
    OutputError
        If the file cannot be written.
    """
    start = partial.stat().st_size if partial.exists() else 0
    if size is not None and start == size:
        return
    if size is not None and start > size:
        start = 0
    with _errors_explained(url, partial, hint), _open(url, start, hint) as response:
        if response.status_code == 206 and not _continues_at(response, start):
            raise CheckpointError("the server sent another part than asked for", where=url, hint=hint)
        if response.status_code == 200:
            start = 0
        total = _total(response, start)
        limit = MAX_BYTES if size is None else size
        blocks = response.iter_content(BLOCK)
        if start == 0:
            first = next(blocks, b"")
            _check_beginning(first, url, hint)
            blocks = chain([first], blocks)
        if total is not None and (total > limit or size not in (None, total)):
            raise _wrong_size(f"{total:,}", size, url, hint)
        with open(partial, "ab" if start else "wb", opener=open_regular) as file:
            for block in byte_progress(blocks, partial.name, total=total or size, start=start):
                start += file.write(block)
                if start > limit:
                    break
        if start > limit:
            partial.unlink()
            raise _wrong_size(f"more than {limit:,}", size, url, hint)
        if start != (total or size or start):
            raise requests.ConnectionError(f"it ended after {start:,} of {total or size:,} bytes")


def _open(url: str, start: int, hint: str) -> requests.Response:
    """Request the file from byte ``start`` on and return the response."""
    first_url = url
    # A response compressed on the way has another size and cannot be resumed.
    headers = {"Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    for _ in range(MAX_REDIRECTS + 1):
        _check_address(url, first_url, hint)
        # Redirects are followed here: requests would follow one to an unencrypted address.
        response = requests.get(
            url, headers=headers, stream=True, allow_redirects=False, timeout=TIMEOUT_SECONDS
        )
        if response.status_code in (200, 206):
            return response
        response.close()
        if response.status_code == 416 and start:  # the partial file is longer than the whole one
            return _open(first_url, 0, hint)
        if not response.is_redirect:
            reason = f"the server answers {response.status_code} {response.reason}"
            raise CheckpointError(f"the file cannot be downloaded: {reason}", where=url, hint=hint)
        try:
            url = urljoin(url, response.headers["location"])
        except ValueError as error:
            raise CheckpointError(
                f"the server redirects to something that is not an address: {error}", where=url, hint=hint
            ) from error
    raise CheckpointError(f"the server redirects more than {MAX_REDIRECTS} times", where=first_url, hint=hint)


def _check_address(url: str, first_url: str, hint: str) -> None:
    parts, first = urlsplit(url), urlsplit(first_url)
    # A server elsewhere must not redirect to one on this machine, which may do whatever it is asked.
    local = parts.scheme == first.scheme == "http" and _is_this_machine(parts.hostname or "")
    if parts.scheme == "https" or local:
        return
    raise CheckpointError("only https addresses are downloaded from", where=url, hint=hint)


def _is_this_machine(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _continues_at(response: requests.Response, start: int) -> bool:
    return response.headers.get("Content-Range", "").startswith(f"bytes {start}-")


def _total(response: requests.Response, start: int) -> int | None:
    length = response.headers.get("Content-Length", "")
    return start + int(length) if re.fullmatch(r"\d{1,18}", length, re.ASCII) else None


def _check_beginning(first: bytes, url: str, hint: str) -> None:
    if not first:
        raise CheckpointError("the server sent an empty file", where=url, hint=hint)
    if other := describe_other_kind(first):
        raise CheckpointError(f"the server sent {other[0]}", where=url, hint=hint)


def _wrong_size(found: str, size: int | None, url: str, hint: str) -> CheckpointError:
    expected = f"{size:,} expected" if size is not None else "more than any file of weights has"
    return CheckpointError(f"the server sends {found} bytes, {expected}", where=url, hint=hint)


@contextmanager
def _errors_explained(url: str, partial: Path, hint: str) -> Iterator[None]:
    try:
        yield
    except requests.exceptions.SSLError as error:
        raise CheckpointError(
            f"the server's certificate or encryption is not trusted: {_innermost(error)}",
            where=url,
            hint=f"if your network has a certificate of its own, name it in REQUESTS_CA_BUNDLE. Or {hint}",
        ) from error
    except requests.RequestException as error:
        kept = partial.stat().st_size if partial.exists() else 0
        raise CheckpointError(
            f"the download failed: {_innermost(error)}"
            + (f"; {kept:,} bytes are kept and the next attempt continues there" if kept else ""),
            where=url,
            hint=f"{_WHAT_TO_TRY}. Or {hint}",
        ) from error
    except OSError as error:
        raise OutputError(
            f"the download cannot be written: {error.strerror or error}",
            where=partial,
            hint="free some space, or choose another cache with SWIN_UMAMBA_CACHE, and run it again",
        ) from error


def _innermost(error: BaseException) -> str:
    """Return the message of the first cause, without the layers that libraries wrap around it."""
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    return str(error) or type(error).__name__
