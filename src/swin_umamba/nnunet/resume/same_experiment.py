"""Checks that a continued run is still the same experiment: plans, labels and cases."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from swin_umamba.errors import TrainingError
from swin_umamba.fingerprint import fingerprint_of
from swin_umamba.nnunet.preprocessed import OF_PLANS, content_fingerprint
from swin_umamba.nnunet.resume.training_state import OWN_ENTRY

_HINT = "train again with --overwrite, or restore the files of the first run"
_OF_DATASET = ("labels", "regions_class_order", "channel_names")
_LONGEST_VALUE = 60
_TRAINED_ON = {"train": "the training cases", "validation": "the validation cases", "content": "their files"}


def check_plans(stored: Mapping[str, Any], current: Mapping[str, Any], folder: str | Path) -> None:
    """Refuse to continue with plans or labels other than those at the start of the run.

    Parameters
    ----------
    stored, current
        nnU-Net's ``init_args`` of the checkpoint and of the trainer, with the options of the run applied.
    folder
        Folder of the fold.

    Raises
    ------
    TrainingError
        If they differ; the message names the differences.
    """
    before, now = _described(stored), _described(current)
    other = [key for key in now if key in before and fingerprint_of(before[key]) != fingerprint_of(now[key])]
    if other:
        raise TrainingError(
            "the plans are not those of the run to be continued: "
            + "; ".join(_change(key, before[key], now[key]) for key in other),
            where=folder,
            hint=_HINT,
        )


def fingerprints_of_cases(
    train: Sequence[str], validation: Sequence[str], folder: str | Path
) -> dict[str, str | None]:
    """Return the fingerprints of the cases of a fold for a checkpoint, which contain no names.

    Parameters
    ----------
    train, validation
        Names of the cases.
    folder
        The preprocessed data.
    """
    return {
        "train": fingerprint_of(sorted(map(str, train))),
        "validation": fingerprint_of(sorted(map(str, validation))),
        "content": content_fingerprint(Path(folder), {*map(str, train), *map(str, validation)}),
    }


def check_cases(
    stored: Mapping[str, str | None], current: Mapping[str, str | None], folder: str | Path
) -> None:
    """Refuse to continue with cases other than those at the start of the run.

    Raises
    ------
    TrainingError
        If they differ; the message names the differences.
    """
    pairs = {what: (stored.get(key), current.get(key)) for key, what in _TRAINED_ON.items()}
    other = [what for what, (before, now) in pairs.items() if before and now and before != now]
    if other:
        raise TrainingError(
            f"{' and '.join(other)} of the fold are not those of the run to be continued",
            where=folder,
            hint=_HINT,
        )


def validates_on(checkpoint: Mapping[str, Any], cases: Iterable[str]) -> bool:
    """Return whether the training of a checkpoint was validated on these cases, as far as it is recorded."""
    stored = checkpoint.get(OWN_ENTRY, {}).get("cases", {}).get("validation")
    return stored in (None, fingerprint_of(sorted(map(str, cases))))


def _described(arguments: Mapping[str, Any]) -> dict[str, Any]:
    plans, description = arguments.get("plans", {}), arguments.get("dataset_json", {})
    configuration = plans.get("configurations", {}).get(arguments.get("configuration"), {})
    return {
        **configuration,
        **{key: plans[key] for key in OF_PLANS if key in plans},
        **{key: description[key] for key in _OF_DATASET if key in description},
    }


def _change(key: str, before: Any, now: Any) -> str:
    shown = f"{key} was {before}, is {now}"
    return shown if len(shown) <= _LONGEST_VALUE else f"{key} has changed"
