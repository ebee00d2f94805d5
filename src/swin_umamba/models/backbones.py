"""Backbones: which class builds the encoder of which record, and how users register their own."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import torch
from torch import nn

from swin_umamba.errors import UsageError, unknown_name
from swin_umamba.extensions import VARIABLE
from swin_umamba.weights.backbone import BackboneRecord
from swin_umamba.weights.catalog import BACKBONES, add_record, shapes_of

DEFAULT_BACKBONE = "vmamba_tiny"
PATCH_SIZE = 4
"""Stride of the first stage of an encoder that sees the image itself."""

_SIZE = (64, 96)
_ENCODERS: dict[str, Callable[..., nn.Module]] = {}


def list_backbones() -> list[str]:
    """Return the names that networks accept as ``backbone``."""
    return list(BACKBONES)


def register_backbone(record: BackboneRecord, encoder: Callable[..., nn.Module]) -> None:
    """Make a backbone known to networks, commands and models, for as long as this process runs.

    Call it in a file of your own, which is loaded because you name it (``docs/extending.md``). A later
    registration under the same name replaces the earlier one.

    Parameters
    ----------
    record
        Record of how its weights are recognised, and where they are.
    encoder
        Called as ``encoder(in_channels, patch_size, features_per_stage=..., d_state=..., drop_path_rate=...,
        activation_checkpointing=..., backend=..., **record.arguments)``. The module maps ``(images,
        num_stages=None)``, images (batch, in_channels, height, width) with sides that are multiples of 32, to
        the list of the finest ``num_stages`` stages, all by default: stage i is channels-last, (batch,
        height / (patch_size * 2**i), width / (patch_size * 2**i), features_per_stage[i]). ``patch_size`` is 4
        if it sees the image, and 2 if it sees features at half the size, as in ``swin_umamba``.

    Raises
    ------
    UsageError
        If a backbone of ours has this name, its weights share a name with another backbone's, or record and
        encoder do not match.
    """
    if record.name in BACKBONES and record.name not in _ENCODERS:
        raise UsageError(f"there is a backbone {record.name!r} already", hint="give yours another name")
    before = _ENCODERS.get(record.name)
    _ENCODERS[record.name] = encoder
    try:
        check_encoder(record)
        add_record(record)
    except BaseException:
        del _ENCODERS[record.name]
        if before is not None:
            _ENCODERS[record.name] = before
        raise


def check_encoder(record: BackboneRecord) -> None:
    """Build the encoder of a backbone without memory and compare it with its record.

    Raises
    ------
    UsageError
        If its tensors are not those by which the record recognises them, or its stages do not have the shapes
        that the decoders take.
    """
    hint = "correct the record or the encoder; help(swin_umamba.register_backbone) says what they have to be"
    where = f"the backbone {record.name!r}"
    try:
        encoder = encoder_on_meta(record, 3)
        shapes = shapes_of(encoder.state_dict())
        stages = {PATCH_SIZE: _stages(encoder, 3)}
    except Exception as error:  # whatever the user's code raises
        raise UsageError(
            f"its encoder does not work ({type(error).__name__}: {error})", where=where, hint=hint
        ) from error
    # An encoder that takes only images is enough for swin_umamba_d.
    with suppress(Exception), torch.device("meta"):
        stages[PATCH_SIZE // 2] = _stages(build_encoder(record, 5, PATCH_SIZE // 2), 5)
    if record.stem_features is not None:
        _check_stem(record, encoder, where, hint)
    if len(shapes.get(record.first_convolution, ())) != 4 or not record.recognises(shapes):
        raise UsageError(
            f"its record does not recognise its own encoder by {', '.join(record.recognised_by)}, or there "
            f"is not a kernel {record.first_convolution}",
            where=where,
            hint=hint,
        )
    for patch_size, found in stages.items():
        sides = [[side // (patch_size << stage) for side in _SIZE] for stage in range(len(record.strides))]
        wanted = [(1, *each, dim) for each, dim in zip(sides, record.features_per_stage, strict=True)]
        if found != wanted:
            raise UsageError(
                f"with patch_size {patch_size}, its encoder makes stages of shapes {found} of {_SIZE[0]} x "
                f"{_SIZE[1]} pixels; the decoders take {wanted}",
                where=where,
                hint=hint,
            )


def _check_stem(record: BackboneRecord, encoder: nn.Module, where: str, hint: str) -> None:
    wanted = (1, _SIZE[0] // 2, _SIZE[1] // 2, record.stem_features)
    try:
        with torch.no_grad():
            found = tuple(encoder.eval().with_stem(torch.empty(1, 3, *_SIZE, device="meta"))[0].shape)  # type: ignore[operator]
    except Exception as error:  # whatever the user's code raises
        raise UsageError(
            f"its with_stem does not work ({type(error).__name__}: {error})", where=where, hint=hint
        ) from error
    if found != wanted:
        raise UsageError(f"with_stem makes a stem of shape {found}, not {wanted}", where=where, hint=hint)


def _stages(encoder: nn.Module, in_channels: int) -> list[tuple[int, ...]]:
    with torch.no_grad():
        stages = encoder.eval()(torch.empty(1, in_channels, *_SIZE, device="meta"))
    return [tuple(stage.shape) for stage in stages]


def find_backbone(name: str) -> BackboneRecord:
    """Return the record of a backbone, without importing anything for it.

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
        hint=f"{error.hint}. If it is your own, name the file that registers it: in {VARIABLE}, or for train "
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
        Record of the backbone.
    in_channels, patch_size
        As for ``register_backbone``.
    depths, features_per_stage
        Replacements for those of the record.
    **arguments
        Arguments of the network; those of the record take precedence.
    """
    encoder = _ENCODERS.get(record.name)
    if encoder is None:
        encoder = importlib.import_module(f"swin_umamba.models.{record.network}").ENCODER
    arguments = {"d_state": 16, "drop_path_rate": 0.0, "activation_checkpointing": False, **arguments}
    if arguments["drop_path_rate"] is None:
        arguments["drop_path_rate"] = record.drop_path_rate
    given = {} if depths is None else {"depths": tuple(depths)}
    features = tuple(record.features_per_stage if features_per_stage is None else features_per_stage)
    return encoder(
        in_channels,
        patch_size,
        **{"backend": None, **arguments, **record.arguments, **given, "features_per_stage": features},
    )


def encoder_on_meta(record: BackboneRecord, in_channels: int) -> nn.Module:
    """Return the encoder for images, without memory: only names and shapes of its tensors."""
    with torch.device("meta"):
        return build_encoder(record, in_channels)
