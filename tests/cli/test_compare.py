"""The command ``compare``: what it hands on, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from swin_umamba.cli.main import main
from swin_umamba.compare import comparison
from swin_umamba.compare.budget import Budget
from swin_umamba.compare.recipe import Recipe
from swin_umamba.compare.table import Table


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What the command asks for, instead of doing it."""
    seen: list[tuple[Any, ...]] = []

    def compare(data: Path, networks: Any, seeds: Any, output: Path, settings: Any, **kwargs: Any) -> Table:
        seen.append(([network.name for network in networks], seeds, settings, kwargs["baseline"]))
        return Table((), ("dice",), "nnunet", ("Data: none.",))

    monkeypatch.setattr(comparison, "compare", compare)
    return seen


def arguments(tmp_path: Path, *more: str) -> list[str]:
    required = ["--data", str(tmp_path), "--networks", "swin_umamba_d, nnunet", "--budget", "50"]
    return ["compare", *required, "-o", str(tmp_path / "out"), *more]


def test_hands_options_on(
    tmp_path: Path, calls: list[tuple[Any, ...]], capsys: pytest.CaptureFixture[str]
) -> None:
    more = ["--seeds", "3,4", "--patch-size", "64", "96", "--learning-rate", "5e-4", "--baseline", "nnunet"]
    assert main(arguments(tmp_path, *more)) == 0
    ((networks, seeds, settings, baseline),) = calls
    assert (networks, seeds, baseline) == (["swin_umamba_d", "nnunet"], [3, 4], "nnunet")
    assert settings.budget == Budget(iterations=50)
    assert settings.recipe == Recipe(learning_rate=5e-4)
    assert settings.patch_size == (64, 96)
    assert "Dice against nnunet" in capsys.readouterr().out


def test_json_and_published_recipes(
    tmp_path: Path, calls: list[tuple[Any, ...]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments(tmp_path, "--recipe", "published", "--json")) == 0
    assert calls[0][2].recipe is None
    assert json.loads(capsys.readouterr().out)["baseline"] == "nnunet"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([], None),
        (["vmamba_tiny"], "vmamba_tiny"),
        (["weights.pth"], "{here}/weights.pth"),
        (["not=a_network.pth"], "not=a_network.pth"),
        (
            ["swin_umamba_d_pretrained=vmamba_tiny", "swin_umamba_dd_pretrained=weights.pth"],
            {"swin_umamba_d_pretrained": "vmamba_tiny", "swin_umamba_dd_pretrained": "{here}/weights.pth"},
        ),
    ],
)
def test_weights_for_all_networks_or_each(
    tmp_path: Path,
    calls: list[tuple[Any, ...]],
    given: list[str],
    expected: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "weights.pth").touch()
    assert main(arguments(tmp_path, *(part for each in given for part in ("--pretrained", each)))) == 0
    if isinstance(expected, dict):
        expected = {name: each.format(here=tmp_path) for name, each in expected.items()}
    elif expected is not None:
        expected = expected.format(here=tmp_path)
    assert calls[0][2].pretrained == expected


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--budget", "soon"], "cannot read the budget"),
        (["--seeds", "a"], "cannot read the seeds"),
        (["--pretrained", "a.pth", "--pretrained", "b.pth"], "does not say for which network"),
        (["--networks", "nnunett"], "did you mean nnunet"),
        (["--recipe", "published", "--learning-rate", "1e-3"], "has its own learning rate"),
    ],
)
def test_refuses_bad_options(
    tmp_path: Path, more: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments(tmp_path, *more)) == 2
    assert message in capsys.readouterr().err
