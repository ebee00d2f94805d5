"""Errors say what, where and what to do, also after a journey between processes."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from swin_umamba import errors
from swin_umamba.errors import (
    BackendError,
    CheckpointError,
    DataError,
    GeometryError,
    OutputError,
    SwinUMambaError,
    TrainingError,
    UsageError,
    by_reason,
    in_short,
)

ALL = (
    SwinUMambaError,
    UsageError,
    DataError,
    GeometryError,
    CheckpointError,
    BackendError,
    OutputError,
    TrainingError,
)


def test_text_holds_all_three_parts() -> None:
    error = DataError("the file is empty", where=Path("a/b.png"), hint="copy it again")
    assert str(error) == "the file is empty\n  where: a/b.png\n  what to do: copy it again"
    assert (error.what, error.where, error.hint) == ("the file is empty", "a/b.png", "copy it again")


def test_text_leaves_out_what_is_not_known() -> None:
    assert str(DataError("broken")) == "broken"
    assert str(DataError("broken", hint="repair it")) == "broken\n  what to do: repair it"


@pytest.mark.parametrize("kind", ALL)
def test_errors_survive_pickling(kind: type[SwinUMambaError]) -> None:
    error = pickle.loads(pickle.dumps(kind("what", where="where", hint="hint")))
    assert type(error) is kind
    assert (error.what, error.where, error.hint) == ("what", "where", "hint")
    assert str(error) == str(kind("what", where="where", hint="hint"))


def test_families_and_exit_codes() -> None:
    defined = {value for value in vars(errors).values() if isinstance(value, type)}
    assert set(ALL) <= defined
    for kind in ALL:
        assert issubclass(kind, SwinUMambaError)
        assert kind("x").exit_code == (2 if kind is UsageError else 1)
    assert issubclass(GeometryError, DataError)


def test_a_name_cannot_write_to_the_terminal() -> None:
    error = CheckpointError("unknown tensor \x1b[2J\r\x9b1m", where="a\x07.pth", hint="get\nanother")
    gone = "\N{REPLACEMENT CHARACTER}"
    expected = f"unknown tensor {gone}[2J{gone}{gone}1m\n  where: a{gone}.pth\n  what to do: get\nanother"
    assert str(error) == expected
    assert str(CheckpointError("Zähler × 3 → 医学")) == "Zähler × 3 → 医学"


def test_long_lists_are_cut() -> None:
    assert in_short([]) == ""
    assert in_short(list("abcde")) == "a, b, c, d, e"
    assert in_short(list("abcdefg")) == "a, b, c, d, e and 2 more"
    assert in_short(["a", "b", "c"], 2) == "a, b and 1 more"


def test_equal_reasons_are_told_once() -> None:
    def error(what: str, where: str | None) -> str:
        return str(DataError(what, where=where, hint="copy it again"))

    failures = [(f"c{number}", error("it is empty", f"c{number}.png")) for number in range(7)]
    failures[2:2] = [("d", error("it is damaged", "d.png")), ("e", error("it is damaged", "d.png"))]
    failures += [("f\ng", error("it is empty", None))]
    assert by_reason(failures) == [
        (
            "7 cases (c0, c1, c2, c3, c4 and 2 more)",
            "it is empty\n  where: c0.png and 6 more\n  what to do: copy it again",
        ),
        ("2 cases (d, e)", error("it is damaged", "d.png")),
        ("case f g", "it is empty\n  what to do: copy it again"),
    ]
    assert by_reason([]) == []
    assert by_reason([("a", "one\ntwo"), ("b", "one\nthree")]) == [
        ("case a", "one\ntwo"),
        ("case b", "one\nthree"),
    ]
