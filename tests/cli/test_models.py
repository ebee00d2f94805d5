"""The command ``models``."""

from __future__ import annotations

import json
import sys

import pytest

from swin_umamba.cli.main import main
from swin_umamba.compare import networks


def test_one_network_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "swin_umamba_d", "--size", "320", "320", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)["networks"]
    assert row["parameters"] == 27_497_720
    assert row["macs"] / 1e9 == pytest.approx(18.9, rel=0.02)


def test_table_of_the_networks_named(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--in-channels", "3", "--num-classes", "8", "--size", "384", "640"]
    assert main(["models", "nnunet", "umamba_bot", *arguments]) == 0
    printed = capsys.readouterr().out
    assert "input 3 x 384 x 640, 8 classes" in printed
    assert "33,481,456" in printed
    assert "63,335,696" in printed
    assert "9LDN" in printed


def test_nnformer_is_listed_as_a_choice_of_ours(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "nnformer", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)["networks"]
    assert row["parameters"] == 64_332_522
    assert row["macs"] / 1e9 == pytest.approx(30.3, rel=0.01)
    assert main(["models", "nnformer"]) == 0
    assert (
        "nnformer: the paper's 2D form (60 million parameters, 50.2 GFLOPs) is not known"
        in capsys.readouterr().out
    )


def test_bad_arguments(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "swin_umamba_e"]) == 2
    assert "did you mean" in capsys.readouterr().err
    assert main(["models", "swin_umamba_d", "--size", "16", "16"]) == 1
    assert "smaller than 32x32" in capsys.readouterr().err
    assert main(["models", "umamba_bot", "--size", "33", "7"]) == 2


def test_without_monai_the_rest_is_listed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    few = ("nnunet", "segresnet", "unetr", "swin_unetr", "nnformer")
    monkeypatch.setattr(networks, "NETWORKS", {name: networks.NETWORKS[name] for name in few})
    monkeypatch.setitem(sys.modules, "monai.networks.nets", None)
    assert main(["models", "--size", "64", "64"]) == 0
    printed = capsys.readouterr().out
    assert "nnunet" in printed
    assert "nnformer" in printed
    assert "left out: segresnet, unetr, swin_unetr" in printed
