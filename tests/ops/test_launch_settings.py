"""The settings of launches come from a file of this card, bounded, and otherwise are the defaults."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import pytest
import torch

from json_edits import changed_json
from swin_umamba.errors import DataError
from swin_umamba.json_files import SCHEMA
from swin_umamba.ops import launch_settings as module
from swin_umamba.ops.launch_settings import (
    DEFAULT,
    SETTINGS_PARTS,
    LaunchSettings,
    card_slug,
    forced_settings,
    launch_settings,
    read_settings,
    settings_of_card,
    settings_path,
    write_settings,
)
from swin_umamba.tiling.tiles import tiles_per_batch

CARD = "NVIDIA H100 80GB HBM3"
MEASURED = LaunchSettings(
    chunk_registers=96, output_registers=128, loop_warps=2, enough_warps=768, tiles_times=4
)
CUDA = torch.device("cuda", 3)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWIN_UMAMBA_CACHE", str(tmp_path))
    monkeypatch.setattr(module, "SHIPPED", tmp_path / "shipped")
    module._of_device.cache_clear()


def write(path: Path, card: str = CARD, settings: LaunchSettings = MEASURED) -> Path:
    write_settings(path, settings, card=card, triton="3.7.1", code="abc")
    return path


def test_every_setting_has_a_rule_that_allows_the_default() -> None:
    assert list(SETTINGS_PARTS) == [field.name for field in fields(LaunchSettings)]
    assert all(SETTINGS_PARTS[name].holds(value) for name, value in asdict(DEFAULT).items())


def test_names_of_cards_as_files() -> None:
    assert card_slug(CARD) == "nvidia_h100_80gb_hbm3"
    assert card_slug("../../etc/passwd") == "etc_passwd"
    assert card_slug("///") == "unknown_card"


def test_the_users_file_goes_before_the_shipped_one_before_the_defaults() -> None:
    assert settings_of_card(CARD) == DEFAULT
    shipped = LaunchSettings(part_registers=None)
    write(module.SHIPPED / "nvidia_h100_80gb_hbm3.json", settings=shipped)
    assert settings_of_card(CARD) == shipped
    write(settings_path(CARD))
    assert settings_of_card(CARD) == MEASURED
    assert settings_of_card("another card") == DEFAULT


def test_a_device_has_those_of_its_card(monkeypatch: pytest.MonkeyPatch) -> None:
    write(settings_path(CARD))
    if not torch.cuda.is_available():
        assert launch_settings(CUDA) == DEFAULT
    module._of_device.cache_clear()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: {3: CARD, 0: "other"}[index])
    assert launch_settings(CUDA) == MEASURED
    assert launch_settings(torch.device("cuda", 0)) == DEFAULT
    assert launch_settings(torch.device("cpu")) == DEFAULT
    assert tiles_per_batch((512, 512), 0, CUDA) == 4
    assert tiles_per_batch((512, 512), 0, torch.device("cuda", 0)) == 8
    with forced_settings(LaunchSettings(tiles_times=2)):
        assert tiles_per_batch((512, 512), 0, CUDA) == 2
    assert tiles_per_batch((512, 512), 0, CUDA) == 4


def test_what_a_file_leaves_out_is_as_by_default() -> None:
    path = write(settings_path(CARD))
    with changed_json(path) as content:
        content["settings"] = {"loop_warps": 4}
    assert read_settings(path, CARD) == LaunchSettings(loop_warps=4)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (name, value)
        for name in SETTINGS_PARTS
        for value in (0, -1, 2**31, 2**70, 1e300, 128.0, "128", True, [96], {"a": 1}, "$(id)")
        if not SETTINGS_PARTS[name].holds(value)
    ]
    + [("chunk_registers", 63), ("gradient_registers", 256), ("loop_warps", 3), ("tiles_times", 65)],
)
def test_a_number_that_no_kernel_is_launched_with_is_refused(name: str, value: Any) -> None:
    path = write(settings_path(CARD))
    with changed_json(path) as content:
        content["settings"][name] = value
    with pytest.raises(DataError, match=rf"settings\.{name} is .*; it has to be"):
        read_settings(path, CARD)


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{", "null", json.dumps({"schema": SCHEMA}), json.dumps({"schema": SCHEMA + 1}), "x" * 2**17],
    ids=["empty", "list", "cut", "null", "no keys", "newer", "huge"],
)
def test_a_damaged_file_warns_and_changes_nothing(text: str, caplog: pytest.LogCaptureFixture) -> None:
    path = settings_path(CARD)
    path.parent.mkdir(parents=True)
    path.write_text(text)
    with caplog.at_level(logging.WARNING):
        assert settings_of_card(CARD) == DEFAULT
    assert "the measured launch settings are not used" in caplog.text
    assert str(path) in caplog.text


def test_a_file_of_another_card_is_refused() -> None:
    path = write(settings_path(CARD), card="NVIDIA T4")
    with pytest.raises(DataError, match="of another card, 'NVIDIA T4'"):
        read_settings(path, CARD)


def test_the_numbers_of_a_launch_follow_them() -> None:
    pytest.importorskip("triton", reason="Triton is not installed")
    from swin_umamba.ops.triton.launch import TimeLoop, registers

    wide = LaunchSettings(loop_warps=4)
    sizes = {
        (192, 16, DEFAULT): TimeLoop(64, 16, 1),
        (33, 16, DEFAULT): TimeLoop(64, 16, 1),
        (32, 16, DEFAULT): TimeLoop(32, 16, 1),
        (192, 1, DEFAULT): TimeLoop(64, 1, 2),
        (192, 3, DEFAULT): TimeLoop(64, 4, 2),
        (192, 17, DEFAULT): TimeLoop(32, 32, 1),
        (192, 16, wide): TimeLoop(256, 16, 4),
        (128, 16, wide): TimeLoop(128, 16, 2),
        (40, 16, wide): TimeLoop(64, 16, 1),
        (192, 64, wide): TimeLoop(32, 64, 1),
    }
    for (channels, d_state, settings), expected in sizes.items():
        assert TimeLoop.of(channels, d_state, settings) == expected
    assert [registers(96, d_state) for d_state in (1, 16, 17, 64)] == [96, 96, None, None]
    assert registers(None, 16) is None
    # Three programs of two warps fill what six of one do.
    for settings in (DEFAULT, LaunchSettings(loop_warps=2)):
        loop = TimeLoop.of(384, 16, settings)
        assert loop.chunk_steps(1, 384, 16384, settings) == 64
    assert TimeLoop.of(384, 16, DEFAULT).chunk_steps(1, 384, 16384, LaunchSettings(enough_warps=64)) == 256
