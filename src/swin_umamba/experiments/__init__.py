"""The paper's three experiments, from the challenges' data to the paper's table, and the user's own."""

from __future__ import annotations

from typing import Any

from swin_umamba.data.datasets import DATASETS, ChallengeDataset
from swin_umamba.errors import UsageError
from swin_umamba.evaluation.protocols import PROTOCOLS
from swin_umamba.paper import EXPERIMENTS, PaperExperiment

_OURS = {*DATASETS, *PROTOCOLS, *EXPERIMENTS, "folder"}


def register_challenge(
    dataset: ChallengeDataset, protocol: Any = None, experiment: PaperExperiment | None = None
) -> None:
    """Register a challenge's data set with ``convert``, and its evaluation with the other commands.

    Call it in a file of your own named in ``SWIN_UMAMBA_EXTENSIONS`` (``docs/extending.md``). A later
    registration replaces an earlier one of the same name.

    Parameters
    ----------
    dataset
        Data set for ``convert``.
    protocol
        Class of a ``PaperProtocol``, for ``evaluate`` and ``compare``.
    experiment
        Patch, batch and epochs, and published results, for ``reproduce``, which needs the protocol, too.

    Raises
    ------
    UsageError
        If the package already uses the name, or the names of the parts differ.
    """
    names = {dataset.name, *(each.name for each in (protocol, experiment) if each is not None)}
    if len(names) > 1 or names & _OURS or (experiment is not None and protocol is None):
        raise UsageError(
            f"the challenge {' or '.join(sorted(names))} cannot be registered",
            hint="give its parts one name, another one than those of the package; an experiment needs a "
            "protocol",
        )
    DATASETS[dataset.name] = dataset
    if protocol is not None:
        PROTOCOLS[dataset.name] = protocol
    if experiment is not None:
        EXPERIMENTS[dataset.name] = experiment
