"""Uploads: a multipart body is written to files as it arrives, and refused as soon as it breaks a rule."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request

from swin_umamba.data.dicom import is_dicom, may_be_dicom
from swin_umamba.data.image_io import image_suffix
from swin_umamba.errors import printable
from swin_umamba.serve.limits import FORM_OVERHEAD, MIB, MOST_SLICES, Limits
from swin_umamba.serve.patience import waited_for
from swin_umamba.serve.problems import Busy, MalformedRequest, SlowRequest, TooLarge
from swin_umamba.serve.storage import PrivateFolder

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

FIELD = "file"
LONGEST_NAME = 100
_DICOM = ".dcm"
_HEADER_BYTES = 8192
_HINT = f"send multipart/form-data with one field {FIELD!r} for each file, as curl -F {FIELD}=@image.png does"


@dataclass(frozen=True)
class Upload:
    """Files of one request.

    Attributes
    ----------
    folder
        Folder that contains the files and nothing else.
    files
        The files, named by number and the ending of their format; those without an ending may be DICOM.
    names
        Names that the client gave them, safe to display and never used as paths.
    client
        Client that sent them.
    series
        DICOM series to read; None for the only one.
    instances
        Whether to find objects, too.
    """

    folder: Path
    files: tuple[Path, ...]
    names: tuple[str, ...]
    client: str = ""
    series: str | None = None
    instances: bool = False

    @property
    def images(self) -> tuple[Path, ...]:
        """The files, or the folder if they are those of a DICOM folder."""
        lone = len(self.files) == 1 and self.files[0].suffix
        return (self.folder,) if not lone and _are_dicom(self.files) else self.files


async def receive(
    request: Request,
    storage: PrivateFolder,
    limits: Limits,
    max_files: int,
    series: str | None = None,
    *,
    instances: bool = False,
) -> Upload:
    """Write the files of a request to a new folder.

    Parameters
    ----------
    request
        Request whose body has not been read yet.
    storage
        Storage in which the folder is made. The folder is removed if the upload fails for any reason.
    limits
        Limits on size and speed.
    max_files
        Largest number of files in a request; there may be more DICOM files.
    series, instances
        See ``Upload``.

    Raises
    ------
    MalformedRequest
        The body is not a form with 1 to ``max_files`` files, or ends too early.
    DataError
        The ending of a name is not that of an image format.
    TooLarge, SlowRequest, Busy
        If a limit is exceeded; the rest of the body is not read.
    """
    _check_declared_size(request, limits)
    client = client_of(request)
    folder = storage.new(client)
    form = _Form(folder, max_files)
    try:
        await _fill(form, request, storage, limits)
        if not any(path.suffix or is_dicom(path) for path in form.files):
            image_suffix(form.names[0])  # raises an error that names it as unknown
    except BaseException:  # a refusal, or the shutdown of the server
        form.close()
        storage.remove(folder)
        raise
    return Upload(folder, tuple(form.files), tuple(form.names), client, series, instances)


def client_of(request: Request) -> str:
    """Return the client of a request, which :class:`~swin_umamba.serve.access.Access` has identified."""
    client = request.state.client
    assert isinstance(client, str)
    return client


def _are_dicom(files: Sequence[Path]) -> bool:
    return all(file.suffix in (_DICOM, "") for file in files)


def _suffix(name: str) -> str:
    """Return the ending that a file is stored with, from a fixed list."""
    if may_be_dicom(name):
        return _DICOM if Path(name).suffix[1:].isalpha() else ""
    return image_suffix(name)


def shown_name(name: str) -> str:
    """Return a client's file name without folders and control characters, and shortened."""
    name = printable(re.split(r"[/\\]", name)[-1]).replace("\n", " ").strip() or "image"
    if len(name) <= LONGEST_NAME:
        return name
    return f"{name[: LONGEST_NAME - 21]}…{name[-20:]}"


async def _fill(form: _Form, request: Request, storage: PrivateFolder, limits: Limits) -> None:
    """Write the files of a request; a thread parses and writes, so that the event loop is not blocked."""
    try:
        parser = MultipartParser(_boundary(request), form.callbacks())
        async for chunk in _chunks(request, limits):
            storage.reserve(form.folder, len(chunk))
            await run_in_threadpool(parser.write, chunk)
    except FormParserError as error:
        raise MalformedRequest("the upload is not the form that its header declares", hint=_HINT) from error
    except ClientDisconnect as error:
        raise MalformedRequest(
            "the client has closed the connection", hint="send the upload again"
        ) from error
    except OSError as error:
        raise Busy("the server cannot store the upload", hint="see that its disk has space") from error
    if not form.complete:
        raise MalformedRequest("the upload ends too early", hint=_HINT)
    if not form.files:
        raise MalformedRequest("there is no file in the upload", hint=_HINT)


def _check_declared_size(request: Request, limits: Limits) -> None:
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared[:20]) > limits.upload_bytes + FORM_OVERHEAD:
        raise _too_large(limits)


def _too_large(limits: Limits) -> TooLarge:
    return TooLarge(
        f"the upload is larger than {limits.upload_bytes / MIB:g} MiB",
        hint="crop the image or compress it (.nii.gz), or start the server with a larger --max-upload",
    )


def _boundary(request: Request) -> bytes:
    kind, options = parse_options_header(request.headers.get("content-type"))
    if kind != b"multipart/form-data" or not options.get(b"boundary"):
        raise MalformedRequest("the request is not a multipart form", hint=_HINT)
    return options[b"boundary"]


async def _chunks(request: Request, limits: Limits) -> AsyncIterator[bytes]:
    """Yield the body while it is small and fast enough; only the time counts for which it was waited."""
    stream = request.stream()
    start, waited, received = time.monotonic(), 0.0, 0
    while True:
        try:
            chunk, seconds = await waited_for(anext(stream), limits.silence_seconds)
        except StopAsyncIteration:
            return
        except asyncio.TimeoutError as error:
            raise SlowRequest("the upload has stalled", hint="send it again") from error
        received += len(chunk)
        if received > limits.upload_bytes + FORM_OVERHEAD:
            raise _too_large(limits)
        waited += seconds
        late = time.monotonic() - start > limits.upload_seconds
        if late or (waited > limits.silence_seconds and received < waited * limits.slowest_upload):
            raise SlowRequest("the upload is too slow", hint="send it again over a faster connection")
        yield chunk


class _Form:
    """The parts of a form as the parser finds them; each one is a file and is written immediately."""

    def __init__(self, folder: Path, max_files: int) -> None:
        self.files: list[Path] = []
        self.names: list[str] = []
        self.complete = False
        self.folder = folder
        self._max_files = max_files
        self._headers: dict[bytes, bytes] = {}
        self._field, self._value = b"", b""
        self._file: BinaryIO | None = None

    def callbacks(self) -> MultipartCallbacks:
        """Return the callbacks of the parser."""
        return {
            "on_part_begin": self._headers.clear,
            "on_header_field": self._add_to_field,
            "on_header_value": self._add_to_value,
            "on_header_end": self._end_header,
            "on_headers_finished": self._open,
            "on_part_data": self._write,
            "on_part_end": self.close,
            "on_end": self._end,
        }

    def close(self) -> None:
        """Close the file that is being written, if there is one."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _add_to_field(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]
        self._check_header()

    def _add_to_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]
        self._check_header()

    def _check_header(self) -> None:
        stored = sum(len(value) for value in self._headers.values())
        if len(self._field) + len(self._value) + stored > _HEADER_BYTES:
            raise MalformedRequest("the name of a file is too long", hint="give it a shorter name")

    def _end_header(self) -> None:
        self._headers[self._field.lower()] = self._value
        self._field, self._value = b"", b""

    def _open(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition"))
        if options.get(b"name") != FIELD.encode() or b"filename" not in options:
            raise MalformedRequest("the form has a field that is not a file", hint=_HINT)
        if not options[b"filename"]:
            raise MalformedRequest("there is no file in the upload", hint=_HINT)
        name = shown_name(options[b"filename"].decode("utf-8", "replace"))
        # The path has a number and an ending from a fixed list, and nothing of the client's name.
        path = self.folder / f"upload-{len(self.files):05}{_suffix(name)}"
        most = MOST_SLICES if _are_dicom([*self.files, path]) else self._max_files
        if len(self.files) >= most:
            raise MalformedRequest(
                f"there are more than {most} files in the upload",
                hint="send one image: one file, one for each of the model's channels, or DICOM files alone",
            )
        self._file = path.open("xb")
        self.files.append(path)
        self.names.append(name)

    def _write(self, data: bytes, start: int, end: int) -> None:
        assert self._file is not None
        self._file.write(memoryview(data)[start:end])

    def _end(self) -> None:
        self.complete = True
