"""Rules for the values of a file, as a table: types, ranges and lengths.

JSON allows any value anywhere, and code that uses a wrong one later fails in arbitrary ways. A table beside
the reader states what each value has to be; ``Provenance.check`` names the first violation, and ``as_json``
expresses the rules as JSON Schema (draft 2020-12).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from swin_umamba.errors import DataError, SwinUMambaError

LARGEST = 2**63 - 1
"""Largest integer: larger ones are in no file of ours and fit no array."""
_MISSING = object()
_Parts = Iterator[tuple[str, Any, "ValueRule"]]


@dataclass(frozen=True)
class ValueRule:
    """Rule for a value.

    Attributes
    ----------
    expected
        Expectation in words, to be read after "has to be".
    holds
        Function that tells whether a value obeys the rule, apart from its parts.
    parts
        Function that gives the key of each part of a value, the part, and its rule.
    as_json
        JSON Schema of the value; by default that of any value.
    """

    expected: str
    holds: Callable[[Any], bool]
    parts: Callable[[Any], _Parts] = lambda value: iter(())
    as_json: Mapping[str, Any] | bool = field(default_factory=dict)


@dataclass(frozen=True)
class Provenance:
    """Origin of values, and the error to raise if they break a rule.

    Attributes
    ----------
    where, hint
        File, and hint of the error.
    error
        Class of the error.
    beginning
        Beginning of its message, if the file alone does not say what is wrong.
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
    """Return a short form of any value, for a message."""
    if value is _MISSING:
        return "missing"
    if type(value) is int and abs(value) > LARGEST:  # repr refuses those with thousands of digits
        return "a number beyond all bounds"
    if isinstance(value, dict | list | tuple) and len(value) > 20:
        return f"of {len(value)} entries"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def whole(least: int = -LARGEST, most: int = LARGEST) -> ValueRule:
    """Return the rule for an integer in a range."""
    bounds = [f"of at least {least:,}"] * (least > -LARGEST) + [f"of at most {most:,}"] * (most < LARGEST)
    return ValueRule(
        " ".join(["a whole number", " and ".join(bounds)]).strip(),
        lambda value: type(value) is int and least <= value <= most,
        as_json={
            "type": "integer",
            **({"minimum": least} if least > -LARGEST else {}),
            **({"maximum": most} if most < LARGEST else {}),
        },
    )


def number(least: float = -math.inf, most: float = math.inf, *, above: float = -math.inf) -> ValueRule:
    """Return the rule for a finite number in a range, whose lower bound may be exclusive."""

    def holds(value: Any) -> bool:
        if type(value) is int and abs(value) > LARGEST:
            return False
        return (
            type(value) in (int, float) and math.isfinite(value) and least <= value <= most and value > above
        )

    limits = (("of at least", least), ("above", above), ("of at most", most))
    bounds = [f"{word} {limit:g}" for word, limit in limits if math.isfinite(limit)]
    keywords = (("minimum", least), ("exclusiveMinimum", above), ("maximum", most))
    as_json = {"type": "number", **{word: limit for word, limit in keywords if math.isfinite(limit)}}
    return ValueRule(" ".join(["a number", " and ".join(bounds)]).strip(), holds, as_json=as_json)


def text(longest: int = 1000) -> ValueRule:
    """Return the rule for non-empty text."""
    holds = lambda value: type(value) is str and 0 < len(value) <= longest  # noqa: E731
    as_json = {"type": "string", "minLength": 1, "maxLength": longest}
    return ValueRule(f"a text of 1 to {longest} characters", holds, as_json=as_json)


def one_of(*values: Any) -> ValueRule:
    """Return the rule for one of a few values, of the same type."""
    return ValueRule(
        " or ".join(map(repr, values)),
        lambda value: any(type(value) is type(each) and value == each for each in values),
        as_json={"enum": list(values)},
    )


flag = one_of(True, False)
left_out = ValueRule("left out", lambda value: False, as_json=False)
anything = ValueRule("anything", lambda value: True)
any_text = ValueRule("a text", lambda value: type(value) is str, as_json={"type": "string"})


def optional(rule: ValueRule) -> ValueRule:
    """Return the rule for a value that may be null."""
    return ValueRule(
        f"{rule.expected}, or null",
        lambda value: value is None or rule.holds(value),
        lambda value: iter(()) if value is None else rule.parts(value),
        {"anyOf": [rule.as_json, {"type": "null"}]},
    )


def either(*rules: ValueRule) -> ValueRule:
    """Return the rule for a value that obeys one of several; its parts must obey the rules of that one."""

    def parts(value: Any) -> _Parts:
        return next(rule for rule in rules if rule.holds(value)).parts(value)

    expected = ", or ".join(rule.expected for rule in rules)
    as_json = {"anyOf": [rule.as_json for rule in rules]}
    return ValueRule(expected, lambda value: any(rule.holds(value) for rule in rules), parts, as_json)


def listed(rule: ValueRule, lengths: Collection[int] = range(100_001)) -> ValueRule:
    """Return the rule for a list of an allowed length whose entries obey a rule."""
    few = len(lengths) <= 3
    # min() and max() would go through all numbers of a range.
    ends = (lengths[0], lengths[-1]) if isinstance(lengths, range) else lengths
    least, most = min(ends), max(ends)
    return ValueRule(
        f"a list of {' or '.join(map(str, lengths)) if few else f'at most {most:,}'} entries",
        lambda value: isinstance(value, list | tuple) and len(value) in lengths,
        lambda value: ((f"[{place}]", each, rule) for place, each in enumerate(value)),
        {"type": "array", "items": rule.as_json, "minItems": least, "maxItems": most},
    )


def named(rule: ValueRule, least: int = 0) -> ValueRule:
    """Return the rule for an object with any keys whose values obey a rule."""
    return ValueRule(
        "an object" if least == 0 else f"an object with {least} entries or more",
        lambda value: _is_object(value) and len(value) >= least,
        lambda value: ((f".{name[:80]}", each, rule) for name, each in value.items()),
        {"type": "object", "additionalProperties": rule.as_json, "minProperties": least},
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
        Rules of the keys it must have, and of those it may have.
    others
        Rule for all other keys. By default these may be anything, as other versions may have more.
    """
    rules = {**required, **(may_have or {})}

    def parts(value: Any) -> _Parts:
        for name in required:
            if name not in value:
                yield f".{name}", _MISSING, required[name]
        for name, each in value.items():
            if rule := rules.get(name, others):
                yield f".{name[:80]}", each, rule

    as_json = {
        "type": "object",
        "properties": {name: rule.as_json for name, rule in rules.items()},
        "required": list(required),
        "additionalProperties": True if others is None else others.as_json,
    }
    return ValueRule("an object", _is_object, parts, as_json)


def _is_object(value: Any) -> bool:
    return isinstance(value, dict) and all(type(name) is str for name in value)


def rule_of(kind: Any) -> ValueRule:
    """Return the rule for values of a Python type, as ``json.dumps`` writes them.

    It supports plain values, None, ``Literal``, unions, lists and tuples, mappings, dataclasses and typed
    dictionaries. The latter two are objects with exactly their own keys.
    """
    if kind in _PLAIN:
        return _PLAIN[kind]
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Literal:
        return one_of(*arguments)
    if origin in (Union, UnionType):
        rules = [rule_of(each) for each in arguments if each is not type(None)]
        rule = rules[0] if len(rules) == 1 else either(*rules)
        return optional(rule) if type(None) in arguments else rule
    if origin is not None and issubclass(origin, Mapping):
        return named(rule_of(arguments[1]))
    if origin is tuple and Ellipsis not in arguments:
        return listed(either(*map(rule_of, dict.fromkeys(arguments))), [len(arguments)])
    if origin is not None and issubclass(origin, Sequence):
        return listed(rule_of(arguments[0]))
    hints = {name: rule_of(each) for name, each in get_type_hints(kind).items()}
    required = getattr(kind, "__required_keys__", hints.keys())
    return table(
        {name: rule for name, rule in hints.items() if name in required},
        {name: rule for name, rule in hints.items() if name not in required},
        left_out,
    )


_PLAIN = {int: whole(), float: number(), str: any_text, bool: flag, Any: anything, object: anything}
