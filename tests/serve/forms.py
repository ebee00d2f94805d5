"""Uploads as browsers and others send them, and what the server makes of them."""

from __future__ import annotations

from collections.abc import Iterator

from schemas import check_contract
from swin_umamba.serve.service import Service

BOUNDARY = "frontier"
FORM = {"content-type": f"multipart/form-data; boundary={BOUNDARY}"}


def form(*parts: tuple[str, bytes], end: str = "--") -> bytes:
    """Return a form of parts: the text of their Content-Disposition, and their content."""
    body = b"".join(
        f"--{BOUNDARY}\r\nContent-Disposition: form-data; {disposition}\r\n\r\n".encode() + content + b"\r\n"
        for disposition, content in parts
    )
    return body + f"--{BOUNDARY}{end}\r\n".encode()


def nothing_is_left(service: Service) -> bool:
    return list(service.storage.path.iterdir()) == []


def refused(answer: object, status: int, what: str) -> dict[str, str]:
    assert answer.status_code == status, answer.text  # type: ignore[attr-defined]
    check_contract("error", answer.json())  # type: ignore[attr-defined]
    error = answer.json()["error"]  # type: ignore[attr-defined]
    assert what in error["what"]
    assert error["hint"]
    assert "/tmp" not in answer.text  # type: ignore[attr-defined]
    assert "swin-umamba-serve-" not in answer.text  # type: ignore[attr-defined]
    return error


def chunked(size: int) -> Iterator[bytes]:
    yield f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n\r\n'.encode()
    for _ in range(size // 2**16):
        yield bytes(2**16)
    yield f"\r\n--{BOUNDARY}--\r\n".encode()
