"""``splits_final.json``: which cases each fold of a data set is trained and validated on."""

from __future__ import annotations

from pathlib import Path

from swin_umamba.errors import DataError, SwinUMambaError
from swin_umamba.json_files import read_json

SPLITS_FILE = "splits_final.json"


def validation_cases(
    path: Path, fold: int, *, error: type[SwinUMambaError] = DataError, cure: str
) -> frozenset[str]:
    """Return the names of the cases that a fold is validated on.

    Parameters
    ----------
    path
        The file.
    fold
        Its number.
    error, cure
        What to raise if the file does not say it, and what can be done about that.
    """
    without = f"without it there are no validation cases of fold_{fold}: {cure}"
    folds = read_json(path, list, error=error, cure=without)
    names = folds[fold].get("val") if 0 <= fold < len(folds) and isinstance(folds[fold], dict) else None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise error(f"the splits name no validation cases of fold_{fold}", where=path, cure=cure)
    return frozenset(names)
