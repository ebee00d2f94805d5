"""Backbones: which class builds the encoder of which record, and how a user's own becomes one of them."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from swin_umamba.errors import UsageError, unknown_name
from swin_umamba.extensions import VARIABLE
from swin_umamba.weights.backbone import BackboneRecord
from swin_umamba.weights.catalog import BACKBONES, add_record

DEFAULT_BACKBONE = "vmamba_tiny"
PATCH_SIZE = 4
"""Stride of the first stage of an encoder that sees the image itself."""

_ENCODERS: dict[str, Callable[..., nn.Module]] = {}


def list_backbones() -> list[str]:
    """Return the names that networks know as ``backbone``."""
    return list(BACKBONES)


def register_backbone(record: BackboneRecord, encoder: Callable[..., nn.Module]) -> None:
    """Make a backbone known to networks, commands and models, for as long as this process runs.

    Call it in a file of your own, which is loaded because you name it (``docs/extending.md``). What is
    registered again replaces what had its name.

    Parameters
    ----------
    record
        How its weights are recognised, and where they are.
    encoder
        Called as ``encoder(in_channels, patch_size, features_per_stage=..., d_state=..., drop_path_rate=...,
        activation_checkpointing=..., backend=..., **record.arguments)``. The module maps ``(images,
        num_stages=None)``, images (batch, in_channels, height, width) with sides that are multiples of 32, to
        the list of the finest ``num_stages`` stages, all by default: stage i is channels-last, (batch,
        height / (patch_size * 2**i), width / (patch_size * 2**i), features_per_stage[i]). ``patch_size`` is 4
        where it sees the image, and 2 where it sees features at half the size.

    Raises
    ------
    UsageError
        If the name is that of a backbone of ours, or weights have the name of another backbone's.
    """
    if record.name in BACKBONES and record.name not in _ENCODERS:
        raise UsageError(f"there is a backbone {record.name!r} already", cure="give yours another name")
    add_record(record)
    _ENCODERS[record.name] = encoder


def find_backbone(name: str) -> BackboneRecord:
    """Return the record of a backbone; nothing is imported for its sake.

    Raises
    ------
    UsageError
        If none has this name.
    """
    if name in BACKBONES:
        return BACKBONES[name]
    error = unknown_name("backbone", name, BACKBONES)
    raise UsageError(
        error.what,
        cure=f"{error.cure}. If it is your own, name the file that registers it: in {VARIABLE}, or for train "
        "and predict with --trainer FILE.py:Class",
    )


def build_encoder(
    record: BackboneRecord,
    in_channels: int,
    patch_size: int = PATCH_SIZE,
    *,
    depths: Sequence[int] | None = None,
    features_per_stage: Sequence[int] | None = None,
    **arguments: Any,
) -> nn.Module:
    """Return a new encoder with random weights.

    Parameters
    ----------
    record
        Of the backbone.
    in_channels, patch_size
        As for ``register_backbone``.
    depths, features_per_stage
        Instead of those of the record.
    **arguments
        Of the network; those of the record come first.
    """
    encoder = _ENCODERS.get(record.name)
    if encoder is None:
        encoder = importlib.import_module(f"swin_umamba.models.{record.network}").ENCODER
    arguments = {"d_state": 16, "drop_path_rate": 0.0, "activation_checkpointing": False, **arguments}
    given = {} if depths is None else {"depths": tuple(depths)}
    features = tuple(record.features_per_stage if features_per_stage is None else features_per_stage)
    return encoder(
        in_channels,
        patch_size,
        **{"backend": None, **arguments, **record.arguments, **given, "features_per_stage": features},
    )


def encoder_on_meta(record: BackboneRecord, in_channels: int) -> nn.Module:
    """Return the encoder for images without memory, for the names and shapes of its tensors."""
    with torch.device("meta"):
        return build_encoder(record, in_channels)
