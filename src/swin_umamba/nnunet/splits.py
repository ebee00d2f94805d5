"""``splits_final.json``, kept in step with the existing cases.

nnU-Net makes the file once and never updates it: cases that are added later are in no fold, and names of
removed cases end a training with a message about permissions.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable
from pathlib import Path

from swin_umamba.errors import DataError, SwinUMambaError, TrainingError, UsageError, in_short
from swin_umamba.json_files import read_json, write_json
from swin_umamba.schema import Provenance, listed, table, text

logger = logging.getLogger(__name__)

SPLITS_FILE = "splits_final.json"
NUM_FOLDS = 5
NAMES_SHOWN = 10

SPLITS = listed(table({"train": listed(text()), "val": listed(text())}), range(1, 1001))
"""Rule for the file: the names of the cases in each fold."""
Splits = list[dict[str, list[str]]]


def update_splits(path: Path, cases: Iterable[str]) -> bool:
    """Make the splits as nnU-Net would, or compare existing ones with the cases.

    Splits that nnU-Net has made for other cases are made again. Splits from another source are kept; a
    warning gives the number of cases in no fold.

    Parameters
    ----------
    path
        The file.
    cases
        Names of all preprocessed cases.

    Returns
    -------
    bool
        Whether splits for other cases were replaced.

    Raises
    ------
    TrainingError
        If there are fewer cases than folds, or the user's own splits name missing cases.
    DataError
        If the file is damaged.
    """
    known = sorted(cases)
    if not path.exists():
        write_json(path, _nnunets(known, path))
        return False
    splits = _read(path)
    named = {name for split in splits for names in split.values() for name in names}
    gone, unused = sorted(named.difference(known)), sorted(set(known) - named)
    if not gone and not unused:
        return False
    if len(named) >= NUM_FOLDS and splits == _nnunets(sorted(named), path):
        write_json(path, _nnunets(known, path))
        logger.warning(
            "%s was made for %d cases and is made again for the present %d: %d added, %d removed",
            path,
            len(named),
            len(known),
            len(unused),
            len(gone),
        )
        return True
    if gone:
        names = in_short(gone, NAMES_SHOWN)
        raise TrainingError(
            f"the splits name {len(gone)} case(s) that the preprocessed data lack: {names}",
            where=path,
            hint="correct the file, or delete it to have one made; after the raw data change, plan again",
        )
    logger.warning(
        "%d of %d cases are in no fold of %s: %s",
        len(unused),
        len(known),
        path,
        in_short(unused, NAMES_SHOWN),
    )
    return False


def keep_splits_in_step(path: Path, cases: Iterable[str], model: Path, folds: Collection[int | str]) -> None:
    """Call ``update_splits``, warn of folds trained with earlier splits, and refuse those that there are not.

    Parameters
    ----------
    path, cases
        As for ``update_splits``.
    model
        Folder of the folds.
    folds
        Numbers of the folds to be trained now.

    Raises
    ------
    UsageError
        If the splits lack one of the folds: nnU-Net would draw cases for it at random.
    TrainingError, DataError
        As for ``update_splits``.
    """
    if update_splits(path, cases):
        now = {f"fold_{fold}" for fold in folds}
        stale = {each.parent.name for each in model.glob("fold_[0-9]*/checkpoint_*.pth")} - now
        if stale:
            logger.warning("trained with the earlier splits, train again: %s", ", ".join(sorted(stale)))
    number = len(_read(path))
    for fold in folds:
        if fold not in range(number):
            raise UsageError(
                f"there is no fold {fold}: the splits have {number}",
                where=path,
                hint=f"give a number from 0 to {number - 1}, or all; or add the fold to the file",
            )


def validation_cases(
    path: Path, fold: int, *, error: type[SwinUMambaError] = DataError, hint: str
) -> frozenset[str]:
    """Return the names of the validation cases of a fold.

    Parameters
    ----------
    path
        The file.
    fold
        Its number.
    error, hint
        Error to raise if the file does not contain them, and its hint.
    """
    without = f"without it there are no validation cases of fold_{fold}: {hint}"
    folds = read_json(path, list, error=error, hint=without)
    source = Provenance(path, hint, error, f"the splits name no validation cases of fold_{fold}: ")
    source.check(folds, SPLITS)
    if not 0 <= fold < len(folds):
        raise source.refusal(f"they have {len(folds)} folds")
    return frozenset(folds[fold]["val"])


def _nnunets(cases: list[str], path: Path) -> Splits:
    if len(cases) < NUM_FOLDS:
        raise TrainingError(
            f"{len(cases)} training cases are too few for {NUM_FOLDS} folds",
            where=path.parent,
            hint="give --fold all, which trains and validates on all cases, or add cases",
        )
    from nnunetv2.utilities.crossval_split import generate_crossval_split

    splits = generate_crossval_split(cases, seed=12345, n_splits=NUM_FOLDS)
    return [{part: [str(name) for name in names] for part, names in split.items()} for split in splits]


def _read(path: Path) -> Splits:
    hint = 'it needs a list of {"train": [NAMES], "val": [NAMES]}; delete it to have one made'
    splits = read_json(path, list, hint=hint)
    Provenance(path, hint, beginning="the splits are damaged: ").check(splits, SPLITS)
    return [{part: split[part] for part in ("train", "val")} for split in splits]
