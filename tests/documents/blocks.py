"""The blocks of code of README, AGENTS.md and ``docs/``, and why some of them are not run."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [
    *(ROOT / name for name in ("README.md", "AGENTS.md") if (ROOT / name).is_file()),
    *sorted((ROOT / "docs").rglob("*.md")),
]
REASONS = ("gpu", "slurm", "docker", "windows", "macos", "download")
"""What a block may need that a machine for tests need not have: ``<!-- not run: gpu -->`` above it."""
SHELLS = ("sh", "powershell")
CODE = (*SHELLS, "python")
OTHERS = ("json", "text", "toml", "dockerfile", "yaml")
_FENCE = re.compile(
    r"^(?:<!-- not run: (?P<reason>.*?) -->\n)?^(?P<indent> *)```(?P<language>\S*)[^\n]*\n"
    r"(?P<text>.*?)^(?P=indent)```$",
    re.MULTILINE | re.DOTALL,
)
# What ends a command of a shell: an operator, or the parenthesis of $(...).
_OPERATORS = frozenset(";&|()<>")
_PROGRAMS = ("swin-umamba", "swin_umamba")


@dataclass(frozen=True)
class Block:
    """A block of code of a page.

    Attributes
    ----------
    page
        The page.
    line
        Line of the fence.
    language
        As the fence names it.
    text
        The code.
    reason
        One of `REASONS` if the block is not run.
    """

    page: Path
    line: int
    language: str
    text: str
    reason: str | None

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT).as_posix()}:{self.line}"


def blocks_of(page: Path) -> list[Block]:
    """Return the blocks of a page in their order."""
    text = page.read_text(encoding="utf-8")
    return [
        Block(
            page, text.count("\n", 0, found.start("indent")) + 1, *found.group("language", "text", "reason")
        )
        for found in _FENCE.finditer(text)
    ]


def code_blocks() -> list[Block]:
    """Return all blocks of shell and Python."""
    return [block for page in PAGES for block in blocks_of(page) if block.language in CODE]


def module_name(block: Block) -> str | None:
    """Return the name of the file that a block of Python says it is in its first line, ``# my_file.py``."""
    found = re.match(r"# (\w+\.py)\n", block.text)
    return found[1] if found and block.language == "python" else None


def own_commands(block: Block) -> Iterator[list[str]]:
    """Yield the arguments of each call of ``swin-umamba`` in a block of a shell."""
    continued = "`\n" if block.language == "powershell" else "\\\n"
    for line in block.text.replace(continued, " ").splitlines():
        if not any(program in line for program in _PROGRAMS):
            continue
        # A command within quotes, "$(...)", is one like others.
        bare = line.replace('"$(', " ( ").replace(')"', " ) ").replace("$(", " ( ")
        lexer = shlex.shlex(bare, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        words = list(lexer)
        for place, word in enumerate(words):
            if word in _PROGRAMS and (place == 0 or _starts_a_command(words[place - 1])):
                end = next(
                    (at for at in range(place, len(words)) if set(words[at]) <= _OPERATORS), len(words)
                )
                yield words[place + 1 : end]


def _starts_a_command(before: str) -> bool:
    """Return whether the word after ``before`` is a command."""
    return before in ("srun", "-m", "time", "do", "then", "else", "!", "if") or (
        set(before) <= _OPERATORS or re.fullmatch(r"\w+=.*", before) is not None
    )
