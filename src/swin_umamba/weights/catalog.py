"""The public ImageNet weights that fit the encoder: where they are, what they are, under which terms.

Nothing here is guessed: what is not known is None. A file whose SHA-256 is None is unverified until it is
first seen; from then on its hash is kept beside it in the user's cache (see ``download.py``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from swin_umamba.errors import unknown_name


@dataclass(frozen=True)
class WeightsRecord:
    """One file of weights.

    Attributes
    ----------
    name
        What users call it.
    architecture
        The network it was trained as.
    file_name
        Its name in the cache.
    url
        Where to download it; None if it has no address that a program can fetch.
    size
        Bytes, or None.
    sha256
        Hexadecimal, or None.
    licence
        Terms of use.
    source
        The page that describes it.
    in_channels
        Channels of the images it was trained on.
    mean, std
        Normalisation of those images, per channel, for values in [0, 1].
    note
        What else a user should know, above all how certain the above is.
    depths, features_per_stage
        Blocks and channels of each stage, which the shapes of its tensors must fit.
    """

    name: str
    architecture: str
    file_name: str
    url: str | None
    size: int | None
    sha256: str | None
    licence: str
    source: str
    in_channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    note: str
    depths: tuple[int, ...] = (2, 2, 9, 2)
    features_per_stage: tuple[int, ...] = (96, 192, 384, 768)


DEFAULT_WEIGHTS = "vmamba_tiny_v0cls"
"""What trainings of the paper's recipe start from."""
_ARCHITECTURE = "VMamba-Tiny of January 2024: depths 2, 2, 9, 2, widths 96 to 768, 22.9 M parameters"
_LICENCE = (
    "MIT, as the code of VMamba; the images are ImageNet's, whose terms ask for non-commercial research"
)
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

CATALOG: Mapping[str, WeightsRecord] = {
    record.name: record
    for record in (
        WeightsRecord(
            name=DEFAULT_WEIGHTS,
            architecture=_ARCHITECTURE,
            file_name="vssmtiny_dp01_ckpt_epoch_292.pth",
            url="https://github.com/MzeroMiko/VMamba/releases/download/%23v0cls/vssmtiny_dp01_ckpt_epoch_292.pth",
            size=91_649_482,
            sha256="dbc0cc4f5ec0e45db5fba7c939d2c7d9b617e891ac10766912a8d604c37c5e47",
            licence=_LICENCE,
            source="https://github.com/MzeroMiko/VMamba/issues/281",
            in_channels=3,
            mean=_MEAN,
            std=_STD,
            note="The release asset, ImageNet top-1 82.2 % at 224 x 224. It was first released under the tag "
            "#20240218, which has been moved. Its authors publish neither hash nor size: the SHA-256 was "
            "published by two independent users of this address, the size by one of them.",
        ),
        WeightsRecord(
            name="vmamba_tiny_e292",
            architecture=_ARCHITECTURE,
            file_name="vmamba_tiny_e292.pth",
            url=None,
            size=None,
            sha256=None,
            licence=_LICENCE,
            source="https://github.com/JiarunLiu/Swin-UMamba",
            in_channels=3,
            mean=_MEAN,
            std=_STD,
            note="The same weights as first shared in January 2024, with the training configuration beside "
            "them; the file of the paper. It has no address any more, so who has it places it by hand; "
            "everybody else takes vmamba_tiny_v0cls.",
        ),
    )
}


def find_record(name: str) -> WeightsRecord:
    """Return the record of this name.

    Raises
    ------
    UsageError
        If there is none; it names those that are close.
    """
    if name not in CATALOG:
        raise unknown_name("set of weights", name, CATALOG)
    return CATALOG[name]
