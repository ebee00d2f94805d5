"""The three experiments of the paper, from the challenges' data to the paper's table, and the user's own."""

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
    """Make the data set of a challenge known to ``convert``, and how it is evaluated to the other commands.

    Call it in a file of your own that ``SWIN_UMAMBA_EXTENSIONS`` names (``docs/extending.md``). What is
    registered again replaces what had its name.

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
        If the package has the name, or the parts have different ones.
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
