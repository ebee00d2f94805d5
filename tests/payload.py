"""What runs when a file is read without care."""

from __future__ import annotations

from typing import Any


class Payload:
    """Runs ``function(*arguments)`` when it is unpickled by an ordinary unpickler."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call
