"""The files of a result as answers."""

from __future__ import annotations

from typing import Any, Literal
from urllib.parse import quote

from starlette.responses import Response

from swin_umamba.serve.problems import NoSuchFile, UnknownJob
from swin_umamba.serve.segment import Result

Wanted = Literal["labels", "instances", "objects.csv", "objects.geojson"]
"""What can be downloaded, by the name that it has in the API."""

_BINARY = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
MASK: dict[str, Any] = {"description": "The label map, on the grid of the image.", "content": _BINARY}
INSTANCES: dict[str, Any] = {
    "description": "Each pixel has the number of its object, as in the table; 0 is the background.",
    "content": _BINARY,
}
TABLE: dict[str, Any] = {
    "description": "Size, place, shape and intensities of each object; see docs/objects.md.",
    "content": {"text/csv": {}},
}
OUTLINES: dict[str, Any] = {
    "description": "The outlines of the objects of a picture, for QuPath.",
    "content": {"application/geo+json": {}},
}
ASK_FOR_OBJECTS = "upload the image again with ?instances=1"
_MEDIA_TYPES = {"objects.csv": "text/csv; charset=utf-8", "objects.geojson": "application/geo+json"}


def file_answer(result: Result, wanted: Wanted) -> Response:
    """Return a whole file: it may be deleted while a slow client is still reading."""
    found = result.download(wanted)
    if found is None:
        raise NoSuchFile(
            f"the result has no {wanted}",
            hint="ask for instances or objects.csv: there are outlines of pictures only"
            if result.objects
            else ASK_FOR_OBJECTS,
        )
    path, name = found
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise UnknownJob from None
    ascii_name = name.encode("ascii", "replace").decode().replace("?", "_")
    disposition = f"attachment; filename=\"{ascii_name}\"; filename*=UTF-8''{quote(name)}"
    return Response(
        content,
        media_type=_MEDIA_TYPES.get(wanted, "application/octet-stream"),
        headers={"Content-Disposition": disposition},
    )
