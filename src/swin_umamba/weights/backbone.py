"""The record of a backbone: how its weights are recognised, what they are called, where they are."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from swin_umamba.errors import UsageError

ENCODER = "vssm_encoder."
"""Prefix of the encoder's tensor names in our networks, whatever the backbone."""
STRIDES = (4, 8, 16, 32)
"""Strides of the stages that the decoders take, relative to the image."""
Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class WeightsRecord:
    """One file of weights: where it is, what it is, and its terms of use.

    Nothing here is guessed: what is not known is None. A file whose SHA-256 is None is unverified until it is
    first seen; from then on its hash is kept beside it in the user's cache (see ``download.py``).

    Attributes
    ----------
    name
        Name for users.
    architecture
        Network whose weights it holds.
    file_name
        File name in the cache.
    url
        Address to download it from; None if it has none that a program can fetch.
    size
        Size in bytes, or None.
    sha256
        Hash in hexadecimal, or None.
    licence
        Terms of use.
    source
        Page that describes it.
    in_channels
        Channels of the images it was trained on.
    mean, std
        Normalisation of those images, per channel, for values in [0, 1].
    top1
        Share of ImageNet's validation images that its classifier gets right, in percent, as published; or
        None.
    note
        Anything else a user should know, above all how certain the above is.
    """

    name: str
    architecture: str
    file_name: str
    url: str | None
    size: int | None
    sha256: str | None
    licence: str
    source: str
    in_channels: int = 3
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    top1: float | None = None
    note: str = ""


@dataclass(frozen=True)
class BackboneRecord:
    """A backbone: how its encoder is built, and how its weights are recognised and renamed.

    Tensor names are those of the encoder's state dict unless stated otherwise.

    Attributes
    ----------
    name
        Name in plans and for users.
    title
        Name in messages.
    features_per_stage
        Channels of the four stages.
    recognised_by
        Names and shapes of the tensors that identify weights of this backbone; None stands for any size. If
        several records fit, the one with the most such tensors wins.
    first_convolution
        Kernel (out, in, height, width) that sees the image. Its name up to the first dot is that of the patch
        embedding.
    arguments
        Further arguments of the encoder, as JSON values.
    network
        Module of ``models/`` whose ``ENCODER`` builds it; empty for one that is registered from outside.
    spellings
        Patterns and replacements that turn the names of other versions of the public code into those of the
        first.
    places
        Patterns and replacements that turn the first version's names into those of the encoder.
    may_be_reshaped
        Pattern of the names of tensors that some files hold in another shape, with as many values in the same
        order.
    classifier
        Prefixes of the classifier's tensor names; the classifier is left out.
    foreign_keys
        Patterns of names, in a file or in the first version's spelling, that no weights of this backbone
        have, and what a file with such names holds instead.
    taken_anyway
        Tensors of the patch embedding loaded even into a network that embeds features of its own.
    sizes
        Function that reads arguments of the network off the shapes, where the family comes in any size.
    weights
        Public files of weights.
    advice
        Advice on a file that does not fit.
    strides
        Stride of each stage relative to the image.
    adapts_channels
        Always derive the first convolution from that of the weights if images do not have three channels.
        False does so only on request, as the published code leaves it random.
    stem_features
        If the encoder has ``with_stem(images)``, which returns an embedding at half the size of the image
        before the stages: the channels of that embedding. None if it has not.
    drop_path_rate
        Stochastic-depth rate of the last block, unless the network says otherwise.
    """

    name: str
    title: str
    features_per_stage: tuple[int, ...]
    recognised_by: Mapping[str, tuple[int | None, ...]]
    first_convolution: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    network: str = ""
    spellings: tuple[tuple[str, str], ...] = ()
    places: tuple[tuple[str, str], ...] = ()
    may_be_reshaped: str | None = None
    classifier: tuple[str, ...] = ()
    foreign_keys: Mapping[str, str] = field(default_factory=dict)
    taken_anyway: tuple[str, ...] = ()
    sizes: Callable[[Shapes], dict[str, Any]] | None = None
    weights: tuple[WeightsRecord, ...] = ()
    advice: str = "give a file of the network's own backbone"
    strides: tuple[int, ...] = STRIDES
    adapts_channels: bool = False
    stem_features: int | None = None
    drop_path_rate: float = 0.2

    def __post_init__(self) -> None:
        problem = None
        if not re.fullmatch(r"[a-z]\w*", self.name, re.ASCII):
            problem = "its name must be of small letters, digits and underscores"
        elif self.strides != STRIDES:
            problem = f"its strides are {self.strides}, and the decoders take stages of strides {STRIDES}"
        elif len(self.features_per_stage) != len(STRIDES) or min(self.features_per_stage) < 1:
            problem = (
                f"its features are {self.features_per_stage}, and the decoders take {len(STRIDES)} stages"
            )
        elif not self.recognised_by:
            problem = "nothing says how its weights are recognised"
        if problem is not None:
            raise UsageError(f"the backbone {self.name!r}: {problem}", hint="correct its record")

    @property
    def patch_embedding(self) -> str:
        """Prefix of the patch embedding's tensor names."""
        return self.first_convolution.partition(".")[0] + "."

    def first_spelling(self, name: str) -> str:
        """Return the name that a file's tensor had in the first version of the public code."""
        return _replaced(name, self.spellings)

    def own_name(self, name: str) -> str:
        """Return the encoder's name for a file's tensor."""
        return _replaced(self.first_spelling(name), self.places)

    def foreign(self, names: Iterable[str]) -> tuple[str, list[str]] | None:
        """Return what a file with names foreign to this backbone holds, and those names; None without any."""
        names = list(names)
        for pattern, what in self.foreign_keys.items():
            if found := [
                name
                for name in names
                if re.search(pattern, name, re.ASCII)
                or re.search(pattern, self.first_spelling(name), re.ASCII)
            ]:
                return what, found
        return None

    def recognises(self, shapes: Shapes) -> bool:
        """Return whether a file's names (without ``ENCODER``) and shapes are those of this backbone."""
        named = {self.own_name(name): shape for name, shape in shapes.items()}
        return self.foreign(shapes) is None and all(
            name in named and _agree(named[name], expected) for name, expected in self.recognised_by.items()
        )


def _replaced(name: str, rules: Iterable[tuple[str, str]]) -> str:
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name, flags=re.ASCII)
    return name


def _agree(shape: tuple[int, ...], expected: tuple[int | None, ...]) -> bool:
    return len(shape) == len(expected) and all(
        wanted in (None, size) for size, wanted in zip(shape, expected, strict=True)
    )
