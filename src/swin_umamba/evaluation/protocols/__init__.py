"""The evaluations of challenges, each as published and corrected.

``as_published`` reproduces the numbers of the published scripts, including their flaws, so that results can
be compared with published ones. ``corrected`` does what those scripts were meant to do. ``rules`` lists the
differences. Both take label maps ``(y, x)`` or ``(z, y, x)`` on the same grid, and the spacing of their axes
in mm.
"""

from __future__ import annotations

import importlib
from typing import Any

PROTOCOLS: dict[str, str | type] = {
    "abdomen-mr": "AbdomenMR",
    "endoscopy": "Endoscopy",
    "microscopy": "Microscopy",
}
"""Class of each protocol, or the name of the class; its module then has the name of the protocol.

Plain data, so that the help imports nothing heavy."""


def find_protocol(name: str) -> Any:
    """Return the class of a protocol, a ``PaperProtocol``."""
    found = PROTOCOLS[name]
    if isinstance(found, type):
        return found
    return getattr(importlib.import_module(f"{__name__}.{name.replace('-', '_')}"), found)
