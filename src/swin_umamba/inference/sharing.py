"""Cases that several processes share: each is claimed by the one that predicts it.

A claim is a lock beside the label map. A process that finds a case claimed goes on with the next one, and
comes back at its end, to keep the result or, if the other process has died, to predict the case itself.
"""

from __future__ import annotations

from pathlib import Path

from swin_umamba.lock import Lock


def claim_of(path: Path) -> Lock:
    """Return the lock that is held by who makes a file; its folder must exist."""
    return Lock(path.with_name(f".{path.name}.claim"))
