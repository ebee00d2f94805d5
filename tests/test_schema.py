"""Rules say what a value has to be, and the first that breaks one is named by its key."""

from __future__ import annotations

import math
from typing import Any

import pytest

from swin_umamba.errors import CheckpointError, DataError
from swin_umamba.schema import (
    LARGEST,
    Provenance,
    ValueRule,
    either,
    flag,
    left_out,
    listed,
    named,
    number,
    one_of,
    optional,
    shown,
    table,
    text,
    whole,
)

SOURCE = Provenance("a.json", "write it again")
NOTHING_ELSE = [
    None,
    True,
    1,
    1.5,
    -1,
    10**400,
    math.nan,
    math.inf,
    "",
    "x",
    "x" * 2000,
    [],
    ["x"],
    {},
    {"x": 1},
]


def takes(rule: ValueRule) -> list[Any]:
    """Return those of all kinds of values that a rule takes."""

    def taken(value: Any) -> bool:
        try:
            SOURCE.check(value, rule)
            return True
        except DataError:
            return False

    return [value for value in NOTHING_ELSE if taken(value)]


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (whole(), [1, -1]),
        (whole(0), [1]),
        (whole(-5, 0), [-1]),
        (number(), [1, 1.5, -1]),
        (number(1), [1, 1.5]),
        (number(above=1), [1.5]),
        (number(-2, 1), [1, -1]),
        (text(), ["x"]),
        (text(3000), ["x", "x" * 2000]),
        (flag, [True]),
        (one_of(1, "x"), [1, "x"]),
        (one_of(1.5), [1.5]),
        (optional(whole(5)), [None]),
        (either(flag, text()), [True, "x"]),
        (listed(text()), [[], ["x"]]),
        (listed(whole()), [[]]),
        (listed(text(), (1, 2)), [["x"]]),
        (named(whole()), [{}, {"x": 1}]),
        (named(whole(), 1), [{"x": 1}]),
        (named(text()), [{}]),
        (table({"x": whole()}), [{"x": 1}]),
        (table({"y": whole()}), []),
        (table({}, {"x": text()}), [{}]),
        (table({}, {"y": text()}), [{}, {"x": 1}]),
        (table({}, {"y": text()}, left_out), [{}]),
    ],
)
def test_rules(rule: ValueRule, expected: list[Any]) -> None:
    found = takes(rule)
    assert [(type(each), each) for each in found] == [(type(each), each) for each in expected]


RULE = table(
    {"sizes": listed(whole(1, 9), (2, 3)), "named": named(optional(number(0, 1)))},
    {"kind": either(one_of("a", "b"), listed(text()))},
    left_out,
)
GOOD: dict[str, Any] = {"sizes": [1, 2], "named": {"x": 0.5, "y": None}}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sizes": [1]}, "sizes is [1]; it has to be a list of 2 or 3 entries"),
        ({"sizes": [1, 2.0]}, "sizes[1] is 2.0; it has to be a whole number of at least 1 and of at most 9"),
        ({"named": {"x": 2}}, "named.x is 2; it has to be a number of at least 0 and of at most 1, or null"),
        ({"kind": "c"}, "kind is 'c'; it has to be 'a' or 'b', or a list of at most 100,000 entries"),
        ({"kind": ["a", 1]}, "kind[1] is 1; it has to be a text of 1 to 1000 characters"),
        ({"other": 1}, "other is 1; it has to be left out"),
    ],
)
def test_the_key_is_named(changes: dict[str, Any], message: str) -> None:
    SOURCE.check(GOOD, RULE)
    with pytest.raises(DataError) as caught:
        SOURCE.check(GOOD | changes, RULE)
    assert (caught.value.what, caught.value.where) == (message, "a.json")
    assert caught.value.hint == "write it again"


def test_what_is_missing_is_named() -> None:
    source = Provenance("b.json", "copy it", CheckpointError, "the model is damaged: ")
    for content, key, what in (
        ({"sizes": [1, 2]}, "top", "top.named is missing; it has to be an object"),
        (3, "", "the content is 3; it has to be an object"),
    ):
        with pytest.raises(CheckpointError) as caught:
            source.check(content, RULE, key)
        assert caught.value.what == f"the model is damaged: {what}"


def test_messages_stay_short() -> None:
    values = (10**5000, LARGEST + 1, "x" * 10**6, list(range(1000)), {str(each): 1 for each in range(1000)})
    assert max(len(shown(value)) for value in values) <= 60
    assert shown([1, 2.5]) == "[1, 2.5]"
