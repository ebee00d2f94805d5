"""What the values of a file have to be, as a table of rules: types, ranges and lengths.

JSON gives any value at any place, and what works with them later fails in any way. A table beside the reader
says what each value has to be; ``Provenance.check`` names the first one that is not.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swin_umamba.errors import DataError, SwinUMambaError

LARGEST = 2**63 - 1
"""Whole numbers beyond are in no file of ours, and fit no array."""
_MISSING = object()
_Parts = Iterator[tuple[str, Any, "ValueRule"]]


@dataclass(frozen=True)
class ValueRule:
    """What a value has to be.

    Attributes
    ----------
    expected
        In words, to be read after "has to be".
    holds
        Whether a value is so, without its parts.
    parts
        Gives the key of each part of a value, the part, and its rule.
    """

    expected: str
    holds: Callable[[Any], bool]
    parts: Callable[[Any], _Parts] = lambda value: iter(())


@dataclass(frozen=True)
class Provenance:
    """Where values come from, and what to raise if they are not what they have to be.

    Attributes
    ----------
    where, hint
        The file, and what can be done about it.
    error
        The class of the error.
    beginning
        Beginning of its message, where the file alone does not say what is wrong.
    """

    where: str | Path
    hint: str
    error: type[SwinUMambaError] = DataError
    beginning: str = ""

    def refusal(self, what: str) -> SwinUMambaError:
        """Return the error."""
        return self.error(f"{self.beginning}{what}", where=self.where, hint=self.hint)

    def check(self, content: Any, rule: ValueRule, key: str = "") -> None:
        """Raise the error for the first value in ``content`` that breaks its rule; ``key`` says where."""
        if not rule.holds(content):
            what = f"{key or 'the content'} is {shown(content)}; it has to be {rule.expected}"
            raise self.refusal(what)
        for part, value, its_rule in rule.parts(content):
            self.check(value, its_rule, f"{key}{part}".lstrip("."))


def shown(value: Any) -> str:
    """Return a value for a message: short, however long it is."""
    if value is _MISSING:
        return "missing"
    if type(value) is int and abs(value) > LARGEST:  # repr refuses those with thousands of digits
        return "a number beyond all bounds"
    if isinstance(value, dict | list | tuple) and len(value) > 20:
        return f"of {len(value)} entries"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def whole(least: int = -LARGEST, most: int = LARGEST) -> ValueRule:
    """Return the rule for a whole number in a range."""
    bounds = [f"of at least {least:,}"] * (least > -LARGEST) + [f"of at most {most:,}"] * (most < LARGEST)
    return ValueRule(
        " ".join(["a whole number", " and ".join(bounds)]).strip(),
        lambda value: type(value) is int and least <= value <= most,
    )


def number(least: float = -math.inf, most: float = math.inf, *, above: float = -math.inf) -> ValueRule:
    """Return the rule for a finite number in a range, which may begin beyond a bound."""

    def holds(value: Any) -> bool:
        if type(value) is int and abs(value) > LARGEST:
            return False
        return (
            type(value) in (int, float) and math.isfinite(value) and least <= value <= most and value > above
        )

    limits = (("of at least", least), ("above", above), ("of at most", most))
    bounds = [f"{word} {limit:g}" for word, limit in limits if math.isfinite(limit)]
    return ValueRule(" ".join(["a number", " and ".join(bounds)]).strip(), holds)


def text(longest: int = 1000) -> ValueRule:
    """Return the rule for a text that is not empty."""
    holds = lambda value: type(value) is str and 0 < len(value) <= longest  # noqa: E731
    return ValueRule(f"a text of 1 to {longest} characters", holds)


def one_of(*values: Any) -> ValueRule:
    """Return the rule for one of a few values, of the same type."""
    return ValueRule(
        " or ".join(map(repr, values)),
        lambda value: any(type(value) is type(each) and value == each for each in values),
    )


flag = one_of(True, False)
left_out = ValueRule("left out", lambda value: False)
anything = ValueRule("anything", lambda value: True)


def optional(rule: ValueRule) -> ValueRule:
    """Return the rule for a value that may be null."""
    return ValueRule(
        f"{rule.expected}, or null",
        lambda value: value is None or rule.holds(value),
        lambda value: iter(()) if value is None else rule.parts(value),
    )


def either(*rules: ValueRule) -> ValueRule:
    """Return the rule for a value that fulfils one of several; its parts have to fulfil that one's."""

    def parts(value: Any) -> _Parts:
        return next(rule for rule in rules if rule.holds(value)).parts(value)

    expected = ", or ".join(rule.expected for rule in rules)
    return ValueRule(expected, lambda value: any(rule.holds(value) for rule in rules), parts)


def listed(rule: ValueRule, lengths: Collection[int] = range(100_001)) -> ValueRule:
    """Return the rule for a list whose entries fulfil a rule, of one of several lengths."""
    few = len(lengths) <= 3
    return ValueRule(
        f"a list of {' or '.join(map(str, lengths)) if few else f'at most {max(lengths):,}'} entries",
        lambda value: isinstance(value, list | tuple) and len(value) in lengths,
        lambda value: ((f"[{place}]", each, rule) for place, each in enumerate(value)),
    )


def named(rule: ValueRule, least: int = 0) -> ValueRule:
    """Return the rule for an object with any names, whose values fulfil a rule."""
    return ValueRule(
        "an object" if least == 0 else f"an object with {least} entries or more",
        lambda value: _is_object(value) and len(value) >= least,
        lambda value: ((f".{name[:80]}", each, rule) for name, each in value.items()),
    )


def table(
    required: Mapping[str, ValueRule],
    may_have: Mapping[str, ValueRule] | None = None,
    others: ValueRule | None = None,
) -> ValueRule:
    """Return the rule for an object with known keys.

    Parameters
    ----------
    required, may_have
        The rules of keys that it must have, and of those that it may have.
    others
        Rule for all other keys. By default these may be anything, as other versions know more.
    """
    rules = {**required, **(may_have or {})}

    def parts(value: Any) -> _Parts:
        for name in required:
            if name not in value:
                yield f".{name}", _MISSING, required[name]
        for name, each in value.items():
            if rule := rules.get(name, others):
                yield f".{name[:80]}", each, rule

    return ValueRule("an object", _is_object, parts)


def _is_object(value: Any) -> bool:
    return isinstance(value, dict) and all(type(name) is str for name in value)
