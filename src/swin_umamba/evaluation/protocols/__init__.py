"""The evaluations of challenges, each as it was published and corrected.

``as_published`` gives the numbers that the published scripts give, flaws included, so that results can be set
beside published ones. ``corrected`` does what those scripts set out to do. ``rules`` says where they differ.
Both take label maps ``(y, x)`` or ``(z, y, x)`` on one grid, and the spacing of their axes in mm.
"""

from __future__ import annotations

import importlib
from typing import Any

PROTOCOLS: dict[str, str | type] = {
    "abdomen-mr": "AbdomenMR",
    "endoscopy": "Endoscopy",
    "microscopy": "Microscopy",
}
"""Class of each protocol, or its name; then its module has the protocol's name with an underscore. Plain
data, so that help needs nothing heavy."""


def find_protocol(name: str) -> Any:
    """Return the class of a protocol; its objects are a ``PaperProtocol``."""
    found = PROTOCOLS[name]
    if isinstance(found, type):
        return found
    return getattr(importlib.import_module(f"{__name__}.{name.replace('-', '_')}"), found)
