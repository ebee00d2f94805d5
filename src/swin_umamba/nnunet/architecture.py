"""Networks by the names that nnU-Net's plans use.

nnU-Net builds a network from an ``architecture`` entry in the plans: a dotted name that it imports, and
keyword arguments. If that name is one of the classes below, the plans alone describe the network: nnU-Net's
own default trainer can build it, without any trainer of this package.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from swin_umamba.models.network import Planned
from swin_umamba.models.swin_umamba import SwinUMamba
from swin_umamba.models.swin_umamba_d import SwinUMambaD
from swin_umamba.models.swin_umamba_dd import SwinUMambaDD

Strides = Sequence[Sequence[int]]


class PlannedSwinUMamba(Planned, SwinUMamba):
    """SwinUMamba for plans."""


class PlannedSwinUMambaD(Planned, SwinUMambaD):
    """SwinUMambaD for plans."""


class PlannedSwinUMambaDObjects(PlannedSwinUMambaD):
    """SwinUMambaD with a head for the depth within objects, for plans."""

    def __init__(self, input_channels: int, num_classes: int, **kwargs: Any) -> None:
        super().__init__(input_channels, num_classes, depth_head=True, **kwargs)


class PlannedSwinUMambaDD(Planned, SwinUMambaDD):
    """SwinUMambaDD for plans."""


NetworkClass = type[PlannedSwinUMamba] | type[PlannedSwinUMambaD] | type[PlannedSwinUMambaDD]

# nnU-Net derives the size of each head from the strides: head i has 1 / (product of the strides 0..i) of the
# input's size, and the last stage has no head. These strides give the scales of the networks.
STRIDES: Mapping[type[nn.Module], Strides] = {
    PlannedSwinUMamba: ((1, 1), (2, 2), (2, 2), (2, 2), (2, 2)),
    PlannedSwinUMambaD: ((1, 1), (4, 4), (2, 2), (2, 2), (2, 2)),
    PlannedSwinUMambaDObjects: ((1, 1), (4, 4), (2, 2), (2, 2), (2, 2)),
    PlannedSwinUMambaDD: ((1, 1), (2, 2), (2, 2), (2, 2), (2, 2), (2, 2)),
}


def architecture_entry(
    network_class: type[nn.Module], network_kwargs: Mapping[str, Any], strides: Strides | None = None
) -> dict[str, Any]:
    """Return the ``architecture`` entry of the plans for a network.

    Parameters
    ----------
    network_class
        Class that is built from the arguments that nnU-Net passes to a network.
    network_kwargs
        Arguments that differ from the network's defaults; they must be JSON values.
    strides
        See ``STRIDES``; not needed for the classes there.
    """
    strides = STRIDES[network_class] if strides is None else strides
    return {
        "network_class_name": f"{network_class.__module__}.{network_class.__name__}",
        "arch_kwargs": {"strides": [list(stride) for stride in strides], **network_kwargs},
        "_kw_requires_import": [],
    }
