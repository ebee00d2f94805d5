"""The networks of a model's folds: all at hand where memory allows, else one after the other."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, overload

import torch
from torch import Tensor, nn

from swin_umamba.ops.free_memory import free_memory

PART_OF_FREE_MEMORY = 1 / 4
"""The most that the networks of further folds may take."""


class FoldNetworks(Sequence[nn.Module]):
    """The network of each fold.

    Parameters
    ----------
    network
        The network with the weights of the first fold, where it is to run, in eval mode.
    parameters
        The state dict of each fold.

    Attributes
    ----------
    all_at_hand
        Whether each fold has a network of its own. Otherwise all share one, and a fold's weights are copied
        into it whenever it is asked for: a network is then only good until the next is.
    """

    def __init__(self, network: nn.Module, parameters: Sequence[Mapping[str, Tensor]]) -> None:
        self._parameters = parameters
        self.all_at_hand = len(parameters) == 1 or _fit(network, len(parameters) - 1)
        self._networks = [network]
        if self.all_at_hand:
            for of_fold in parameters[1:]:
                another = copy.deepcopy(network)
                another.load_state_dict(of_fold)
                self._networks.append(another)

    def __len__(self) -> int:
        return len(self._parameters)

    @overload
    def __getitem__(self, fold: int) -> nn.Module: ...

    @overload
    def __getitem__(self, fold: slice) -> Sequence[nn.Module]: ...

    def __getitem__(self, fold: int | slice) -> nn.Module | Sequence[nn.Module]:
        if isinstance(fold, slice):
            raise TypeError("folds are taken one by one")
        if self.all_at_hand:
            return self._networks[fold]
        (network,) = self._networks
        network.load_state_dict(self._parameters[fold])
        return network

    @property
    def know_depth(self) -> bool:
        """Whether the networks have learnt depth within objects."""
        return bool(getattr(self._networks[0], "has_depth_head", False))

    @contextmanager
    def returning_depth(self, wanted: bool) -> Iterator[int]:
        """Have the networks return the depth after the logits if wanted; yield how many values that adds."""
        with ExitStack() as stack:
            for network in self._networks if wanted else ():
                returning_depth: Any = network.returning_depth
                stack.enter_context(returning_depth())
            yield int(wanted)


def _fit(network: nn.Module, copies: int) -> bool:
    tensors = [*network.parameters(), *network.buffers()]
    free = free_memory(tensors[0].device if tensors else torch.device("cpu"))
    needed = copies * sum(tensor.nbytes for tensor in tensors)
    return free is not None and needed <= PART_OF_FREE_MEMORY * free
