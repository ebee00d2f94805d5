"""What a segment is, in coded words: those of SNOMED CT for what the paper segments, or the user's own.

DICOM wants a category and a type of every segment. Codes are those of the context groups 7150 (categories)
and 7166 (anatomy) of DICOM PS3.16, and of SNOMED CT's international edition for instruments.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from swin_umamba.schema import Provenance, either, listed, named, text

logger = logging.getLogger(__name__)

PRIVATE_SCHEME = "99SWINUMAMBA"
KEY = "segments"
"""Entry of ``dataset.json`` with the user's own codes."""
_LONGEST_VALUE, _LONGEST_NAME = 16, 64
_HINT = 'it needs "segments": {"liver": ["SCT", "10200004", "Liver"]}'


@dataclass(frozen=True)
class Code:
    """A coded word: scheme, value in it (up to 16 characters), and meaning in plain words."""

    scheme: str
    value: str
    meaning: str


@dataclass(frozen=True)
class Meaning:
    """What a segment is.

    Attributes
    ----------
    category, type
        The kind of thing, and the thing.
    side
        Left or right, for one of a pair.
    """

    category: Code
    type: Code
    side: Code | None = None


def _snomed(value: str, meaning: str) -> Code:
    return Code("SCT", value, meaning)


TISSUE = _snomed("85756007", "Tissue")
_ANATOMY = _snomed("91723000", "Anatomical Structure")
_OBJECT = _snomed("260787004", "Physical object")
_LEFT, _RIGHT = _snomed("7771000", "Left"), _snomed("24028007", "Right")
_KIDNEY = _snomed("64033007", "Kidney")
_ADRENAL = _snomed("23451007", "Adrenal gland")
_FORCEPS = _snomed("29319002", "Forceps")

KNOWN: Mapping[str, Meaning] = {
    # the organs of AMOS
    "liver": Meaning(_ANATOMY, _snomed("10200004", "Liver")),
    "right kidney": Meaning(_ANATOMY, _KIDNEY, _RIGHT),
    "left kidney": Meaning(_ANATOMY, _KIDNEY, _LEFT),
    "kidney": Meaning(_ANATOMY, _KIDNEY),
    "spleen": Meaning(_ANATOMY, _snomed("78961009", "Spleen")),
    "pancreas": Meaning(_ANATOMY, _snomed("15776009", "Pancreas")),
    "aorta": Meaning(_ANATOMY, _snomed("15825003", "Aorta")),
    "inferior vena cava": Meaning(_ANATOMY, _snomed("64131007", "Inferior vena cava")),
    "right adrenal gland": Meaning(_ANATOMY, _ADRENAL, _RIGHT),
    "left adrenal gland": Meaning(_ANATOMY, _ADRENAL, _LEFT),
    "gallbladder": Meaning(_ANATOMY, _snomed("28231008", "Gallbladder")),
    "esophagus": Meaning(_ANATOMY, _snomed("32849002", "Esophagus")),
    "stomach": Meaning(_ANATOMY, _snomed("69695003", "Stomach")),
    "duodenum": Meaning(_ANATOMY, _snomed("38848004", "Duodenum")),
    "bladder": Meaning(_ANATOMY, _snomed("89837001", "Bladder")),
    # the instruments of EndoVis 2017; what SNOMED CT does not tell apart, the segment's name does
    "bipolar forceps": Meaning(_OBJECT, _FORCEPS),
    "prograsp forceps": Meaning(_OBJECT, _FORCEPS),
    "large needle driver": Meaning(_OBJECT, _snomed("59746007", "Needle holder")),
    "vessel sealer": Meaning(_OBJECT, _snomed("37759000", "Surgical instrument")),
    "grasping retractor": Meaning(_OBJECT, _snomed("53535004", "Retractor")),
    "monopolar curved scissors": Meaning(_OBJECT, _snomed("31878003", "Surgical scissors")),
    "ultrasound probe": Meaning(_OBJECT, _snomed("57134006", "Instrument")),
    # cells
    "cell": Meaning(_ANATOMY, _snomed("4421005", "Cell")),
    "nucleus": Meaning(_ANATOMY, _snomed("84640000", "Nucleus")),
}
_OTHER_NAMES = {
    "gall bladder": "gallbladder",
    "oesophagus": "esophagus",
    "postcava": "inferior vena cava",
    "right adrenal": "right adrenal gland",
    "left adrenal": "left adrenal gland",
    "kidneys": "kidney",
    "cells": "cell",
    "nuclei": "nucleus",
}
_code = listed(text(_LONGEST_NAME), (3,))
_rule = named(either(_code, listed(_code, (2,))))


def check_codes(description: Mapping[str, Any], source: Provenance) -> None:
    """Check the user's own codes in a ``dataset.json``.

    Raises
    ------
    SwinUMambaError
        They are not codes, or are those of a label that there is not.
    """
    own = description.get(KEY, {})
    source.check(own, _rule, KEY)
    for name, given in own.items():
        for code in [given] if isinstance(given[0], str) else given:
            if max(map(len, code[:2])) > _LONGEST_VALUE or any(each != short_text(each) for each in code):
                raise source.refusal(
                    f"{KEY}.{name} in dataset.json is {code}; a scheme and a value have 1 to "
                    f"{_LONGEST_VALUE} characters, and none has backslashes or control characters: {_HINT}"
                )
        if name not in description.get("labels", {}):
            raise source.refusal(f"{KEY} in dataset.json names {name!r}, which is none of its labels")


def short_text(content: str) -> str:
    """Return a text as DICOM's short ones are: up to 64 characters, without control characters.

    Nor with backslashes, which part the values of an element.
    """
    return "".join(each if each.isprintable() and each != "\\" else " " for each in content)[:_LONGEST_NAME]


def meanings_of(names: Collection[str], own: Mapping[str, Any], *, quiet: bool = False) -> dict[str, Meaning]:
    """Return what the classes of a model are, and say in the log which of them have no code.

    Parameters
    ----------
    names
        Names of all classes but the background.
    own
        The user's codes by name: ``[scheme, value, meaning]`` of the type, or two such codes, of the category
        and of the type.
    quiet
        Whether to log nothing.

    Returns
    -------
    dict
        For each class the user's codes, else those of the table, else the category Tissue and a code in a
        scheme of our own.
    """
    # The two classes from which cells are told apart.
    words = ("cell", "cell") if set(names) == {"interior", "boundary"} else tuple(names)
    found = {name: _meaning_of(name, word, own) for name, word in zip(names, words, strict=True)}
    private = [name for name, each in found.items() if each.type.scheme == PRIVATE_SCHEME]
    if private and not quiet:
        logger.warning(
            "no code is known for %s: written as Tissue with a code of the private scheme %s; give codes in "
            'dataset.json, such as "%s": {"%s": ["SCT", "...", "..."]}',
            ", ".join(private),
            PRIVATE_SCHEME,
            KEY,
            private[0],
        )
    return found


def _meaning_of(name: str, word: str, own: Mapping[str, Any]) -> Meaning:
    given = own.get(name)
    if given is not None:
        codes = [Code(*each) for each in ([given] if isinstance(given[0], str) else given)]
        return Meaning(codes[0] if len(codes) == 2 else TISSUE, codes[-1])
    word = re.sub(r"[\s_-]+", " ", word).strip().casefold()
    known = KNOWN.get(_OTHER_NAMES.get(word, word))
    if known is not None:
        return known
    value = re.sub(r"[^A-Z0-9_]+", "_", name.upper()).strip("_") or "SEGMENT"
    if len(value) > _LONGEST_VALUE:  # names that begin alike are told apart
        value = f"{value[: _LONGEST_VALUE - 5]}_{sha256(name.encode()).hexdigest()[:4].upper()}"
    return Meaning(TISSUE, Code(PRIVATE_SCHEME, value, short_text(name)))
