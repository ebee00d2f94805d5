"""What all options have in common that are stored with a run: the run goes on with them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from swin_umamba.errors import UsageError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    Options = TypeVar("Options", bound=DataclassInstance)


def continue_options(stored: Options, given: Mapping[str, Any], changeable: Sequence[str]) -> Options:
    """Return stored options with those of ``given`` that may change when a run goes on.

    Parameters
    ----------
    stored
        A dataclass with the options that the run was started with.
    given
        Field name to value, of the options that are given now.
    changeable
        The fields that may differ; anything else would make it another experiment.

    Raises
    ------
    UsageError
        If ``given`` contradicts a stored option that may not change.
    """
    contradictions = [
        f"{name} is {value!r} but the run was started with {getattr(stored, name)!r}"
        for name, value in given.items()
        if name not in changeable and value != getattr(stored, name)
    ]
    if contradictions:
        raise UsageError(
            "a run goes on with the options that it was started with: " + "; ".join(contradictions),
            cure="leave these options out, or start anew with --overwrite; what may change is: "
            + ", ".join(changeable),
        )
    return replace(stored, **{name: given[name] for name in changeable if name in given})
