"""Combinations of features that cover every pair of values, and what became of the files made from them."""

from __future__ import annotations

import itertools
import os
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

Combination = dict[str, Any]
Pair = frozenset[tuple[str, Any]]

DOCUMENT = Path(__file__).parents[2] / "docs" / "formats.md"
REWRITE = "REWRITE_FORMAT_TABLES"
"""With this variable set to 1, tests write the tables in ``docs/formats.md`` instead of comparing them."""
_TRIES = 30


def pairs(combination: Mapping[str, Any]) -> Iterator[Pair]:
    """Yield the pairs of feature values that a combination has."""
    for one, other in itertools.combinations(combination.items(), 2):
        yield frozenset((one, other))


def generator_of(combination: Combination) -> np.random.Generator:
    """Return random numbers that depend on nothing but the combination."""
    return np.random.default_rng(random.Random(repr(sorted(combination.items(), key=str))).getrandbits(32))


def possible_pairs(
    features: Mapping[str, Sequence[Any]], exists: Callable[[Combination], bool] = lambda _: True
) -> set[Pair]:
    """Return the pairs that occur in any combination for which ``exists`` is true."""
    _, _, tables = _enumerated(features, exists)
    values = list(features.items())
    return {
        frozenset(((values[one][0], values[one][1][a]), (values[other][0], values[other][1][b])))
        for (one, other), table in tables.items()
        for a, b in np.argwhere(table)
    }


def covering_combinations(
    features: Mapping[str, Sequence[Any]],
    exists: Callable[[Combination], bool] = lambda _: True,
    *,
    at_least: int = 0,
    seed: int = 0,
) -> list[Combination]:
    """Return combinations in which every possible pair of values of two features occurs.

    Parameters
    ----------
    features
        Name to values (hashable), for example ``{"bits": (8, 16), "compression": ("none", "lzw")}``.
    exists
        Tells combinations that the format does not have (such as JPEG with 16 bits) from those that it has.
    at_least
        More combinations are drawn at random until there are so many, or all that exist.
    seed
        Equal seeds give equal combinations.
    """
    everything, codes, missing = _enumerated(features, exists)
    order = list(range(len(everything)))
    random.Random(seed).shuffle(order)
    codes = codes[order]
    chosen: list[int] = []
    for (one, other), table in missing.items():
        for a, b in np.argwhere(table):
            if table[a, b]:  # A few candidates that have the pair, the one with the most missing pairs.
                rows = np.flatnonzero((codes[:, one] == a) & (codes[:, other] == b))[:_TRIES]
                scores = sum(
                    each[codes[rows, p], codes[rows, q]].astype(int) for (p, q), each in missing.items()
                )
                chosen.append(int(rows[np.argmax(scores)]))
                for (p, q), each in missing.items():
                    each[codes[chosen[-1], p], codes[chosen[-1], q]] = False
    taken = set(chosen)
    rest = (row for row in range(len(order)) if row not in taken)
    rows = chosen + list(itertools.islice(rest, max(0, at_least - len(chosen))))
    return [everything[order[row]] for row in rows]


def _enumerated(
    features: Mapping[str, Sequence[Any]], exists: Callable[[Combination], bool]
) -> tuple[list[Combination], np.ndarray, dict[tuple[int, int], np.ndarray]]:
    """Return all combinations, their values as numbers, and which pairs of numbers of two features occur."""
    sizes = [len(values) for values in features.values()]
    everything, rows = [], []
    for row, values in zip(np.ndindex(*sizes), itertools.product(*features.values()), strict=True):
        if exists(each := dict(zip(features, values, strict=True))):
            everything.append(each)
            rows.append(row)
    codes = np.array(rows)
    tables = {}
    for one, other in itertools.combinations(range(len(sizes)), 2):
        tables[one, other] = np.zeros((sizes[one], sizes[other]), bool)
        tables[one, other][codes[:, one], codes[:, other]] = True
    return everything, codes, tables


@dataclass
class Outcomes:
    """What became of the files of one format.

    Attributes
    ----------
    name
        The format, as ``docs/formats.md`` heads its table.
    files
        Each combination with ``"read"``, or ``"refused"`` if that is what the contract says of it.
    differences
        Whatever was not as expected, in words; a test asserts that there are none.
    """

    name: str
    files: list[tuple[Combination, str]] = field(default_factory=list)
    differences: list[str] = field(default_factory=list)

    def add(self, combination: Combination, outcome: str) -> None:
        """Count a file whose outcome (``"read"`` or ``"refused"``) was the expected one."""
        assert outcome in ("read", "refused")
        self.files.append((combination, outcome))

    def covered(self) -> set[Pair]:
        """Return the pairs of values that occurred."""
        return {pair for combination, _ in self.files for pair in pairs(combination)}

    def summary(self, possible: set[Pair]) -> str:
        """Return the counts in one line."""
        return (
            f"{self.name}: {len(self.files)} files, {len(self.covered() & possible)} of {len(possible)} "
            f"pairs of features, {len(self.differences)} differences"
        )

    def check(self, possible: set[Pair], record_property: Callable[[str, object], None]) -> None:
        """Say how many files there were; fail if one was not as expected, or a pair did not occur."""
        record_property("summary", self.summary(possible))
        assert not self.differences, "\n".join(self.differences[:20])
        assert self.covered() >= possible
        self.compare_with_document()

    def table(self) -> str:
        """Return the table of features, values and outcomes, in Markdown.

        A value with which no file was read is refused. Any other value is read, with the addition that it is
        refused with some others only if there is a refused file in which no value is one that is refused.
        """
        outcomes: dict[tuple[str, Any], str] = {}
        for combination, outcome in self.files:
            for each in combination.items():
                outcomes[each] = "read" if outcome == "read" else outcomes.get(each, "refused")
        for combination, outcome in self.files:
            if outcome == "refused" and all(outcomes[each] != "refused" for each in combination.items()):
                outcomes.update(dict.fromkeys(combination.items(), "read, or refused with other features"))
        grouped: dict[tuple[str, str], list[Any]] = {}
        for (feature, value), outcome in outcomes.items():
            grouped.setdefault((feature, outcome), []).append(value)
        lines = [f"| {self.name} | values | outcome |", "| --- | --- | --- |"]
        for (feature, outcome), values in sorted(grouped.items()):
            values.sort(key=lambda value: (isinstance(value, str), value))
            lines.append(f"| {feature} | {', '.join(map(str, values))} | {outcome} |")
        return "\n".join(lines)

    def compare_with_document(self) -> None:
        """Fail if the table in ``docs/formats.md`` is not this one; with ``REWRITE`` set, write it."""
        begin, end = f"<!-- table {self.name} -->\n", "\n<!-- end of table -->"
        text = DOCUMENT.read_text(encoding="utf-8")
        assert begin in text, f"docs/formats.md has no place for the table of {self.name}: {begin!r}"
        before, rest = text.split(begin, 1)
        stored, after = rest.split(end, 1)
        if os.environ.get(REWRITE) == "1":
            DOCUMENT.write_text(f"{before}{begin}{self.table()}{end}{after}", encoding="utf-8")
            return
        assert stored == self.table(), (
            f"the table of {self.name} in docs/formats.md is stale: run these tests with {REWRITE}=1"
        )
