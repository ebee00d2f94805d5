"""The page: complete in itself, safe from names, and its functions without a browser."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from serve.serving import client_of
from swin_umamba.inference.predictor import Predictor
from swin_umamba.report.page import inline_part, source_hash
from swin_umamba.serve.service import Service

HOSTILE = "<img src=x onerror=alert(1)>\"'&</script><script>alert(2)</script>{{ 7 * 7 }}"


@pytest.fixture
def html(client: TestClient) -> str:
    return client.get("/").text


def test_only_its_own_script_and_style_may_run(client: TestClient) -> None:
    answer = client.get("/")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    policy = answer.headers["content-security-policy"]
    for part in ("script", "style"):
        assert answer.text.count(f"<{part}>") == 1
        assert f"{part}-src '{source_hash(inline_part(answer.text, part))}'" in policy
    assert not re.search(r"\son\w+=|\sstyle=", answer.text)  # the policy would forbid them


def test_nothing_comes_from_outside(html: str) -> None:
    addresses = set(re.findall(r"https?://[^\s<\"']+", html))
    assert addresses == {"http://127.0.0.1:8000", "http://www.w3.org/2000/svg"}
    assert set(re.findall(r'(?:href|src)="([^"]*)"', html)) == {"data:,", "/openapi.json"}
    assert "@import" not in html
    assert "include" not in inline_part(html, "style")


def test_names_are_only_text(start: Callable[..., Service], tmp_path: Path) -> None:
    from trained.model_folder import make_model_folder

    folder = make_model_folder(tmp_path, channels=(HOSTILE,), labels={"background": 0, HOSTILE: 1})
    client = client_of(start(Predictor.from_folder(folder, device="cpu")))
    html = client.get("/").text
    assert html.count("<script>") == 1
    assert "<img" not in html
    assert html.count("{{ 7 * 7 }}") >= 3
    policy = client.get("/").headers["content-security-policy"]
    assert source_hash(inline_part(html, "script")) in policy


def test_every_control_has_a_name(html: str) -> None:
    ids = re.findall(r'\sid="([^"]+)"', html)
    assert len(ids) == len(set(ids))
    for name in re.findall(r'(?:for|aria-labelledby|aria-describedby)="([^"]+)"', html):
        assert name in ids
    labelled = set(re.findall(r'for="([^"]+)"', html))
    ranges = re.findall(r'<input type="(?:range|file)" id="([^"]+)"', html)
    assert len(ranges) == 4
    assert set(ranges) <= labelled


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
def test_functions(html: str) -> None:
    calls = [
        "refusal([{name: 'A.NII.GZ', size: 9}], 1, ['.nii.gz'], 9)",
        "refusal([{name: 'a.txt', size: 9}], 1, ['.nii.gz'], 9).where",
        "refusal([{name: 'a.png', size: 5}, {name: 'b.png', size: 5}], 2, ['.png'], 9).what",
        "refusal([{name: 'a.png', size: 1}, {name: 'b.png', size: 1}], 3, ['.png'], 9).hint",
        "refusal([{name: 'a.IMA', size: 1}, {name: '1.2.840.1', size: 1}], 1, ['.png'], 9)",
        "refusal([{name: 'DICOMDIR', size: 1}, {name: 'a.txt', size: 1}], 1, ['.png'], 9).where",
        r"choices('2 series:\n  - number 1: CT, 3 images, UID 1.2:EchoTime=5\n  - and 3 more')",
        "stage({state: 'queued', position: 0})",
        "stage({state: 'queued', position: 2})",
        "stage({state: 'running', progress: 0.5, name: 'a'})",
        "keyAction('ArrowUp', false, 5)",
        "keyAction('ArrowUp', true, 5)",
        "keyAction('PageDown', true, 5)",
        "keyAction('PageDown', false, 1)",
        "keyAction('0', true, 1)",
        "[percent(0), percent(0.01), percent(12.34), volume(0.1234), volume(1234.5), listed([3, 0.5, 0.25])]",
    ]
    script = inline_part(html, "script") + f"console.log(JSON.stringify([{','.join(calls)}]))"
    done = subprocess.run(["node", "-e", script], capture_output=True, encoding="utf-8", check=True)
    expected: list[Any] = [
        None,
        "a.txt",
        "the upload would be larger than 0 MiB",
        "choose one file with all channels, or 3 files, one for each channel",
        None,
        "DICOMDIR",
        [["1.2:EchoTime=5", "number 1: CT, 3 images"]],
        ["Waiting", "Your image is next", None],
        ["Waiting", "2 images are before yours in the queue", None],
        ["Segmenting", "a", 0.5],
        ["step", 1],
        ["move", [0, -0.2]],
        ["step", -1],
        None,
        ["zoom", 0],
        ["0.0 %", "< 0.1 %", "12.3 %", "0.123", "1,235", "0.25 × 0.5 × 3"],
    ]
    assert json.loads(done.stdout) == expected
