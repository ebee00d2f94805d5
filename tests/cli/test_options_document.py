"""``docs/options.md`` is made from the declarations; with ``REWRITE_OPTIONS=1`` this test writes it."""

from __future__ import annotations

import os
from pathlib import Path

from swin_umamba.inference.options import FolderOptions, ModelOptions
from swin_umamba.nnunet.training.options import ENVIRONMENT_PREFIX, TrainRequest
from swin_umamba.options import declared_options
from swin_umamba.pretraining.options import PretrainOptions

DOCUMENT = Path(__file__).parents[2] / "docs" / "options.md"
HEAD = """\
# Options

Each option is declared once, in the class that a heading names. A keyword of Python has the option's name.
Where nnU-Net's own command trains, `{prefix}NAME` sets the options that have a variable.
A run that is continued keeps its options; those marked may be changed.
"""
SECTIONS = {
    "`train`": TrainRequest,
    "`predict`: the model": ModelOptions,
    "`predict`: the results": FolderOptions,
    "`pretrain`": PretrainOptions,
}


def table(options_class: type) -> str:
    rows = [
        "| option | flag | default | variable | may change | meaning |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for each in declared_options(options_class):
        flags = ", ".join(f"`{flag}`" for flag in each.flags) or "Python only"
        default = "" if each.default is None else f"`{each.default}`"
        marks = ["yes" if mark else "" for mark in (each.in_environment, each.may_change)]
        rows.append(f"| `{each.name}` | {flags} | {default} | {' | '.join(marks)} | {each.help} |")
    return "\n".join(rows)


def test_the_document_is_made_from_the_declarations() -> None:
    parts = [HEAD.format(prefix=ENVIRONMENT_PREFIX)]
    parts += [f"## {title} ({made.__name__})\n\n{table(made)}\n" for title, made in SECTIONS.items()]
    text = "\n".join(parts)
    if os.environ.get("REWRITE_OPTIONS") == "1":
        DOCUMENT.write_text(text, encoding="utf-8")
    assert DOCUMENT.read_text(encoding="utf-8") == text, "stale: run this test with REWRITE_OPTIONS=1"
