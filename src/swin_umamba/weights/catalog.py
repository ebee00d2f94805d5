"""The backbones by name, and the public files of their weights."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from pathlib import Path

from swin_umamba.errors import CheckpointError, UsageError, unknown_name
from swin_umamba.weights import backbones
from swin_umamba.weights.backbone import ENCODER, BackboneRecord, Shapes, WeightsRecord

BACKBONES: dict[str, BackboneRecord] = {}
"""Every backbone known to this process."""
CATALOG: dict[str, WeightsRecord] = {}
"""Their files of weights by name."""


def add_record(record: BackboneRecord) -> None:
    """Make a backbone and its weights known.

    Raises
    ------
    UsageError
        If another backbone has this name, or the weights of another backbone share a name with these.
    """
    others = [each for name, each in BACKBONES.items() if name != record.name]
    taken = {weights.name for each in others for weights in each.weights}
    for weights in record.weights:
        if weights.name in taken:
            raise UsageError(
                f"the backbone {record.name!r}: another one has weights {weights.name!r}",
                hint="give them another name",
            )
    BACKBONES[record.name] = record
    CATALOG.update({weights.name: weights for weights in record.weights})


def find_record(name: str) -> WeightsRecord:
    """Return the record of weights of this name.

    Raises
    ------
    UsageError
        If there is none; the message suggests similar names.
    """
    if name not in CATALOG:
        raise unknown_name("set of weights", name, CATALOG)
    return CATALOG[name]


def backbone_of_weights(name: str) -> BackboneRecord:
    """Return the backbone of weights in the catalogue."""
    return next(each for each in BACKBONES.values() if name in {weights.name for weights in each.weights})


def recognise_backbone(shapes: Shapes) -> BackboneRecord | None:
    """Identify the backbone of weights by names and shapes alone; return None if it is unknown.

    Parameters
    ----------
    shapes
        Shapes by name: of a classifier in any spelling, an encoder file of ours, or one of our networks.
    """
    encoder = {
        name.removeprefix(ENCODER): shape for name, shape in shapes.items() if name.startswith(ENCODER)
    }
    found = [each for each in BACKBONES.values() if each.recognises(encoder or shapes)]
    return max(found, key=lambda each: len(each.recognised_by), default=None)


def refuse_another_backbone(
    state_dict: Mapping[str, object], backbone: BackboneRecord, where: str | Path, otherwise: str
) -> None:
    """Refuse weights recognised as those of a backbone other than the network's.

    Parameters
    ----------
    state_dict
        Weights, under names that ``recognise_backbone`` knows.
    backbone
        Backbone of the network.
    where
        The file, for the error.
    otherwise
        Alternative to choosing another network.

    Raises
    ------
    CheckpointError
        If they are.
    """
    found = recognise_backbone(shapes_of(state_dict))
    if found is not None and found.name != backbone.name:
        raise CheckpointError(
            f"the weights are of the backbone {found.name}, and the network has {backbone.name}",
            where=where,
            hint=f"choose a network with the backbone {found.name}, or {otherwise}",
        )


def shapes_of(state_dict: Mapping[str, object]) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the tensors of a state dict."""
    return {name: tuple(getattr(value, "shape", ())) for name, value in state_dict.items()}


for _module in pkgutil.iter_modules(backbones.__path__):
    for _record in importlib.import_module(f"{backbones.__name__}.{_module.name}").RECORDS:
        add_record(_record)
