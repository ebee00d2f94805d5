"""Errors as a client sees them: status, problem, place and hint, but never a path on this machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from swin_umamba.errors import DataError, SwinUMambaError, UsageError, printable

RETRY_SECONDS = 5


class RequestError(SwinUMambaError):
    """A refused request. Each subclass has its HTTP status."""

    status = 400


class MalformedRequest(RequestError):
    """The request contradicts its own headers or the description of the API."""


class ForeignRequest(RequestError):
    """The request was sent by a page of another site."""

    status = 403


class Unauthorized(RequestError):
    """The request does not have the server's token."""

    status = 401


class UnknownJob(RequestError):
    """The job does not exist, or no longer exists."""

    status = 404

    def __init__(self) -> None:
        super().__init__(
            "the server has no such image (any more)",
            hint="upload it again: images and results are deleted when the page is left or after some time",
        )


class UnknownSlice(RequestError):
    """The result has no such slice or view."""

    status = 404


class NoSuchFile(RequestError):
    """The result does not have this file."""

    status = 404


class InvalidValue(RequestError):
    """A value in the address is not of its type."""

    status = 422


class SlowRequest(RequestError):
    """The upload has stalled, or is too slow."""

    status = 408


class UnfinishedJob(RequestError):
    """The result is not ready yet, or never will be."""

    status = 409


class TooLarge(RequestError):
    """The upload is larger than the server accepts."""

    status = 413


class TooLong(RequestError):
    """The prediction takes longer than the server allows."""

    status = 422


class ForeignHost(RequestError):
    """The request was sent to a name that is not this server's."""

    status = 421


class Busy(RequestError):
    """The server is busy; the client may try again."""

    status = 503


def status_of(error: SwinUMambaError) -> int:
    """Return the HTTP status of an error: 4xx if the client can fix it, 500 if the server has to."""
    if isinstance(error, RequestError):
        return error.status
    return 422 if isinstance(error, DataError) else 400 if isinstance(error, UsageError) else 500


def headers_of(error: SwinUMambaError) -> dict[str, str]:
    """Return the HTTP headers that belong to an error."""
    if isinstance(error, Unauthorized):
        return {"WWW-Authenticate": "Bearer"}
    return {"Retry-After": str(RETRY_SECONDS)} if isinstance(error, Busy) else {}


def unexpected(error: Exception) -> SwinUMambaError:
    """Return what a client may know of an unexpected error: nothing of its text."""
    if isinstance(error, SwinUMambaError):
        return error
    return SwinUMambaError(
        "something went wrong on the server", hint="try again; if it happens again, look at the server's log"
    )


def with_client_names(
    error: SwinUMambaError, files: Sequence[Path], names: Sequence[str], private: Path
) -> SwinUMambaError:
    """Return the error of a job with the client's file names in place of the server's paths.

    Parameters
    ----------
    error
        Exception that reading or predicting has raised.
    files, names
        Paths of the uploaded files, and their names for the client.
    private
        Folder that must not be disclosed. Texts that still contain it, or any place that is not one of the
        files, are left out.
    """
    own = {str(file): name for file, name in zip(files, names, strict=True)}
    own |= {file.name: name for file, name in zip(files, names, strict=True)}
    where = None if error.where is None else _renamed(error.where, own)
    if where == error.where or (where is not None and str(private) in where):
        where = None
    what, hint = _renamed(error.what, own), _renamed(error.hint or "", own)
    hidden = "the server's file"
    return type(error)(
        printable(what).replace(str(private), hidden),
        where=where,
        hint=hint.replace(str(private), hidden) or None,
    )


def _renamed(text: str, own: Mapping[str, str]) -> str:
    for path, name in own.items():
        text = text.replace(path, name)
    return text
