"""One parser for JSON: what it takes, what it refuses, and that each refusal names the file and a hint."""

from __future__ import annotations

import json
import math
import os
import random
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swin_umamba.errors import CheckpointError, DataError, SwinUMambaError
from swin_umamba.json_files import (
    DEEPEST,
    LARGEST_JSON,
    parse_json,
    read_contract,
    read_contract_lines,
    read_json,
    read_text,
    write_contract,
    write_json,
)


def parsed(text: str | bytes, *, nan: bool = False) -> Any:
    return parse_json(text, object, where="a.json", nan=nan)


def test_what_is_written_can_be_read(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"b": [1, None], "a": "ü"})
    assert json.loads(path.read_text(encoding="utf-8")) == {"b": [1, None], "a": "ü"}
    with pytest.raises(ValueError):
        write_json(path, {"x": float("nan")})
    assert json.loads(path.read_text(encoding="utf-8"))["b"] == [1, None]
    assert [each.name for each in tmp_path.iterdir()] == ["a.json"]


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_utf8_with_and_without_a_byte_order_mark(tmp_path: Path, mark: bytes) -> None:
    content = {"name": "Übung 胆嚢", "values": [1, 2.5, None, True]}
    (tmp_path / "a.json").write_bytes(mark + json.dumps(content, ensure_ascii=False).encode())
    assert read_json(tmp_path / "a.json", dict) == content
    assert parsed((tmp_path / "a.json").read_bytes()) == content
    (tmp_path / "a.jsonl").write_bytes(mark + b'{"a": 1}\n')
    assert read_contract_lines(tmp_path / "a.jsonl") == [{"a": 1}]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(JSON, st.booleans())
def test_values_come_back(value: Any, ascii_only: bool) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only)
    assert parsed(text) == value
    assert json.dumps(parsed(text), ensure_ascii=ascii_only) == text


@given(JSON, st.randoms(use_true_random=False))
def test_damaged_bytes_are_a_value_or_an_error_of_ours(value: Any, source: random.Random) -> None:
    content = bytearray(json.dumps([value, {"a": [1.5, "b"]}], ensure_ascii=False).encode("utf-8", "replace"))
    for _ in range(source.randint(1, 4)):
        place = source.randrange(len(content))
        action = source.choice(("change", "remove", "double", "cut"))
        if action == "change":
            content[place] = source.choice(b'\x00\xff[]{},:"\\0123456789.-+eE NI')
        elif action == "remove" and len(content) > 1:
            del content[place]
        elif action == "double":
            content[place:place] = content[place : place + source.randint(1, 8)]
        elif place:
            del content[place:]
    with suppress(DataError):
        parsed(bytes(content))


def nested(depth: int, kind: str = "lists") -> str:
    return "[" * depth + "]" * depth if kind == "lists" else '{"a":' * depth + "1" + "}" * depth


@pytest.mark.parametrize("kind", ["lists", "objects"])
def test_depth_is_limited(kind: str) -> None:
    assert isinstance(parsed(nested(DEEPEST, kind)), list | dict)
    for depth in (DEEPEST + 1, 500, 900, 100_000):
        with pytest.raises(DataError, match=f"more than {DEEPEST} levels"):
            parsed(nested(depth, kind))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "Expecting value"),
        (b"{", "not valid JSON: Expecting property name .* line 1 column 2"),
        (b"{'a': 1}", "not valid JSON"),
        (b"[1,]", "not valid JSON"),
        (b"[1] [2]", "Extra data"),
        (b'"a\nb"', "control character"),
        ('{"a": "ü"}'.encode("latin-1"), "not UTF-8: invalid start byte at byte 7"),
        ('{"a": 1}'.encode("utf-16"), "not UTF-8"),
        (b'{"a": 1, "b": 2, "a": 1}', "the key 'a' is there twice"),
        (b'[{"x": {"labels": 1, "labels": 2}}]', "the key 'labels' is there twice"),
        (b"9" * 5000, "digits"),
    ],
)
def test_damaged_files(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=f"^the file cannot be read: .*{reason}") as caught:
        read_json(path, object, error=CheckpointError, hint="fetch it again")
    assert (caught.value.where, caught.value.hint) == (str(path), "fetch it again")


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999"])
def test_what_is_no_number_is_read_where_it_is_allowed(number: str) -> None:
    (value,) = parsed(f"[{number}]", nan=True)
    assert not math.isfinite(value)
    with pytest.raises(DataError, match=r"not a number in JSON|is too large"):
        parsed(f"[{number}]")


@pytest.mark.parametrize(
    ("text", "kind", "reason"),
    [
        ("[]", dict, "no JSON object"),
        ("null", dict, "no JSON object"),
        ('"{}"', dict, "no JSON object"),
        ("{}", list, "no JSON list"),
        ("{}", dict, None),
        ("[]", list, None),
        ("null", object, None),
    ],
)
def test_the_kind_is_checked(text: str, kind: type, reason: str | None) -> None:
    if reason is None:
        assert parse_json(text, kind, where="a.json") == json.loads(text)
    else:
        with pytest.raises(DataError, match=reason):
            parse_json(text, kind, where="a.json")


@pytest.mark.parametrize("read", [lambda path: read_json(path, dict), read_text, read_contract_lines])
def test_what_is_no_file_is_refused_at_once(tmp_path: Path, read: Callable[[Path], Any]) -> None:
    (tmp_path / "folder").mkdir()
    names = ["missing", "folder"]
    if os.name != "nt":
        os.mkfifo(tmp_path / "pipe")
        names.append("pipe")
    for name in names:
        with pytest.raises(DataError, match="the file cannot be read") as caught:
            read(tmp_path / name)
        assert caught.value.where == str(tmp_path / name)


def test_size_is_limited(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('{"a": 12}')
    assert read_json(path, dict, largest=9) == {"a": 12}
    for read in (
        read_text,
        read_contract_lines,
        lambda path, largest: read_json(path, dict, largest=largest),
    ):
        with pytest.raises(DataError, match="it has 9 bytes, 8 are the most"):
            read(path, largest=8)
    with path.open("wb") as file:
        file.truncate(2**40)  # takes no room on the disk, and would take it in memory
    with pytest.raises(DataError, match=f"it has {2**40:,} bytes, {LARGEST_JSON:,} are the most"):
        read_json(path, dict)


def test_lines_that_are_damaged_are_left_out(tmp_path: Path) -> None:
    """One that holds a line separator of Unicode is one line."""
    lines = [
        b'{"a": 1}',
        b"",
        b"no json",
        b"[1]",
        b'{"a": "\xff"}',
        '{"a": "x\u2028y\x85z"}'.encode(),
        nested(5000).encode(),
        b'{"a": NaN}',
        b'{"a": 2}\r',
        b'{"a": 3',
    ]
    (tmp_path / "a.jsonl").write_bytes(b"\n".join(lines))
    found = [content["a"] for content in read_contract_lines(tmp_path / "a.jsonl")]
    assert found == [1, "\N{REPLACEMENT CHARACTER}", "x\u2028y\x85z", 2]


def test_the_error_is_that_of_the_caller() -> None:
    class OwnError(SwinUMambaError):
        pass

    with pytest.raises(OwnError) as caught:
        parse_json("{", dict, where="checkpoint.pth: plans", error=OwnError, hint="export it again")
    assert str(caught.value).splitlines()[1:] == [
        "  where: checkpoint.pth: plans",
        "  what to do: export it again",
    ]


def test_what_is_promised_comes_back_without_its_number(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_contract("weights-download", path, {"name": "a", "file": "b", "sha256": "c"})
    assert json.loads(path.read_text())["schema"] == 2
    assert read_contract(path) == {"name": "a", "file": "b", "sha256": "c"}
    path.write_text('{"name": "a"}')  # of a version without numbers
    assert read_contract(path) == {"name": "a"}
