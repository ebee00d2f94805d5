"""Each block of code of README and ``docs/`` can be read, and its commands and options exist."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

from documents.blocks import CODE, OTHERS, PAGES, REASONS, SHELLS, Block, blocks_of, code_blocks, own_commands
from swin_umamba.cli.main import build_parser

LARGEST_SHARE_NOT_RUN = 0.1
# Variables of scripts, by what a shell would put in their place: nothing for those that may be empty.
VARIABLES = {"$SLURM_ARRAY_TASK_ID": ["0"], "$CONTINUE": []}
BLOCKS = code_blocks()


def of(language: tuple[str, ...]) -> pytest.MarkDecorator:
    chosen = [block for block in BLOCKS if block.language in language]
    return pytest.mark.parametrize("block", chosen, ids=str)


@cache
def registered(page: Path) -> tuple[str, ...]:
    """Return the names that a page's own Python registers."""
    return tuple(re.findall(r'register_\w+\((?:\s*\w+\()?\s*"(\w+)"', page.read_text(encoding="utf-8")))


def test_each_block_says_what_it_is() -> None:
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        blocks = blocks_of(page)
        assert len(re.findall(r"^ *```", text, re.MULTILINE)) == 2 * len(blocks), page
        assert text.count("<!-- not run:") == sum(block.reason is not None for block in blocks), page
        for block in blocks:
            assert block.language in (*CODE, *OTHERS), f"{block}: {block.language!r}"
            assert block.reason in (None, *REASONS), f"{block}: {block.reason}"
            # What sessions have printed is no example.
            shown = block.language in OTHERS and page.name != "benchmarks.md"
            hidden = shown and re.search(r"^(swin-umamba|pip|python) ", block.text, re.M)
            assert not hidden, f"{block} is code, and is not called so"


def test_few_blocks_are_not_run(record_property: pytest.FixtureRequest) -> None:
    reasons = Counter(block.reason for block in BLOCKS if block.reason is not None)
    listed = ", ".join(f"{reason} {number}" for reason, number in sorted(reasons.items()))
    skipped = sum(reasons.values())
    record_property(  # type: ignore[operator]
        "summary",
        f"blocks of README and docs: {len(BLOCKS)} parsed, {len(BLOCKS) - skipped} run by -m docs, "
        f"{skipped} not run ({listed})",
    )
    assert skipped <= LARGEST_SHARE_NOT_RUN * len(BLOCKS), listed


@of(("python",))
def test_python_compiles(block: Block) -> None:
    compile(block.text, str(block), "exec")


@pytest.mark.skipif(sys.platform == "win32", reason="its bash is another system's")
def test_bash_reads_each_script() -> None:
    scripts = [block for block in BLOCKS if block.language == "sh"]
    # One process for all: a function around each makes sure that none ends within the next.
    text = "".join(f"block{number}() {{\n:\n{block.text}\n}}\n" for number, block in enumerate(scripts))
    done = subprocess.run(["bash", "-n"], input=text, capture_output=True, text=True, check=False)
    for block in scripts if done.returncode else ():
        alone = subprocess.run(["bash", "-n"], input=block.text, capture_output=True, text=True, check=False)
        assert alone.returncode == 0, f"{block}: {alone.stderr}"
    assert done.returncode == 0, done.stderr


@of(SHELLS)
def test_commands_and_options_exist(block: Block) -> None:
    for arguments in own_commands(block):
        words = [word for each in arguments for word in VARIABLES.get(each, [each])]
        if set(words[:2]) & set(registered(block.page)):
            continue  # of a command or data set that the page itself adds; what is run shows it
        if "--help" not in words and "--version" not in words:
            build_parser().parse_args(words)


def test_calls_are_found() -> None:
    text = """\
D=x; swin-umamba plan $D  # swin-umamba comment
for a in 1 2; do swin-umamba train $a --fold "$F"; done
eval "$(swin-umamba env --root .)" && torchrun -m swin_umamba predict -m A \\
  -i B > log &
N=$(swin-umamba models --json | jq .) ; echo swin-umamba
pip install swin-umamba
"""
    block = Block(PAGES[0], 1, "sh", text, None)
    assert list(own_commands(block)) == [
        ["plan", "$D"],
        ["train", "$a", "--fold", "$F"],
        ["env", "--root", "."],
        ["predict", "-m", "A", "-i", "B"],
        ["models", "--json"],
    ]
